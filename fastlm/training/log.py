"""What a run reports: a JSON line a logged step, TensorBoard, and a line on the terminal."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tqdm import tqdm

from fastlm.training.config import TrainingConfig

Value = int | float | None


class RunLog:
    """Writes `log.jsonl` in the directory of a run, which goes on after `step`: what was logged later is dropped, as
    those steps are done again. On a terminal it also draws a line of progress.

    Raises ValueError where TensorBoard is wanted and missing, OSError where files cannot be written.
    """

    def __init__(self, config: TrainingConfig, step: int):
        directory = Path(config.out)
        self._board = _tensorboard(directory / "tensorboard", step) if config.tensorboard else None
        path = directory / "log.jsonl"
        path.touch()
        end = _end_of_step(path, step)
        self._file = open(path, "ab")  # noqa: SIM115 - closed by __exit__
        self._file.truncate(end)
        # disable=None: only on a terminal
        self._bar = tqdm(initial=step, total=config.steps, unit="step", disable=None, file=sys.stderr)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._bar.close()
        if self._board is not None:
            self._board.close()
        self._file.close()

    def write(self, step: int, values: Mapping[str, Value]) -> None:
        """Logs values of a step; those that are None are left out."""
        known = {name: value for name, value in values.items() if value is not None}
        self._file.write(json.dumps({"step": step, **known}).encode() + b"\n")
        self._file.flush()
        if "loss" in known:
            shown = f"loss {known['loss']:.4f}, {known['tokens_per_second']:,.0f} tokens/s, MFU {known['mfu']:.1%}"
            self._bar.set_postfix_str(shown, refresh=False)
        if self._board is not None:
            for name, value in known.items():
                self._board.add_scalar(name, value, step)

    def advance(self) -> None:
        """One step more on the line of progress."""
        self._bar.update()

    def sync(self) -> None:
        """Until all lines are on disk: a checkpoint must not be there before them."""
        os.fsync(self._file.fileno())


def read_log(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """The lines of a log; one that was cut off in the middle is left out."""
    return [json.loads(line) for line in Path(path).read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]


def _end_of_step(path: Path, step: int) -> int:
    """Where in a log the lines of steps up to `step` end. Raises ValueError for a file that is no log."""
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
