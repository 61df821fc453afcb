"""The reports of a run: a JSON line per logged step, trackers of experiments, samples, and the progress."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from fastlm import progress
from fastlm.training.config import TrainingConfig
from fastlm.training.json_lines import StepLines
from fastlm.training.json_lines import read_lines as read_log
from fastlm.training.trackers import open_trackers

__all__ = ["RunLog", "read_log"]

Value = int | float | None
LOG, SAMPLES = "log.jsonl", "samples.jsonl"


class RunLog:
    """Writes `log.jsonl` and `samples.jsonl` in the directory of a run, and shows the progress as fastlm.progress does.

    A run that resumes after `step` drops the lines of later steps, because it does these steps again.

    Args:
        config: The configuration of the run.
        step: Number of steps done.

    Raises:
        ValueError: The package of a tracker is missing, or a file is no log.
        OSError: A file cannot be written.
    """

    def __init__(self, config: TrainingConfig, step: int):
        directory = Path(config.out)
        with contextlib.ExitStack() as opened:
            self._lines = StepLines(directory / LOG, step)
            opened.callback(self._lines.close)
            self._samples = None if config.sample_every is None else StepLines(directory / SAMPLES, step)
            if self._samples is not None:
                opened.callback(self._samples.close)
            self._trackers = open_trackers(config, step)
            self._step, self._steps = step, config.steps
            self._display = opened.enter_context(progress.shown())
            self._display("train", step, config.steps)
            self._opened = opened.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for tracker in self._trackers:
            tracker.close(error is not None)
        self._opened.close()

    def write(self, step: int, values: Mapping[str, Value]) -> None:
        """Logs values of a step. Values that are None are left out."""
        known = {name: value for name, value in values.items() if value is not None}
        self._lines.write({"step": step, **known})
        if "loss" in known:
            shown = f"loss {known['loss']:.4f}, {known['tokens_per_second']:,.0f} tokens/s, MFU {known['mfu']:.1%}"
            self._display.describe(shown)
        if "valid_loss" in known:
            self.say(f"step {step}: validation loss {known['valid_loss']:.4f}")
        for tracker in self._trackers:
            tracker.write(step, known)

    def write_samples(self, step: int, samples: Sequence[Mapping[str, str]]) -> None:
        """Logs the samples of a step: prompts, and the texts that continue them."""
        if self._samples is not None:
            self._samples.write({"step": step, "samples": list(samples)})
        for sample in samples:
            self.say(f"step {step}: {sample['prompt']}{sample['text']}")
        for tracker in self._trackers:
            tracker.write_samples(step, samples)

    def say(self, text: str) -> None:
        """Logs a line; on a terminal it is above the progress bar."""
        self._display.say(text)

    def advance(self) -> None:
        """Advances the progress bar by one step."""
        self._step += 1
        self._display("train", self._step, self._steps)

    def sync(self) -> None:
        """Waits until all lines are on disk, which must precede a checkpoint."""
        self._lines.sync()
        if self._samples is not None:
            self._samples.sync()
