"""Text in blocks of some megabytes that pretokens do not cross: from files, read in bounded memory, or documents."""

from __future__ import annotations

import bisect
import functools
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import TypeAlias

import numpy as np

from fastlm._scan import InvalidUTF8Error
from fastlm._types import Int64Array
from fastlm._utf8 import utf8_bytes
from fastlm.segments import Cutter

Document: TypeAlias = str | bytes
Source: TypeAlias = str | os.PathLike[str] | Iterable[Document | os.PathLike[str]]

BLOCK_BYTES = 1 << 22


@dataclass(frozen=True)
class Block:
    """Some text, the stretches of it between special tokens and document ends, and where it comes from."""

    text: bytes | memoryview
    segments: Int64Array  # (k, 2): start and end in the text
    place: Callable[[int], str]  # says where an offset of the text is
    release: Callable[[], None] = lambda: None  # to be called once the text is no longer needed

    def located(self, error: InvalidUTF8Error) -> ValueError:
        """The same error, saying where in the input it arose."""
        return ValueError(f"{self.place(error.offset)} {error.reason}")


class Blocks:
    """The blocks of an input, in order; `total_bytes` is known where the input is files.

    Raises TypeError for an input that is no Source, and while it is read for a document of a wrong type; OSError for
    files that cannot be read.
    """

    def __init__(self, source: Source, cutter: Cutter) -> None:
        if isinstance(source, str | os.PathLike):
            source = [Path(source)]
        elif isinstance(source, bytes) or not isinstance(source, Iterable):
            raise TypeError(f"input must be a path or an iterable of documents or paths, not {type(source).__name__}")
        self.total_bytes: int | None = None
        if isinstance(source, list | tuple):
            _refuse_names_of_files(source)
            paths = [item for item in source if isinstance(item, os.PathLike)]
            if len(paths) == len(source):
                self.total_bytes = sum(os.stat(path).st_size for path in paths)
        self._source = source
        self._cutter = cutter

    def __iter__(self) -> Iterator[Block]:
        free: SimpleQueue[bytearray] = SimpleQueue()
        documents: list[bytes] = []
        size = 0
        for number, item in enumerate(self._source):
            if isinstance(item, os.PathLike):
                if documents:
                    yield _document_block(documents, number - len(documents), self._cutter)
                    documents, size = [], 0
                yield from file_blocks(Path(item), self._cutter, free)
                continue
            if not isinstance(item, str | bytes):
                raise TypeError(f"document {number} must be str, bytes or a path, not {type(item).__name__}")
            documents.append(utf8_bytes(item))
            size += len(documents[-1])
            if size >= BLOCK_BYTES // 4:
                yield _document_block(documents, number + 1 - len(documents), self._cutter)
                documents, size = [], 0
        if documents:
            yield _document_block(documents, number + 1 - len(documents), self._cutter)


def _refuse_names_of_files(items: list[object] | tuple[object, ...]) -> None:
    """In a list a str is a document; a list of nothing but names of files was surely meant otherwise."""
    for item in items:
        if not isinstance(item, str) or len(item) > 4096 or "\0" in item or not os.path.isfile(item):
            return
    if items:
        raise ValueError(f"{items[0]!r} is the name of a file: in a list, give files as pathlib.Path")


def _document_block(documents: list[bytes], first: int, cutter: Cutter) -> Block:
    starts = np.cumsum([0, *map(len, documents)]).tolist()
    segments = [start + cutter.segments(document) for start, document in zip(starts, documents, strict=False)]

    def place(offset: int) -> str:
        document = bisect.bisect_right(starts, offset) - 1
        return f"document {first + document}: byte {offset - starts[document]}"

    return Block(b"".join(documents), np.concatenate(segments), place)


def file_blocks(path: Path, cutter: Cutter, free: SimpleQueue[bytearray]) -> Iterator[Block]:
    """A file in blocks, each in a buffer that `free` gets back when the block is released.

    What follows the last safe cut of a block begins the next one. Where there is no safe cut the block grows, so a file
    of one pretoken is read whole.
    """
    with open(path, "rb", buffering=0) as file:
        offset = 0
        tail = b""
        while True:
            buffer = bytearray() if free.empty() else free.get()
            if len(buffer) < len(tail) + BLOCK_BYTES // 2:
                buffer = bytearray(max(2 * len(tail), BLOCK_BYTES))
            buffer[: len(tail)] = tail
            view = memoryview(buffer)
            size = len(tail)
            while size < len(buffer) and (read := file.readinto(view[size:])):
                size += read
            at_end = size < len(buffer)
            text = view[:size]
            segments, cut = (cutter.segments(text), size) if at_end else cutter.partial_segments(text)
            tail = bytes(text[cut:])
            place = functools.partial(_place_in_file, path, offset)
            yield Block(text[:cut], segments, place, functools.partial(free.put, buffer))
            offset += cut
            if at_end:
                return


def _place_in_file(path: Path, block_offset: int, offset: int) -> str:
    return f"{path}: byte {block_offset + offset}"
