"""Files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import BinaryIO

from fastlm.files.remote import Location, RemotePath, location, temporary_folder

fcntl: ModuleType | None
try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None

TEMPORARY = re.compile(r"\..+\.[0-9a-f]{12}\.tmp", re.DOTALL)


def write_files(
    directory: Location, contents: Mapping[str, bytes | Callable[[Path], None]], remove: Iterable[str] = ()
) -> None:
    """Writes files of a directory together, and removes others.

    In an object store each file is whole. The files appear in order, so the last one should describe the others.

    All contents are on disk before the first file gets its name. An error leaves every file as it was, where the file
    system has hard links. A kill between two names leaves temporary files; `unfinished` finds them.

    Args:
        directory: The directory; it is made if it is missing.
        contents: Name -> bytes, or a function that writes to the path of a file that exists.
        remove: Names of files that are removed once the others have their names. A missing one is ignored.

    Raises:
        OSError: If a file cannot be written, renamed or removed. No temporary file is left.
        ValueError: If the directory is an address as a path object; see remote.location.
    """
    directory = location(directory)
    if isinstance(directory, RemotePath):
        _write_objects(directory, contents, remove)
        return
    directory.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        staged = []
        for name, content in contents.items():
            file = stack.enter_context(_staged(directory / name))
            if isinstance(content, bytes):
                file.write(content)
            else:
                content(Path(file.name))
            _sync(file)
            _allow_rename(file)
            staged.append((file.name, directory / name))
        back_up = stack.enter_context(_restoring())
        for temporary, path in staged:
            back_up(path)
            os.replace(temporary, path)
        for path in [directory / name for name in remove]:
            if path.is_file():
                back_up(path)
                path.unlink()
        sync_directory(directory)


def _write_objects(
    folder: RemotePath, contents: Mapping[str, bytes | Callable[[Path], None]], remove: Iterable[str]
) -> None:
    with temporary_folder() as directory:
        for name, content in contents.items():
            path = Path(directory, name)
            path.write_bytes(content if isinstance(content, bytes) else b"")
            if not isinstance(content, bytes):
                content(path)
        for name in contents:
            (folder / name).upload(Path(directory, name))
    present = set(folder.names())
    for name in present & set(remove):
        (folder / name).unlink(missing_ok=True)


@contextlib.contextmanager
def _restoring() -> Iterator[Callable[[Path], None]]:
    """Gives a function that backs up a file before it changes. An error in the block restores all of them."""
    backups: list[tuple[Path, Path | None]] = []
    stack = contextlib.ExitStack()

    def back_up(path: Path) -> None:
        if not path.exists():
            backups.append((path, None))
            return
        backup = _temporary_name(path)
        # without hard links there is no cheap backup
        with contextlib.suppress(OSError, NotImplementedError):
            os.link(path, backup, follow_symlinks=False)
            backups.append((path, backup))
            if fcntl is not None:
                locked = stack.enter_context(open(backup, "rb"))  # noqa: SIM115 - the stack closes it
                _lock(locked, shared=True)

    try:
        yield back_up
    except BaseException:
        for path, backup in reversed(backups):
            with contextlib.suppress(OSError):
                if backup is None:
                    path.unlink(missing_ok=True)
                else:
                    os.replace(backup, path)
        raise
    finally:
        for _, backup in backups:
            if backup is not None:
                with contextlib.suppress(OSError):
                    backup.unlink(missing_ok=True)
        stack.close()


def unfinished(path: Path) -> bool:
    """Whether a kill left a temporary file of this path, so that files written together may not belong together."""
    return bool(_temporaries(path))


@contextlib.contextmanager
def replacing(path: Location) -> Iterator[BinaryIO]:
    """A new file to write, which takes the name `path` when the block ends without an error, and else is removed.

    Raises OSError where it cannot be written, and ValueError as remote.location.
    """
    path = location(path)
    if isinstance(path, RemotePath):
        with temporary_folder() as directory:
            with open(Path(directory, path.name), "w+b") as file:
                yield file
            path.upload(Path(directory, path.name))
        return
    with _staged(path) as file:
        yield file
        _sync(file)
        _allow_rename(file)
        os.replace(file.name, path)
        sync_directory(path.parent)


def remove_unfinished(directory: Path) -> None:
    """Removes the temporary files that a killed process left in a directory, where nothing else may write now."""
    for path in directory.glob(".*.tmp"):
        if TEMPORARY.fullmatch(path.name):
            path.unlink()


def _temporaries(path: Path) -> list[Path]:
    """The temporary files of a path, of this and of other processes."""
    pattern = re.compile(re.escape(f".{path.name}.") + r"[0-9a-f]{12}\.tmp")
    return [found for found in path.parent.glob(".*.tmp") if pattern.fullmatch(found.name)]


def _remove_abandoned(path: Path) -> None:
    """Removes the temporary files of a path that no living process has locked, where the system can lock files."""
    if fcntl is None:
        return
    for found in _temporaries(path):
        with contextlib.suppress(OSError), open(found, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            found.unlink()


def _lock(file: BinaryIO, shared: bool = False) -> None:
    """Locks a temporary file while it is open, as far as the file system can."""
    if fcntl is not None:
        with contextlib.suppress(OSError):
            fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)


def _created(path: Path) -> BinaryIO:
    """A new locked file with a temporary name of `path`."""
    while True:
        file = open(_temporary_name(path), "x+b")  # noqa: SIM115 - the caller closes it
        _lock(file)
        # another process may have removed it before it was locked
        if os.path.exists(file.name):
            return file
        file.close()


def _temporary_name(path: Path) -> Path:
    """A new name in the folder of a file. TEMPORARY matches it."""
    return path.with_name(f".{path.name}.{os.urandom(6).hex()}.tmp")


@contextlib.contextmanager
def _staged(path: Path) -> Iterator[BinaryIO]:
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "Is a directory", str(path))
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "Not a regular file, so it cannot be replaced", str(path))
    _remove_abandoned(path)
    file = _created(path)
    try:
        with file:
            # a new file follows the umask; a replaced one keeps its mode
            if path.exists() and hasattr(os, "fchmod"):
                os.fchmod(file.fileno(), stat.S_IMODE(path.stat().st_mode))
            yield file
    except OSError as error:
        # write and fsync name no file
        if error.errno is not None and error.filename is None:
            error.filename = str(path)
        raise
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(file.name)


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _allow_rename(file: BinaryIO) -> None:
    """Closes a file where the system renames no open ones; elsewhere it stays open, because it is locked."""
    if os.name == "nt":
        file.close()


def sync_directory(directory: Path) -> None:
    """Makes a rename last through a power cut, where the system can open a directory."""
    if os.name != "posix":
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
