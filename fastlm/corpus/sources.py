"""Sources: names of files, directories, globs and addresses, resolved to files in a fixed order."""

from __future__ import annotations

import contextlib
import glob
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from io import RawIOBase
from pathlib import Path, PurePosixPath
from typing import Any, cast

from fastlm.corpus.streams import COMPRESSIONS, needed

STDIN = "-"

KINDS = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
}
"""The kind of a file by the last suffix of its name, without the suffix of a compression; any other file is text."""


@dataclass(frozen=True)
class SourceFile:
    """One file of a corpus.

    Attributes:
        name: Path or address.
        size: Stored bytes, or None where unknown.
        version: A string that changes when the content does, such as the time of modification; None where unknown.
        open: Opens the file for reading.
    """

    name: str
    size: int | None
    version: str | None
    open: Callable[[], RawIOBase]

    @property
    def compression(self) -> str:
        """The suffix of the name that is in COMPRESSIONS, or ""."""
        suffix = PurePosixPath(self.name).suffix.lower()
        return suffix if suffix in COMPRESSIONS else ""

    @property
    def kind(self) -> str:
        """The kind that the name implies: "text", "jsonl", "parquet" or "arrow"."""
        path = PurePosixPath(self.name)
        return KINDS.get((path.with_suffix("") if self.compression else path).suffix.lower(), "text")


def find_files(names: Sequence[str | os.PathLike[str]]) -> list[SourceFile]:
    """Resolves names to files. The files of one name are in the order of the bytes of their paths.

    Args:
        names: A str may be a path, a glob, an address such as s3://bucket/name that fsspec knows, or "-" for standard
            input. A path object is only a path. A directory means all files below it, except for paths with a part that
            begins with a dot.

    Raises:
        OSError: for a name that does not exist or cannot be read.
        ValueError: for an address that needs a library that is not installed.
    """
    return [file for name in names for file in _files(name)]


def _files(name: str | os.PathLike[str]) -> Iterator[SourceFile]:
    if isinstance(name, str) and name == STDIN:
        yield SourceFile(name, None, None, _standard_input)
    elif isinstance(name, str) and "://" in name:
        yield from _remote_files(name)
    elif isinstance(name, str) and glob.has_magic(name) and not os.path.lexists(name):
        found = [path for path in glob.glob(name, recursive=True) if not os.path.isdir(path)]
        if not found:
            raise FileNotFoundError(f"no file matches {name!r}")
        yield from map(_local_file, sorted(found, key=os.fsencode))
    elif os.path.isdir(name):
        found = [str(path) for path in _files_below(Path(name))]
        if not found:
            raise FileNotFoundError(f"no file in {str(name)!r}")
        yield from map(_local_file, sorted(found, key=os.fsencode))
    else:
        yield _local_file(os.fspath(name))


def _standard_input() -> RawIOBase:
    return cast(RawIOBase, open(sys.stdin.fileno(), "rb", buffering=0, closefd=False))


def _files_below(directory: Path) -> Iterator[Path]:
    for parent, directories, files in os.walk(directory, onerror=_raise):
        directories[:] = [name for name in directories if not name.startswith(".")]
        yield from (Path(parent, name) for name in files if not name.startswith("."))


def _raise(error: OSError) -> None:
    raise error


def _local_file(path: str) -> SourceFile:
    status = os.stat(path)
    version = str(status.st_mtime_ns)
    return SourceFile(path, status.st_size, version, lambda: cast(RawIOBase, open(path, "rb", buffering=0)))


def _remote_files(address: str) -> Iterator[SourceFile]:
    fsspec = needed("fsspec", address.split("://")[0] + "://")
    try:
        system, path = fsspec.core.url_to_fs(address)
    except (ImportError, ValueError) as error:
        raise ValueError(f"{address}: {error}") from None
    with _reached(address):
        found = _names_at(system, path)
        files = [_remote_file(system, name) for name in sorted(found, key=os.fsencode)]
    if not files:
        raise FileNotFoundError(f"no file matches {address!r}")
    yield from files


@contextlib.contextmanager
def _reached(address: str) -> Iterator[None]:
    """Turns what a remote system raises into an OSError that names the address.

    The systems of fsspec raise errors of many libraries, which have no class in common.
    """
    try:
        yield
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{address}: no such file ({error})") from None
    except Exception as error:
        reason = (str(error).strip().splitlines() or [""])[0]
        raise OSError(f"{address}: cannot be read ({type(error).__name__}: {reason})") from error


def _names_at(system: Any, path: str) -> list[str]:
    if glob.has_magic(path) and not system.exists(path):
        return [name for name in system.glob(path) if system.isfile(name)]
    if system.isdir(path):
        return [name for name in system.find(path) if not any(p.startswith(".") for p in _parts_below(name, path))]
    return [path]


def _parts_below(name: str, directory: str) -> Sequence[str]:
    return PurePosixPath(name.removeprefix(directory)).parts


def _remote_file(system: Any, name: str) -> SourceFile:
    info = system.info(name)
    versions = [str(info[key]) for key in ("ETag", "etag", "mtime", "LastModified", "created") if info.get(key)]
    address = str(system.unstrip_protocol(name))

    def opened() -> RawIOBase:
        with _reached(address):
            return cast(RawIOBase, system.open(name, "rb"))

    return SourceFile(address, info.get("size"), versions[0] if versions else None, opened)
