"""The learning rate of each step."""

from __future__ import annotations

import math

from fastlm.training.config import TrainingConfig


def cosine_schedule(
    it: int, max_learning_rate: float, min_learning_rate: float, warmup_iters: int, cosine_cycle_iters: int
) -> float:
    """Computes the learning rate of a step (Loshchilov and Hutter 2016, https://arxiv.org/abs/1608.03983).

    Args:
        it: The step.
        max_learning_rate: The rate at `warmup_iters`, to which it rises linearly from 0.
        min_learning_rate: The rate from `cosine_cycle_iters` on, to which it falls along half a cosine.
        warmup_iters: Last step of the warm-up. If it equals `cosine_cycle_iters`, that step has the maximum.
        cosine_cycle_iters: Last step of the cosine.

    Returns:
        The learning rate.

    >>> [cosine_schedule(it, 1.0, 0.1, 2, 6) for it in (0, 1, 2, 4, 6, 7)]
    [0.0, 0.5, 1.0, 0.55, 0.1, 0.1]
    >>> [cosine_schedule(it, 1.0, 0.1, 2, 2) for it in (1, 2, 3)]
    [0.5, 1.0, 0.1]
    """
    if it < warmup_iters:
        return it / warmup_iters * max_learning_rate
    if it == warmup_iters == cosine_cycle_iters:
        return max_learning_rate
    if it >= cosine_cycle_iters:
        return min_learning_rate
    progress = (it - warmup_iters) / (cosine_cycle_iters - warmup_iters)
    return min_learning_rate + 0.5 * (1 + math.cos(progress * math.pi)) * (max_learning_rate - min_learning_rate)


def learning_rate_of(config: TrainingConfig, step: int, steps: int | None = None) -> float:
    """The learning rate of a step of a run, or of a run of another number of steps."""
    last = config.steps if steps is None else steps
    return cosine_schedule(step, config.learning_rate, config.min_learning_rate, config.warmup_steps, last)
