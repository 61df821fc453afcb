"""The checkpoint from which a run resumes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from fastlm.training.checkpoint import read_checkpoint
from fastlm.training.checkpoint_rotation import CheckpointRotation


@dataclass(frozen=True)
class Resumed:
    """A checkpoint from which a run resumes."""

    path: Path
    tensors: dict[str, Tensor]
    document: dict[str, Any]

    @property
    def step(self) -> int:
        """Number of steps done."""
        step: int = self.document["iteration"]
        return step


def newest_checkpoint(checkpoints: CheckpointRotation) -> Resumed | None:
    """Reads the newest checkpoint of a run, if there is one.

    Raises:
        OSError: The file cannot be read.
        ValueError: The file is damaged. The message names the newest whole one.
    """
    path = checkpoints.newest()
    if path is None:
        return None
    try:
        _, tensors, document = read_checkpoint(path)
    except ValueError as error:
        whole = checkpoints.whole_before(path)
        if whole is None:
            raise
        step, older = whole
        raise ValueError(f"{error}; {older.name} is whole: remove {path.name} to resume from step {step}") from None
    return Resumed(path, tensors, document)
