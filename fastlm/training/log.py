"""The reports of a run: a JSON line per logged step, TensorBoard, and the progress."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from fastlm import progress
from fastlm.training.config import TrainingConfig

Value = int | float | None


class RunLog:
    """Writes `log.jsonl` in the directory of a run, and shows the progress as fastlm.progress does.

    A run that resumes after `step` drops the lines of later steps, because it does these steps again.

    Args:
        config: The configuration of the run.
        step: Number of steps done.

    Raises:
        ValueError: TensorBoard is configured and missing, or log.jsonl is no log.
        OSError: A file cannot be written.
    """

    def __init__(self, config: TrainingConfig, step: int):
        directory = Path(config.out)
        self._board = _tensorboard(directory / "tensorboard", step) if config.tensorboard else None
        path = directory / "log.jsonl"
        path.touch()
        end = _end_of_step(path, step)
        self._file = open(path, "ab")  # noqa: SIM115 - closed by __exit__
        self._file.truncate(end)
        self._step, self._steps = step, config.steps
        self._shown = contextlib.ExitStack()
        self._display = self._shown.enter_context(progress.shown())
        self._display("train", step, config.steps)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._shown.close()
        if self._board is not None:
            self._board.close()
        self._file.close()

    def write(self, step: int, values: Mapping[str, Value]) -> None:
        """Logs values of a step. Values that are None are left out."""
        known = {name: value for name, value in values.items() if value is not None}
        self._file.write(json.dumps({"step": step, **known}).encode() + b"\n")
        self._file.flush()
        if "loss" in known:
            shown = f"loss {known['loss']:.4f}, {known['tokens_per_second']:,.0f} tokens/s, MFU {known['mfu']:.1%}"
            self._display.describe(shown)
        if "valid_loss" in known:
            self.say(f"step {step}: validation loss {known['valid_loss']:.4f}")
        if self._board is not None:
            for name, value in known.items():
                self._board.add_scalar(name, value, step)

    def say(self, text: str) -> None:
        """Logs a line; on a terminal it is above the progress bar."""
        self._display.say(text)

    def advance(self) -> None:
        """Advances the progress bar by one step."""
        self._step += 1
        self._display("train", self._step, self._steps)

    def sync(self) -> None:
        """Waits until all lines are on disk, which must precede a checkpoint."""
        os.fsync(self._file.fileno())


def read_log(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """Reads the lines of a log, without a last line that is cut off."""
    return [json.loads(line) for line in Path(path).read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]


def _end_of_step(path: Path, step: int) -> int:
    """The position in a log after the lines of steps up to `step`; ValueError for a file that is no log."""
    end = 0
    for number, line in enumerate(path.read_bytes().splitlines(keepends=True), 1):
        try:
            if not line.endswith(b"\n") or json.loads(line)["step"] > step:
                break
        except (ValueError, TypeError, KeyError):
            raise ValueError(f"{path}: line {number} is not one of a log") from None
        end += len(line)
    return end


def _tensorboard(directory: Path, step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise ValueError("tensorboard is true, but the package is missing: pip install tensorboard") from None
    return SummaryWriter(str(directory), purge_step=step + 1)
