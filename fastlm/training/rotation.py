"""The checkpoints of a run: the last few, named by their steps."""

from __future__ import annotations

import re
from pathlib import Path

from fastlm.files.atomic import replacing
from fastlm.model.safetensors_file import write_archive
from fastlm.training.checkpoint import Snapshot

NAME = re.compile(r"step-(\d{8,18})\.safetensors")


class Checkpoints:
    """A directory of checkpoints, of which the newest `keep` stay."""

    def __init__(self, directory: Path, keep: int):
        self.directory = directory
        self.keep = keep

    def newest(self) -> Path | None:
        """The checkpoint of the last step, if there is one."""
        return max(self._all(), default=(0, None))[1]

    def save(self, step: int, snapshot: Snapshot) -> None:
        """Writes a checkpoint, which appears whole or not at all, and only then removes old ones. Raises OSError."""
        self.directory.mkdir(parents=True, exist_ok=True)
        with replacing(self.directory / f"step-{step:08d}.safetensors") as file:
            write_archive(file, *snapshot)
        for _, path in sorted(self._all())[: -self.keep]:
            path.unlink()

    def _all(self) -> list[tuple[int, Path]]:
        found = ((NAME.fullmatch(path.name), path) for path in self.directory.glob("step-*"))
        return [(int(match[1]), path) for match, path in found if match]
