"""Files of object stores: the only place that knows fsspec for output.

An address is `SCHEME://BUCKET/NAME`. An object appears whole or not at all: each write is one request, or a multipart
upload that the store completes at the end. There is no rename and no append. So a set of files is written with the file
that describes the others last, and a job that resumes finds what it needs in whole objects.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path, PurePosixPath
from typing import TypeAlias

from fastlm._extras import install_command
from fastlm.forks import no_fork

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/")
# scheme -> the extra that installs its library
SCHEMES = {"s3": "s3", "gs": "gcs", "gcs": "gcs", "hf": "hub", "memory": "data"}


def temporary_folder() -> AbstractContextManager[str]:
    """A folder that exists as long as the context. Most processes need none, so its module is imported here."""
    with no_fork:
        import tempfile
    return tempfile.TemporaryDirectory(prefix="fastlm-")


class RemotePath:
    """An object of a store, or a prefix of names as a folder. Its methods are named as in pathlib.Path.

    Methods raise OSError that names the address for each failure of the store.

    Args:
        address: The address.

    Raises:
        ValueError: The scheme is not supported, or its library is not installed.
    """

    def __init__(self, address: str) -> None:
        scheme = address.partition("://")[0]
        if scheme not in SCHEMES:
            known = ", ".join(f"{name}://" for name in [*SCHEMES, "file"])
            raise ValueError(f"{address}: the scheme {scheme!r} is not supported; expected a path, or one of {known}")
        self.address = address.rstrip("/")
        if not self.address.partition("://")[2]:
            raise ValueError(f"{address}: expected a bucket after {scheme}://")
        try:
            import fsspec

            with _naming(self.address):
                # a listing may be older than a write of this or another process
                self._system, self._path = fsspec.core.url_to_fs(self.address, use_listings_cache=False)
        except ImportError:
            raise ValueError(f"{address}: needs a library: {install_command(SCHEMES[scheme])}") from None

    def __truediv__(self, name: str) -> RemotePath:
        return RemotePath(f"{self.address}/{name}")

    def __str__(self) -> str:
        return self.address

    def __repr__(self) -> str:
        return f"RemotePath({self.address!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RemotePath) and other.address == self.address

    def __hash__(self) -> int:
        return hash(self.address)

    @property
    def name(self) -> str:
        """The last part of the address."""
        return PurePosixPath(self._path).name

    @property
    def suffix(self) -> str:
        """The suffix of the name."""
        return PurePosixPath(self._path).suffix

    @property
    def parent(self) -> RemotePath:
        """The address without its last part."""
        return RemotePath(self.address.rpartition("/")[0])

    def size(self) -> int | None:
        """Bytes of the object; None if there is no object."""
        with _naming(self.address):
            self._system.invalidate_cache()
            try:
                found = self._system.info(self._path)
            except FileNotFoundError:
                return None
            return int(found["size"]) if found["type"] == "file" else None

    def exists(self) -> bool:
        """Whether there is such an object."""
        return self.size() is not None

    def names(self) -> list[str]:
        """The names of all objects below this folder, relative to it, in order."""
        return sorted(self.sizes())

    def sizes(self) -> dict[str, int]:
        """Name -> bytes of all objects below this folder; the names are relative to it."""
        with _naming(self.address):
            self._system.invalidate_cache()
            try:
                found = self._system.find(self._path, detail=True)
            except FileNotFoundError:
                return {}
            prefix = f"{self._path.rstrip('/')}/"
            return {name.removeprefix(prefix): info["size"] for name, info in found.items() if name.startswith(prefix)}

    def read_bytes(self) -> bytes:
        """The content of the object."""
        with _naming(self.address):
            content: bytes = self._system.cat_file(self._path)
            return content

    def write_bytes(self, content: bytes) -> None:
        """Makes or replaces the object."""
        with _naming(self.address):
            self._system.pipe_file(self._path, content)
        self._check_size(len(content))

    def upload(self, path: Path) -> None:
        """Makes or replaces the object with the content of a local file."""
        with _naming(self.address):
            self._system.put_file(str(path), self._path)
        self._check_size(path.stat().st_size)

    def download(self, path: Path) -> None:
        """Copies the object to a local file."""
        with _naming(self.address):
            self._system.get_file(self._path, str(path))

    def unlink(self, missing_ok: bool = False) -> None:
        """Removes the object."""
        with _naming(self.address):
            try:
                self._system.rm_file(self._path)
            except FileNotFoundError:
                if not missing_ok:
                    raise

    def _check_size(self, expected: int) -> None:
        found = self.size()
        if found != expected:
            has = "no object" if found is None else f"{found} bytes"
            raise OSError(errno.EIO, f"The store has {has} after a write of {expected} bytes", self.address)


Location: TypeAlias = Path | RemotePath


def location(name: str | os.PathLike[str] | RemotePath) -> Location:
    """A path, or an address of an object store.

    Raises:
        ValueError: The address has a scheme that is not supported or whose library is not installed, or is a path
            object, which cannot hold an address.
    """
    if isinstance(name, RemotePath):
        return name
    text = os.fsdecode(name)
    match = _SCHEME.match(text)
    if match is None:
        return Path(text)
    if not text.startswith(f"{match[0]}/"):
        raise ValueError(
            f"{text}: expected an address such as {match[0]}/bucket/name, as a str and not as a path object"
        )
    if match[1] == "file":
        return Path(text.removeprefix("file://"))
    return RemotePath(text)


def local_path(name: str | os.PathLike[str], what: str) -> Path:
    """A path of this machine. Raises ValueError for an address; the message begins with `what`."""
    found = location(name)
    if isinstance(found, RemotePath):
        raise ValueError(f"{what} must be a path of this machine, got the address {name}")
    return found


def is_address(name: object) -> bool:
    """Whether this is the address of an object store, of any scheme but file://."""
    return isinstance(name, RemotePath) or (isinstance(name, str) and "://" in name and not name.startswith("file://"))


@contextlib.contextmanager
def fetched(source: Location, names: Iterable[str] | None = None) -> Iterator[Path]:
    """A local copy of an object, or of the objects in a folder, which is removed after the block.

    Args:
        source: The object or folder. A path of this machine is yielded itself.
        names: Names of the objects of a folder to copy; by default all. A missing one is left out.

    Raises:
        FileNotFoundError: There is no such object, and no folder with objects.
        OSError: The store fails.
    """
    if isinstance(source, Path):
        yield source
        return
    with temporary_folder() as directory:
        copy = Path(directory) / (source.name or "copy")
        if names is None and source.exists():
            source.download(copy)
        else:
            found = source.names()
            wanted = found if names is None else [name for name in names if name in found]
            if not found and names is None:
                raise FileNotFoundError(errno.ENOENT, "No such object or folder", str(source))
            copy.mkdir()
            for name in wanted:
                (copy / name).parent.mkdir(parents=True, exist_ok=True)
                (source / name).download(copy / name)
        yield copy


@contextlib.contextmanager
def _naming(address: str) -> Iterator[None]:
    """Turns every error of a store into an OSError that names the address."""
    try:
        yield
    except FileNotFoundError:
        raise FileNotFoundError(errno.ENOENT, "No such object or bucket", address) from None
    except (ImportError, MemoryError):
        raise
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise OSError(
            error.errno if isinstance(error, OSError) and error.errno else errno.EIO, reason, address
        ) from error
