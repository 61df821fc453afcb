"""Timing: fastlm and its peers take turns, so that what disturbs the machine disturbs all of them."""

from __future__ import annotations

import resource
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from benchmarks import MB, OURS

if TYPE_CHECKING:
    from pytest_benchmark.fixture import BenchmarkFixture

Call = Callable[[], object]
Prepare = Callable[[], Call]
"""Prepares one round, untimed, and returns the call to time."""


@dataclass
class Timing:
    """Wall and CPU seconds of each round. CPU seconds cover all threads of the process, and the system's part of it."""

    seconds: list[float] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)
    system_seconds: list[float] = field(default_factory=list)

    def run(self, call: Call) -> None:
        system_start = resource.getrusage(resource.RUSAGE_SELF).ru_stime
        start, cpu_start = time.perf_counter(), time.process_time()
        result = call()
        cpu_end, end = time.process_time(), time.perf_counter()
        self.system_seconds.append(resource.getrusage(resource.RUSAGE_SELF).ru_stime - system_start)
        del result  # not before: freeing it is not the call's work
        self.seconds.append(end - start)
        self.cpu_seconds.append(cpu_end - cpu_start)

    def rates(self, size: int) -> dict[str, float]:
        """MB/s and CPU MB/s for a text of `size` bytes, by medians, and the system's part of the CPU time if known."""
        cpu = max(statistics.median(self.cpu_seconds), 1e-9)
        rates = {
            "mb_per_s": size / MB / statistics.median(self.seconds),
            "cpu_mb_per_s": size / MB / cpu,
            "rounds": len(self.seconds),
        }
        if self.system_seconds:
            rates["system_share"] = statistics.median(self.system_seconds) / cpu
        return rates


def take_turns(
    benchmark: BenchmarkFixture, prepares: Mapping[str, Prepare], rounds: int, budget: float
) -> dict[str, Timing]:
    """Times OURS and the others of `prepares` in `rounds` interleaved rounds; pytest-benchmark's own figures are OURS.

    Each round begins with another one. One that has taken more than `budget` seconds sits out the rounds that remain.
    """
    timings = {name: Timing() for name in prepares}
    order = list(prepares)

    def run(names: list[str]) -> None:
        for name in names:
            if sum(timings[name].seconds) <= budget:
                timings[name].run(prepares[name]())

    def before_ours() -> tuple[tuple[Call], dict[str, Any]]:
        run(order[: order.index(OURS)])
        return (prepares[OURS](),), {}

    def after_ours(_: Call) -> None:
        run(order[order.index(OURS) + 1 :])
        order.append(order.pop(0))

    benchmark.pedantic(  # type: ignore[no-untyped-call]
        timings[OURS].run, setup=before_ours, teardown=after_ours, rounds=rounds
    )
    return timings


def spread(ours: Sequence[float], theirs: Sequence[float]) -> float | None:
    """Half the interquartile range of the ratios `theirs / ours` of the same rounds, as a part of their median.

    None with fewer than three rounds that both took part in, which tell nothing about noise.
    """
    ratios = [second / max(first, 1e-9) for first, second in zip(ours, theirs, strict=False)]
    if len(ratios) < 3:
        return None
    low, middle, high = statistics.quantiles(ratios, n=4, method="inclusive")
    return (high - low) / 2 / max(middle, 1e-9)


def compared(timings: Mapping[str, Timing], size: int) -> dict[str, Any]:
    """For a benchmark's extra_info: everyone's rates for a text of `size` bytes, and the noise of the peers' ratios."""
    rates: dict[str, dict[str, Any]] = {name: timing.rates(size) for name, timing in timings.items() if timing.seconds}
    ours = timings[OURS]
    for name, rate in rates.items():
        if name != OURS:
            rate["noise"] = {
                "mb_per_s": spread(ours.seconds, timings[name].seconds),
                "cpu_mb_per_s": spread(ours.cpu_seconds, timings[name].cpu_seconds),
            }
    return {"bytes": size, **rates.pop(OURS), "peers": rates}
