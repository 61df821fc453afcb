"""Files of JSON lines, one a step, that a run which resumes continues."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class StepLines:
    """A file of JSON lines with a field `step`. Lines of later steps are dropped, because a run does them again.

    Args:
        path: The file; it is made if it is missing.
        step: Number of steps done.

    Raises:
        OSError: The file cannot be written.
        ValueError: A line is not one of a log.
    """

    def __init__(self, path: Path, step: int):
        path.touch()
        end = _end_of_step(path, step)
        self._file = open(path, "ab")  # noqa: SIM115 - closed by close
        self._file.truncate(end)

    def write(self, values: Mapping[str, Any]) -> None:
        """Adds a line."""
        self._file.write(json.dumps(values).encode() + b"\n")
        self._file.flush()

    def sync(self) -> None:
        """Waits until all lines are on disk."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


def read_lines(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """Reads the lines of a file, without a last line that is cut off."""
    return [json.loads(line) for line in Path(path).read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]


def _end_of_step(path: Path, step: int) -> int:
    """The position in a file after the lines of steps up to `step`; ValueError for a file that is no log."""
    end = 0
    for number, line in enumerate(path.read_bytes().splitlines(keepends=True), 1):
        try:
            if not line.endswith(b"\n") or json.loads(line)["step"] > step:
                break
        except (ValueError, TypeError, KeyError):
            raise ValueError(f"{path}: line {number} is not one of a log") from None
        end += len(line)
    return end
