"""Where the files of an encode job are: in a folder of a file system, or in an object store.

In both, `unfinished/` holds the state and the files that are not whole. In a file system the shards grow there, and a
whole shard gets its name after the state that lists it is on disk.

An object cannot grow and has no second name. So the shards grow in a temporary folder of this machine. A checkpoint
uploads whole shards under their names, then what the unfinished shards gained since the last checkpoint, each as an
object `NAME.OFFSET` in `unfinished/`, and then the state. Objects that the state does not need are removed last. Hence
the state always describes objects that exist. A run that resumes, on any machine, joins those objects.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from fastlm.corpus.manifest import MANIFEST
from fastlm.files.atomic import sync_directory, write_files
from fastlm.files.remote import Location, RemotePath

UNFINISHED = "unfinished"
STATE = "state.json"
CLUSTER = "cluster-"
"""The first letters of the names of files in `unfinished/` that workers of a cluster write. They stay to the end."""

_PART = re.compile(r"(.+)\.(\d{16})")


class JobStorage(Protocol):
    """The files of a job.

    Attributes:
        staging: The local folder in which shards grow.
        pause: The factor by which regular checkpoints are less frequent than in a file system.
    """

    staging: Path
    pause: float

    @property
    def state_path(self) -> Location:
        """Where the state is."""

    def has_state(self) -> bool:
        """Whether there is a state to resume from."""

    def begin(self, resume: bool) -> None:
        """Makes an empty folder. Raises FileExistsError if it holds other files."""

    def save(self, state: bytes, whole: Sequence[str], growing: Sequence[Path]) -> None:
        """Makes a checkpoint: the state, files of whole shards that get their names, and files that still grow."""

    def keep(self) -> None:
        """Says that workers of a cluster have written files, which stay if the run fails."""

    def fetch(self, growing: Mapping[str, int]) -> None:
        """Provides, in the local folder, at least the first bytes of files that still grow: name -> number of bytes."""

    def restore(self, whole: Sequence[str], growing: Mapping[str, int]) -> None:
        """Gives all whole shards of the last state their names, and removes files that the state does not need."""

    def finish(self, manifest: bytes, names: Sequence[str]) -> None:
        """Writes the manifest of files that have their names, and removes all others of the job."""

    def clear(self) -> None:
        """Removes all files of the job but its shards and its manifest."""

    def abandon(self) -> None:
        """Ends a job without a manifest: removes its folders if it made no checkpoint, and all temporary files."""


def storage_of(folder: Location) -> JobStorage:
    """The storage of a job in a folder."""
    return _ObjectStorage(folder) if isinstance(folder, RemotePath) else _FileStorage(folder)


def _refuse_other_files(names: Sequence[str], resume: bool, folder: Location) -> None:
    if names:
        held = f"The folder holds {min(names)!r}" + (" and no run to resume" if resume else "")
        raise FileExistsError(errno.EEXIST, held, str(folder))


class _FileStorage:
    pause = 1.0

    def __init__(self, folder: Path) -> None:
        self.folder, self.staging = folder, folder / UNFINISHED
        self._made: list[Path] = []  # folders to remove if the run fails before its first checkpoint

    @property
    def state_path(self) -> Path:
        return self.staging / STATE

    def has_state(self) -> bool:
        return self.state_path.exists()

    def begin(self, resume: bool) -> None:
        entries = os.listdir(self.folder) if self.folder.exists() else []
        if not (resume and entries == [UNFINISHED]):
            _refuse_other_files(entries, resume, self.folder)
        self.clear()
        self._made = [path for path in (self.staging, self.folder) if not path.exists()]
        self.staging.mkdir(parents=True)

    def save(self, state: bytes, whole: Sequence[str], growing: Sequence[Path]) -> None:
        is_first = not self.state_path.exists()
        write_files(self.staging, {STATE: state})
        if not is_first:
            self._made = []
        self._move(whole, growing)

    def keep(self) -> None:
        self._made = []

    def fetch(self, growing: Mapping[str, int]) -> None:
        pass  # they are there

    def restore(self, whole: Sequence[str], growing: Mapping[str, int]) -> None:
        missing = [name for name in whole if not (self.folder / name).exists()]
        self._move(missing, [self.staging / name for name in growing])

    def _move(self, whole: Sequence[str], growing: Sequence[Path]) -> None:
        for name in whole:
            os.replace(self.staging / name, self.folder / name)
        sync_directory(self.folder)
        kept = {STATE} | {path.name for path in growing}
        for name in os.listdir(self.staging):
            if name not in kept and not name.startswith(CLUSTER):
                os.unlink(self.staging / name)

    def finish(self, manifest: bytes, names: Sequence[str]) -> None:
        write_files(self.folder, {MANIFEST: manifest})
        shutil.rmtree(self.staging)

    def clear(self) -> None:
        shutil.rmtree(self.staging, ignore_errors=True)

    def abandon(self) -> None:
        with contextlib.suppress(OSError):
            for path in self._made:
                if path == self.staging:
                    shutil.rmtree(path)
                else:
                    path.rmdir()


class _ObjectStorage:
    pause = 6.0

    def __init__(self, folder: RemotePath) -> None:
        self.folder = folder
        self._temporary = tempfile.TemporaryDirectory(prefix="fastlm-")
        self.staging = Path(self._temporary.name)
        self._uploaded: dict[str, int] = {}  # bytes of each growing file that the store has
        self._leaves_nothing = False  # whether the store has only the first state of a new job

    @property
    def state_path(self) -> RemotePath:
        return self.folder / UNFINISHED / STATE

    def has_state(self) -> bool:
        return self.state_path.exists()

    def begin(self, resume: bool) -> None:
        names = self.folder.names()
        if resume:
            names = [name for name in names if not name.startswith(f"{UNFINISHED}/")]
        _refuse_other_files(names, resume, self.folder)
        self.clear()
        self._leaves_nothing = True

    def save(self, state: bytes, whole: Sequence[str], growing: Sequence[Path]) -> None:
        self._leaves_nothing = self._leaves_nothing and not whole and not growing
        for name in whole:
            (self.folder / name).upload(self.staging / name)
        for path in growing:
            self._upload_growth(path)
        self.state_path.write_bytes(state)
        self._remove_others({path.name for path in growing})
        for name in whole:
            (self.staging / name).unlink()
            self._uploaded.pop(name, None)

    def _upload_growth(self, path: Path) -> None:
        start = self._uploaded.get(path.name, 0)
        with open(path, "rb") as file:
            file.seek(start)
            if grown := file.read():
                (self.folder / UNFINISHED / f"{path.name}.{start:016}").write_bytes(grown)
        self._uploaded[path.name] = start + len(grown)

    def keep(self) -> None:
        self._leaves_nothing = False

    def fetch(self, growing: Mapping[str, int]) -> None:
        parts = sorted((match[1], int(match[2])) for match in map(_PART.fullmatch, self._unfinished()) if match)
        for name, size in growing.items():
            with open(self.staging / name, "wb") as file:
                for start in (offset for part, offset in parts if part == name and offset < size):
                    if start != file.tell():
                        break
                    file.write((self.folder / UNFINISHED / f"{name}.{start:016}").read_bytes())
                if (found := file.tell()) < size:
                    path = self.folder / UNFINISHED / name
                    raise ValueError(f"{path}: {found} bytes; the checkpoint expects {size}")
            self._uploaded[name] = size

    def restore(self, whole: Sequence[str], growing: Mapping[str, int]) -> None:
        self._remove_others(set(growing))

    def _unfinished(self) -> list[str]:
        return (self.folder / UNFINISHED).names()

    def _remove_others(self, growing: set[str]) -> None:
        for name in self._unfinished():
            match = _PART.fullmatch(name)
            if name.startswith(CLUSTER):
                continue
            if name != STATE and not (match and match[1] in growing and int(match[2]) < self._uploaded[match[1]]):
                (self.folder / UNFINISHED / name).unlink(missing_ok=True)

    def finish(self, manifest: bytes, names: Sequence[str]) -> None:
        missing = set(names) - self.folder.sizes().keys()
        if missing:
            raise OSError(errno.EIO, "The store has lost this object", str(self.folder / min(missing)))
        (self.folder / MANIFEST).write_bytes(manifest)
        self.clear()
        self._temporary.cleanup()

    def clear(self) -> None:
        # the state goes last: without it, other objects are never read
        for name in sorted(self._unfinished(), key=lambda name: name == STATE):
            (self.folder / UNFINISHED / name).unlink(missing_ok=True)

    def abandon(self) -> None:
        if self._leaves_nothing:
            with contextlib.suppress(OSError):
                self.clear()
        self._temporary.cleanup()
