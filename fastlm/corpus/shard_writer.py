"""Shards of one split, written one after the other in a folder of unfinished ones."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fastlm._types import Int64Array
from fastlm.corpus.shard_formats import IDX, INDEX, Format, ids_header, ids_suffix, megatron_index, read_ends

_READ_BYTES = 1 << 22


@dataclass(frozen=True)
class Shard:
    """A whole shard: its ids, how many documents end in it, and the sha256 of each of its files by name."""

    tokens: int
    documents: int
    sha256: dict[str, str]


@dataclass(frozen=True)
class Unfinished:
    """A shard under way: its number in the split, its ids and the documents that ended in it."""

    number: int
    tokens: int
    documents: int


class Growing:
    """A file that is appended to and hashed as it grows."""

    def __init__(self, path: Path, size: int = 0) -> None:
        """A new file or, with a size, one that holds at least so many bytes, of which the rest is cut off.

        Raises OSError, or ValueError for a file that holds less.
        """
        self.path = path
        self._digest = hashlib.sha256()
        self._file = open(path, "r+b" if size else "w+b", buffering=0)  # noqa: SIM115 - closed by close
        try:
            left = size
            while left:
                part = self._file.read(min(left, _READ_BYTES))
                if not part:
                    raise ValueError(f"{path}: {left} bytes less than the {size} that were written")
                self._digest.update(part)
                left -= len(part)
            self._file.truncate(size)
        except BaseException:
            self._file.close()
            raise

    def append(self, content: Any) -> None:
        """Adds a contiguous buffer."""
        self._digest.update(content)
        self._write(content)

    def overwrite(self, start: bytes) -> None:
        """Writes other bytes at the start, and hashes all again."""
        self._file.seek(0)
        self._write(start)
        self._file.seek(0)
        self._digest = hashlib.sha256()
        while part := self._file.read(_READ_BYTES):
            self._digest.update(part)

    def _write(self, content: Any) -> None:
        view = memoryview(content).cast("B")
        while view:
            view = view[self._file.write(view) :]

    def sync(self) -> None:
        """Puts what was written on disk."""
        os.fsync(self._file.fileno())

    def sha256(self) -> str:
        return self._digest.hexdigest()

    def close(self) -> None:
        self._file.close()


@dataclass
class _Open:
    number: int
    ids: Growing
    index: Growing
    tokens: int = 0
    documents: int = 0


@dataclass
class SplitWriter:
    """Writes the shards of one split to `folder`; each has shard_tokens ids, but for the last.

    Shards of Megatron's hold whole documents: each ends with the document that fills it. Which ids and ends a shard
    holds does not depend on how they are divided among calls of `write`.
    """

    folder: Path
    split: str
    format: Format
    dtype: np.dtype[Any]
    shard_tokens: int
    shards: list[Shard] = field(default_factory=list)
    _open: _Open | None = None

    def write(self, ids: np.ndarray[Any, np.dtype[Any]], ends: Int64Array) -> None:
        """Adds ids, and where documents end among them. Raises OSError."""
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

    def _room(self, shard: _Open, size: int, ends: Int64Array) -> tuple[int, int]:
        """How many of the ids and ends go to a shard."""
        room = self.shard_tokens - shard.tokens
        if self.format == "megatron":
            filled = int(np.searchsorted(ends, max(0, room)))
            return (int(ends[filled]), filled + 1) if filled < len(ends) else (size, len(ends))
        # an end at the very end of a shard is of the document that ends there
        return min(size, room), int(np.searchsorted(ends, room, "right"))

    def checkpoint(self) -> Unfinished | None:
        """Puts on disk what was written, and says how much of it the shard under way is."""
        shard = self._open
        if shard is None:
            return None
        shard.ids.sync()
        shard.index.sync()
        return Unfinished(shard.number, shard.tokens, shard.documents)

    def go_on(self, shard: Unfinished) -> None:
        """Continues a shard as it was. Raises OSError, ValueError where its files hold less."""
        name = self._name(shard.number)
        header = ids_header(self.format, self.dtype, self.shard_tokens)
        ids = Growing(self.folder / (name + ids_suffix(self.format)), len(header) + shard.tokens * self.dtype.itemsize)
        try:
            if header:
                ids.overwrite(header)
            index = Growing(self.folder / (name + INDEX), 8 * shard.documents)
        except BaseException:
            ids.close()
            raise
        self._open = _Open(shard.number, ids, index, shard.tokens, shard.documents)

    @property
    def paths(self) -> list[Path]:
        """The files of the shard under way."""
        return [self._open.ids.path, self._open.index.path] if self._open else []

    def finish(self) -> None:
        """Seals the shard under way, if there is one."""
        if self._open:
            self._seal(self._open)

    def close(self) -> None:
        """Closes the files of the shard under way."""
        if self._open:
            self._open.ids.close()
            self._open.index.close()
            self._open = None

    def _name(self, number: int) -> str:
        return f"{self.split}-{number:05}"

    def _opened(self) -> _Open:
        if self._open is None:
            number = len(self.shards)
            name = self._name(number)
            ids = Growing(self.folder / (name + ids_suffix(self.format)))
            try:
                ids.append(ids_header(self.format, self.dtype, self.shard_tokens))
                index = Growing(self.folder / (name + INDEX))
            except BaseException:
                ids.close()
                raise
            self._open = _Open(number, ids, index)
        return self._open

    def _seal(self, shard: _Open) -> None:
        """Makes a shard whole, on disk."""
        if self.format == "npy" and shard.tokens < self.shard_tokens:
            shard.ids.overwrite(ids_header(self.format, self.dtype, shard.tokens))
        shard.ids.sync()
        shard.index.sync()
        files = [shard.ids, shard.index]
        if self.format == "megatron":
            idx = Growing(self.folder / (self._name(shard.number) + IDX))
            files[1] = idx
            try:
                idx.append(megatron_index(read_ends(shard.index.path), self.dtype))
                idx.sync()
            finally:
                idx.close()
        sums = {file.path.name: file.sha256() for file in files}
        self.close()
        self.shards.append(Shard(shard.tokens, shard.documents, sums))
