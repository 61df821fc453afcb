"""Names of files, directories, globs and addresses to the files they mean, in an order that depends on nothing else."""

from __future__ import annotations

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
"""What the last suffix of a name, without that of a compression, says; any other is text."""


@dataclass(frozen=True)
class Place:
    """A file: its name, its size in bytes and what changes when its content does, where these are known."""

    name: str
    size: int | None
    version: str | None
    open: Callable[[], RawIOBase]

    @property
    def compression(self) -> str:
        """The suffix of COMPRESSIONS that the name has, or none."""
        suffix = PurePosixPath(self.name).suffix.lower()
        return suffix if suffix in COMPRESSIONS else ""

    @property
    def kind(self) -> str:
        """What the name says of the content: "text", "jsonl", "parquet" or "arrow"."""
        path = PurePosixPath(self.name)
        return KINDS.get((path.with_suffix("") if self.compression else path).suffix.lower(), "text")


def find_places(names: Sequence[str | os.PathLike[str]]) -> list[Place]:
    """The files that are meant, those of one name in the order of their bytes.

    A str may be a path, a glob, an address such as s3://bucket/name that fsspec knows, or "-" for the standard input; a
    path object is only a path. A directory stands for all files below it whose path has no part that begins with a dot.
    Raises OSError for what does not exist or cannot be read, ValueError for an address that needs a missing library.
    """
    return [place for name in names for place in _places(name)]


def _places(name: str | os.PathLike[str]) -> Iterator[Place]:
    if isinstance(name, str) and name == STDIN:
        yield Place(name, None, None, _standard_input)
    elif isinstance(name, str) and "://" in name:
        yield from _remote(name)
    elif isinstance(name, str) and glob.has_magic(name) and not os.path.lexists(name):
        found = [path for path in glob.glob(name, recursive=True) if not os.path.isdir(path)]
        if not found:
            raise FileNotFoundError(f"no file matches {name!r}")
        yield from map(_local, sorted(found, key=os.fsencode))
    elif os.path.isdir(name):
        found = [str(path) for path in _files_below(Path(name))]
        if not found:
            raise FileNotFoundError(f"no file in {str(name)!r}")
        yield from map(_local, sorted(found, key=os.fsencode))
    else:
        yield _local(os.fspath(name))


def _standard_input() -> RawIOBase:
    return cast(RawIOBase, open(sys.stdin.fileno(), "rb", buffering=0, closefd=False))


def _files_below(directory: Path) -> Iterator[Path]:
    for parent, directories, files in os.walk(directory, onerror=_raised):
        directories[:] = [name for name in directories if not name.startswith(".")]
        yield from (Path(parent, name) for name in files if not name.startswith("."))


def _raised(error: OSError) -> None:
    raise error


def _local(path: str) -> Place:
    status = os.stat(path)
    return Place(path, status.st_size, str(status.st_mtime_ns), lambda: cast(RawIOBase, open(path, "rb", buffering=0)))


def _remote(address: str) -> Iterator[Place]:
    fsspec = needed("fsspec", address.split("://")[0] + "://")
    try:
        system, path = fsspec.core.url_to_fs(address)
    except ImportError as error:
        raise ValueError(f"{address}: {error}") from None
    if glob.has_magic(path) and not system.exists(path):
        found = [name for name in system.glob(path) if system.isfile(name)]
    elif system.isdir(path):
        found = [name for name in system.find(path) if not any(p.startswith(".") for p in _below(name, path))]
    else:
        found = [path]
    if not found:
        raise FileNotFoundError(f"no file matches {address!r}")
    for name in sorted(found, key=os.fsencode):
        yield _remote_place(system, name)


def _below(name: str, directory: str) -> Sequence[str]:
    return PurePosixPath(name.removeprefix(directory)).parts


def _remote_place(system: Any, name: str) -> Place:
    known = system.info(name)
    marks = [str(known[key]) for key in ("ETag", "etag", "mtime", "LastModified", "created") if known.get(key)]
    return Place(
        str(system.unstrip_protocol(name)),
        known.get("size"),
        marks[0] if marks else None,
        lambda: cast(RawIOBase, system.open(name, "rb")),
    )
