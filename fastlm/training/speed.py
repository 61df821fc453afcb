"""The speed of a run, and the share of the device's peak that it reaches."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator


class Speed:
    """Measures the time of a run.

    Args:
        step: Number of steps done before.
        seconds: Wall time of these steps.
        step_tokens: Tokens per step.
        step_flops: FLOPs of the matrix products per step.
        peak_flops: FLOP/s of all devices together at full utilization.
    """

    def __init__(self, *, step: int, seconds: float, step_tokens: int, step_flops: int, peak_flops: float):
        self.step_tokens, self.step_flops, self.peak_flops = step_tokens, step_flops, peak_flops
        self._began = time.perf_counter() - seconds
        self._last_step, self._last_time = step, time.perf_counter()

    @property
    def seconds(self) -> float:
        """Wall time of the run so far, with evaluations and checkpoints."""
        return time.perf_counter() - self._began

    def since_last(self, step: int) -> dict[str, float]:
        """Tokens per second and model FLOPs utilization (https://arxiv.org/abs/2204.02311, appendix B) since the last
        call, without paused time."""
        now = time.perf_counter()
        steps_per_second = (step - self._last_step) / (now - self._last_time)
        self._last_step, self._last_time = step, now
        return {
            "tokens_per_second": steps_per_second * self.step_tokens,
            "mfu": steps_per_second * self.step_flops / self.peak_flops,
        }

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Excludes the time of a block, such as an evaluation or a checkpoint."""
        start = time.perf_counter()
        yield
        self._last_time += time.perf_counter() - start
