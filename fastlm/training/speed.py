"""How fast a run goes, and what part of the device's speed that is."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator


class Speed:
    """A clock of a run.

    Args:
        step: Steps done before.
        seconds: That they took.
        step_tokens: Tokens of a step.
        step_flops: Operations of the matrix products of a step.
        peak_flops: FLOP/s of all devices together at full utilisation.
    """

    def __init__(self, *, step: int, seconds: float, step_tokens: int, step_flops: int, peak_flops: float):
        self.step_tokens, self.step_flops, self.peak_flops = step_tokens, step_flops, peak_flops
        self._began = time.perf_counter() - seconds
        self._last_step, self._last_time = step, time.perf_counter()

    @property
    def seconds(self) -> float:
        """Seconds of the run so far, whatever they were spent on."""
        return time.perf_counter() - self._began

    def since_last(self, step: int) -> dict[str, float]:
        """Tokens a second and model FLOPs utilisation (https://arxiv.org/abs/2204.02311, appendix B) since this was
        last asked for, without what was paused."""
        now = time.perf_counter()
        steps_per_second = (step - self._last_step) / (now - self._last_time)
        self._last_step, self._last_time = step, now
        return {
            "tokens_per_second": steps_per_second * self.step_tokens,
            "mfu": steps_per_second * self.step_flops / self.peak_flops,
        }

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Evaluations and checkpoints do not count as time of training."""
        start = time.perf_counter()
        yield
        self._last_time += time.perf_counter() - start
