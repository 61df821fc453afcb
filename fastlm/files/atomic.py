"""Files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

TEMPORARY = re.compile(r"\..+\.[0-9a-f]{12}\.tmp", re.DOTALL)


def write_files(directory: Path, contents: Mapping[str, bytes | Callable[[Path], None]]) -> None:
    """Writes files of a directory, made where it is missing; all are on disk before the first takes its name.

    A content is bytes, or what writes them to the path of a file that is there.

    Raises OSError where that fails; then no temporary file is left, and if it failed before the end of writing every
    file that was there is as it was.
    """
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
            staged.append((file.name, directory / name))
        for temporary, path in staged:
            os.replace(temporary, path)
        sync_directory(directory)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A new file to write, which takes the name `path` when the block ends without an error, and else is removed.

    Raises OSError where it cannot be written.
    """
    with _staged(path) as file:
        yield file
        _sync(file)
        os.replace(file.name, path)
        sync_directory(path.parent)


def remove_unfinished(directory: Path) -> None:
    """Removes the temporary files that a killed process left in a directory, where nothing else may write now."""
    for path in directory.glob(".*.tmp"):
        if TEMPORARY.fullmatch(path.name):
            path.unlink()


@contextlib.contextmanager
def _staged(path: Path) -> Iterator[BinaryIO]:
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "Is a directory", str(path))
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "Not a regular file, so it cannot be replaced", str(path))
    temporary = path.with_name(f".{path.name}.{os.urandom(6).hex()}.tmp")  # as TEMPORARY
    file = open(temporary, "x+b")  # noqa: SIM115 - closed below, before the name is given up
    try:
        with file:
            yield file
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def sync_directory(directory: Path) -> None:
    """Makes a rename last through a power cut, where the system can open a directory."""
    if os.name != "posix":
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
