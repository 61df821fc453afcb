"""A run whose folder is in an object store: it works in a local copy, which is uploaded with each checkpoint."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

from fastlm.files.remote import RemotePath, location
from fastlm.interrupts import INTERRUPTS
from fastlm.training.checkpoint_rotation import NAME
from fastlm.training.config import TrainingConfig

_CHECKPOINTS, _CONFIG = "checkpoints", "config.toml"


class RunFolder:
    """The local folder of a run, and the folder in a store that it is a copy of, if there is one.

    Attributes:
        path: The local folder.
    """

    def __init__(self, path: Path, remote: RemotePath | None = None) -> None:
        self.path, self._remote = path, remote

    def download(self) -> None:
        """Fetches what a run needs to resume: the newest checkpoint and the log."""
        if self._remote is None:
            return
        names = self._remote.names()
        checkpoints = sorted(name for name in names if NAME.fullmatch(name.removeprefix(f"{_CHECKPOINTS}/")))
        for name in (*checkpoints[-1:], *(name for name in names if name == "log.jsonl")):
            (self.path / name).parent.mkdir(parents=True, exist_ok=True)
            (self._remote / name).download(self.path / name)

    def upload(self) -> None:
        """Uploads the files of the run; checkpoints last, because a run that resumes from one needs the log.

        Then it removes the checkpoints that the local folder no longer has.
        """
        if self._remote is None:
            return
        present = self._remote.sizes()
        local = {path.relative_to(self.path).as_posix(): path for path in self.path.rglob("*") if path.is_file()}
        for name in sorted(local, key=lambda name: (name.startswith(f"{_CHECKPOINTS}/"), name)):
            if name == _CONFIG:
                out, remote = (json.dumps(str(place)) for place in (self.path, self._remote))
                (self._remote / name).write_bytes(local[name].read_text("utf-8").replace(out, remote).encode())
            elif not (name.startswith(f"{_CHECKPOINTS}/") and present.get(name) == local[name].stat().st_size):
                (self._remote / name).upload(local[name])
        for name in present:
            if name.startswith(f"{_CHECKPOINTS}/step-") and name not in local:
                (self._remote / name).unlink(missing_ok=True)


@contextlib.contextmanager
def run_folder(config: TrainingConfig) -> Iterator[tuple[TrainingConfig, RunFolder]]:
    """The folder of a run, and the configuration with the local folder as `out`.

    Raises:
        ValueError: The scheme of the address is not supported.
        OSError: The store fails.
    """
    out = location(config.out)
    if isinstance(out, Path):
        yield dataclasses.replace(config, out=str(out)), RunFolder(out)
        return
    with tempfile.TemporaryDirectory(prefix="fastlm-") as directory:
        folder = RunFolder(Path(directory, out.name), out)
        folder.download()
        try:
            yield dataclasses.replace(config, out=str(folder.path)), folder
        except INTERRUPTS as error:
            raise type(error)(*(str(text).replace(str(folder.path), str(out)) for text in error.args)) from None
