"""A run that ends before its first step: all checks, the plan, and a measured step. Nothing is written."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from fastlm.model.account import duration, size
from fastlm.training import parallel
from fastlm.training.batches import BatchReader
from fastlm.training.config import TrainingConfig
from fastlm.training.hardware import available_memory
from fastlm.training.loop import TrainingRun
from fastlm.training.optimizer import clip_gradients
from fastlm.training.plan import RunPlan

# a micro-batch that takes longer is measured once
LONG_SECONDS = 5.0


@dataclass(frozen=True)
class DryRun:
    """The result of a dry run.

    Attributes:
        out: Directory of the run.
        plan: The plan.
        done: Steps that the newest checkpoint has done; 0 without a checkpoint.
        step_seconds: Measured time of a step; None if the memory does not suffice.
        free_memory: Bytes of memory that are free on the device; None if unknown.
        free_disk: Bytes that are free on the disk of the run.
    """

    out: str
    plan: RunPlan
    done: int
    step_seconds: float | None
    free_memory: int | None
    free_disk: int

    def lines(self) -> Iterator[str]:
        """The plan as lines of text."""
        plan = self.plan
        yield f"{self.out}: {plan.first_line()}, steps {self.done + 1:,} to {plan.steps:,}"
        yield from plan.cost_lines(self.done)
        if self.free_memory is not None:
            yield f"{size(self.free_memory)} of memory are free"
        needed = plan.checkpoint_bytes * (plan.kept_checkpoints + 1)
        yield f"{size(self.free_disk)} of disk are free; checkpoints need up to {size(needed)} while one is written"
        if self.step_seconds is None:
            yield "not enough free memory to measure a step"
        else:
            rest = self.step_seconds * (plan.steps - self.done)
            rate = plan.step_tokens / self.step_seconds
            yield f"measured: {self.step_seconds:.3g} s a step, {rate:,.0f} tokens/s, {duration(rest)} for the run"


def dry_run(config: TrainingConfig) -> DryRun:
    """Makes all checks of a run, measures one step, and discards the result.

    The time of a step is that of one micro-batch, forward and backward, times their number, and of one update of the
    weights.

    Args:
        config: The configuration.

    Returns:
        The plan and the measurement.

    Raises:
        ValueError, OSError: As `loop.train`, before its first step.
    """
    with parallel.processes(config.device, config.allow_tf32) as processes:
        run = TrainingRun(config, processes)
        done = run.resumed.step if run.resumed else 0
        free = available_memory(processes.device)
        # the weights are in memory already
        fits = free is None or run.plan.memory.total - run.plan.memory.parameters <= free
        seconds = _step_seconds(run, done) if fits and done < config.steps else None
    folder = next(path for path in (Path(config.out).absolute(), *Path(config.out).absolute().parents) if path.exists())
    return DryRun(config.out, run.plan, done, seconds, free, shutil.disk_usage(folder).free)


def _step_seconds(run: TrainingRun, done: int) -> float:
    """Measures a step on the weights of a run, which are changed."""
    config, processes = run.config, run.processes
    reader = BatchReader(config, run.data, processes, run.micro_batch_size)
    batches = reader.read(done + 1)
    best = math.inf
    for _ in range(3):  # the first one allocates memory
        start = time.perf_counter()
        loss = run.loss_to_train(*batches[0].to(processes.device))
        loss.backward()
        float(loss.detach())  # waits for the device
        best = min(best, time.perf_counter() - start)
        if best > LONG_SECONDS:
            break
    if processes.device.type == "cuda":
        torch.cuda.synchronize(processes.device)
    start = time.perf_counter()
    float(clip_gradients(run.model.parameters(), config.max_gradient_norm or math.inf))
    for optimizer in run.optimizers:
        optimizer.step()
    if processes.device.type == "cuda":
        torch.cuda.synchronize(processes.device)
    return best * len(batches) + time.perf_counter() - start
