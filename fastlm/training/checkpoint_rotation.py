"""The rotation of a run's checkpoints: the newest few files, named by their steps."""

from __future__ import annotations

import re
from pathlib import Path

from fastlm.files.atomic import replacing
from fastlm.model.safetensors_file import archive_digest, write_archive
from fastlm.training.checkpoint import Snapshot

NAME = re.compile(r"step-(\d{8,18})\.safetensors")


class CheckpointRotation:
    """A directory of checkpoints, of which the newest are kept.

    Args:
        directory: The directory.
        keep: Number of checkpoints to keep.
    """

    def __init__(self, directory: Path, keep: int):
        self.directory = directory
        self.keep = keep

    def newest(self) -> Path | None:
        """The checkpoint of the last step, if there is one."""
        return max(self.all(), default=(0, None))[1]

    def whole_before(self, path: Path) -> tuple[int, Path] | None:
        """The newest undamaged checkpoint before `path`, with its step. It reads the older files."""
        known = sorted(self.all(), reverse=True)
        for step, older in known[[file for _, file in known].index(path) + 1 :]:
            try:
                archive_digest(older)
            except (OSError, ValueError):
                continue
            return step, older
        return None

    def save(self, step: int, snapshot: Snapshot) -> None:
        """Writes a checkpoint, which appears whole or not at all, and then removes old ones.

        Raises:
            OSError: A file cannot be written.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        with replacing(self.directory / f"step-{step:08d}.safetensors") as file:
            write_archive(file, *snapshot)
        for _, path in sorted(self.all())[: -self.keep]:
            path.unlink()

    def all(self) -> list[tuple[int, Path]]:
        """The checkpoints with their steps, in no order."""
        found = ((NAME.fullmatch(path.name), path) for path in self.directory.glob("step-*"))
        return [(int(match[1]), path) for match, path in found if match]
