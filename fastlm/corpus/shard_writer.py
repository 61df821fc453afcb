"""Writes the shards of one split, one after the other, in a folder of unfinished shards."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fastlm._types import Int64Array
from fastlm.corpus.megatron import IDX, megatron_index
from fastlm.corpus.shard_formats import INDEX, Format, ids_header, ids_suffix, read_ends, shard_name
from fastlm.files.schema import Count, Sha256

_READ_BYTES = 1 << 22


@dataclass(frozen=True)
class Shard:
    """A whole shard.

    Attributes:
        tokens: The number of its ids.
        documents: The number of documents that end in it.
        sha256: The sha256 of each of its files, by name.
    """

    tokens: Count
    documents: Count
    sha256: dict[str, Sha256]


@dataclass(frozen=True)
class UnfinishedShard:
    """A shard that is being written, as a checkpoint describes it.

    Attributes:
        number: Its number in the split.
        tokens: The number of its ids.
        documents: The number of documents that end in it.
        ids_sha256: The sha256 of the file of ids up to the checkpoint.
        ends_sha256: The sha256 of the file of document ends up to the checkpoint.
    """

    number: Count
    tokens: Count
    documents: Count
    ids_sha256: Sha256
    ends_sha256: Sha256


class HashedFile:
    """A file that is appended to and hashed as it grows.

    Args:
        path: The file, which is made or emptied.
        header: Its first bytes.
    """

    def __init__(self, path: Path, header: bytes = b"") -> None:
        self.path = path
        self._digest = hashlib.sha256()
        self._file = open(path, "w+b", buffering=0)  # noqa: SIM115 - closed by close
        try:
            self.append(header)
        except BaseException:
            self._file.close()
            raise

    @classmethod
    def reopened(cls, path: Path, size: int, sha256: str, header: bytes = b"") -> HashedFile:
        """Reopens a file to append to its first `size` bytes; the rest is cut off.

        Args:
            path: The file.
            size: The number of bytes to keep.
            sha256: The sha256 of these bytes, with `header` for the first ones.
            header: The first bytes; they are written if the file begins with others.

        Raises:
            OSError: if the file cannot be opened.
            ValueError: for a file with fewer or other bytes. The file is not changed.
        """
        self = cls.__new__(cls)
        self.path = path
        self._digest = hashlib.sha256(header)
        self._file = open(path, "r+b", buffering=0)  # noqa: SIM115 - closed by close
        try:
            found = self._file.read(len(header))
            left = size - len(found)
            while left and (part := self._file.read(min(left, _READ_BYTES))):
                self._digest.update(part)
                left -= len(part)
            if left:
                raise ValueError(f"{path}: {size - left} bytes; the checkpoint expects {size}")
            if self.sha256() != sha256:
                raise ValueError(f"{path}: the first {size} bytes have sha256 {self.sha256()}; expected {sha256}")
            self._file.truncate(size)
            if found != header:
                self._file.seek(0)
                self._write(header)
                self._file.seek(size)
        except BaseException:
            self._file.close()
            raise
        return self

    def append(self, content: Any) -> None:
        """Adds a contiguous buffer."""
        self._digest.update(content)
        self._write(content)

    def overwrite(self, start: bytes) -> None:
        """Writes other bytes at the start, and hashes the whole file again."""
        self._file.seek(0)
        self._write(start)
        self._file.seek(0)
        self._digest = hashlib.sha256()
        while part := self._file.read(_READ_BYTES):
            self._digest.update(part)

    def _write(self, content: Any) -> None:
        view = memoryview(content).cast("B")
        try:
            while view:
                view = view[self._file.write(view) :]
        except OSError as error:
            error.filename = error.filename or str(self.path)
            raise

    def sync(self) -> None:
        """Puts on disk what was written."""
        os.fsync(self._file.fileno())

    def sha256(self) -> str:
        """The sha256 of what was written, in hexadecimal."""
        return self._digest.hexdigest()

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


@dataclass
class _OpenShard:
    number: int
    ids: HashedFile
    index: HashedFile
    tokens: int = 0
    documents: int = 0


@dataclass
class SplitWriter:
    """Writes the shards of one split to a folder. Each shard but the last has `shard_tokens` ids.

    Shards of the format megatron hold whole documents: each ends with the document that fills it. The shards do not
    depend on how the ids are divided among calls of `write`.

    Attributes:
        folder: The folder of unfinished shards.
        split: The name of the split.
        format: The format of the shards.
        dtype: The dtype of the ids.
        shard_tokens: The ids of a shard.
        shards: The whole shards.
        first: The number of the first shard.
    """

    folder: Path
    split: str
    format: Format
    dtype: np.dtype[Any]
    shard_tokens: int
    shards: list[Shard] = field(default_factory=list)
    first: int = 0
    _open: _OpenShard | None = None

    def write(self, ids: np.ndarray[Any, np.dtype[Any]], ends: Int64Array) -> None:
        """Adds ids.

        Args:
            ids: The ids, of `dtype`.
            ends: int64 (n,): where documents end among them.

        Raises:
            OSError: if a file cannot be written.
            ValueError: if the last shard was already made whole with fewer than `shard_tokens` ids.
        """
        while len(ids) or len(ends):
            shard = self._opened()
            size, count = self._room(shard, len(ids), ends)
            if not size and not count:
                self._seal(shard)
                continue
            shard.ids.append(ids[:size].data)
            shard.index.append((ends[:count] + shard.tokens).astype("<u8").data)
            shard.tokens += size
            shard.documents += count
            filled = shard.tokens >= self.shard_tokens and count and ends[count - 1] == size
            ids, ends = ids[size:], ends[count:] - size
            if self.format == "megatron" and filled:
                self._seal(shard)

    def _room(self, shard: _OpenShard, size: int, ends: Int64Array) -> tuple[int, int]:
        """The number of the ids and of the ends that belong to a shard."""
        room = self.shard_tokens - shard.tokens
        if self.format == "megatron":
            filled = int(np.searchsorted(ends, max(0, room)))
            return (int(ends[filled]), filled + 1) if filled < len(ends) else (size, len(ends))
        # an end at the last id of a shard belongs to that shard
        return min(size, room), int(np.searchsorted(ends, room, "right"))

    def checkpoint(self) -> UnfinishedShard | None:
        """Puts on disk what was written, and describes the shard that is being written."""
        shard = self._open
        if shard is None:
            return None
        shard.ids.sync()
        shard.index.sync()
        return UnfinishedShard(shard.number, shard.tokens, shard.documents, shard.ids.sha256(), shard.index.sha256())

    def sizes(self, shard: UnfinishedShard) -> dict[str, int]:
        """Name -> bytes of the file of ids and of the file of document ends of a checkpoint's shard."""
        name, header = shard_name(self.split, shard.number), ids_header(self.format, self.dtype, self.shard_tokens)
        ids_bytes = len(header) + shard.tokens * self.dtype.itemsize
        return {name + ids_suffix(self.format): ids_bytes, name + INDEX: 8 * shard.documents}

    def resume(self, shard: UnfinishedShard) -> None:
        """Continues a shard from a checkpoint. Raises OSError, and ValueError if its files hold other bytes."""
        header = ids_header(self.format, self.dtype, self.shard_tokens)
        (ids_name, ids_size), (ends_name, ends_size) = self.sizes(shard).items()
        ids = HashedFile.reopened(self.folder / ids_name, ids_size, shard.ids_sha256, header)
        try:
            index = HashedFile.reopened(self.folder / ends_name, ends_size, shard.ends_sha256)
        except BaseException:
            ids.close()
            raise
        self._open = _OpenShard(shard.number, ids, index, shard.tokens, shard.documents)

    @property
    def open_size(self) -> tuple[int, int] | None:
        """Ids and documents of the shard that is being written; None if there is none."""
        return (self._open.tokens, self._open.documents) if self._open else None

    @property
    def paths(self) -> list[Path]:
        """The files of the shard that is being written."""
        return [self._open.ids.path, self._open.index.path] if self._open else []

    def finish(self) -> None:
        """Makes the shard that is being written whole, if there is one."""
        if self._open:
            self._seal(self._open)

    def close(self) -> None:
        """Closes the files of the shard that is being written."""
        if self._open:
            self._open.ids.close()
            self._open.index.close()
            self._open = None

    def _opened(self) -> _OpenShard:
        if self._open is None:
            number = self.first + len(self.shards)
            if self.shards and self.shards[-1].tokens < self.shard_tokens:
                last = shard_name(self.split, number - 1)
                raise ValueError(f"{last} was the last shard of this run, but the source now holds more documents")
            name = shard_name(self.split, number)
            header = ids_header(self.format, self.dtype, self.shard_tokens)
            ids = HashedFile(self.folder / (name + ids_suffix(self.format)), header)
            try:
                index = HashedFile(self.folder / (name + INDEX))
            except BaseException:
                ids.close()
                raise
            self._open = _OpenShard(number, ids, index)
        return self._open

    def _seal(self, shard: _OpenShard) -> None:
        """Makes a shard whole, on disk."""
        if self.format == "npy" and shard.tokens < self.shard_tokens:
            shard.ids.overwrite(ids_header(self.format, self.dtype, shard.tokens))
        shard.ids.sync()
        shard.index.sync()
        files = [shard.ids, shard.index]
        if self.format == "megatron":
            idx = HashedFile(self.folder / (shard_name(self.split, shard.number) + IDX))
            files[1] = idx
            try:
                idx.append(megatron_index(read_ends(shard.index.path), self.dtype))
                idx.sync()
            finally:
                idx.close()
        sums = {file.path.name: file.sha256() for file in files}
        self.close()
        self.shards.append(Shard(shard.tokens, shard.documents, sums))
