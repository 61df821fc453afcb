"""Text blocks: parts of a text of some megabytes that no pretoken crosses, with the ends of documents in them."""

from __future__ import annotations

import bisect
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from io import RawIOBase
from queue import SimpleQueue
from typing import NamedTuple, TypeAlias

import numpy as np

from fastlm._types import Int64Array
from fastlm.pretokenize._scan import InvalidUTF8Error
from fastlm.pretokenize.text_splitter import DOCUMENT_END, TextSplitter, segments_between

BLOCK_BYTES = 1 << 22

Buffers: TypeAlias = "SimpleQueue[bytearray]"
"""Buffers of released blocks, to be used again."""


class Position(NamedTuple):
    """A read position in a source.

    Attributes:
        item: Items (files, or documents of an iterable) that were read completely.
        byte: Bytes of text, decompressed, that were read of the current item.
        row: Rows or lines that were read of the current item. In a text, 1 if a document continues here.
        document: Documents that ended before, in the whole source.
    """

    item: int = 0
    byte: int = 0
    row: int = 0
    document: int = 0


BEGINNING = Position()


@dataclass(frozen=True)
class Block:
    """Some text and what cuts it.

    Text after the last end of a document belongs to a document that continues in the next block.

    Attributes:
        text: UTF-8 that starts and ends between two pretokens.
        boundaries: int64 (k, 3): start, end and index as TextSplitter.boundaries gives them. The index is DOCUMENT_END
            where a document ends, and such a row may have no width.
        location: Gives the location of an offset of the text, for messages.
        release: To be called when the text is no longer needed.
        consumed: Stored bytes of the source that were read for this block.
        start: The position at which the block starts.
        end: The position at which it ends.
        skipped: The records skipped up to its end, by reason.
        numbers: int64 (n,): the number of the line, row or document of each document in its source; None for a text.
    """

    text: bytes | memoryview
    boundaries: Int64Array
    location: Callable[[int], str]
    release: Callable[[], None] = lambda: None
    consumed: int = 0
    start: Position = BEGINNING
    end: Position = BEGINNING
    skipped: Mapping[str, int] = field(default_factory=dict)
    numbers: Int64Array | None = None

    @property
    def segments(self) -> Int64Array:
        """int64 (k, 2): start and end of each span of the text between boundaries."""
        return segments_between(self.boundaries, len(self.text))

    @property
    def documents(self) -> int:
        """The number of documents that end in the block."""
        return int(np.count_nonzero(self.boundaries[:, 2] == DOCUMENT_END))

    def located(self, error: InvalidUTF8Error) -> ValueError:
        """The same error with its location in the source."""
        return ValueError(f"{self.location(error.offset)} {error.reason}")


def text_blocks(
    file: RawIOBase,
    name: str,
    splitter: TextSplitter,
    free: Buffers,
    start: Position = BEGINNING,
    stop: Position | None = None,
) -> Iterator[Block]:
    """Reads a text in blocks. The file is at byte start.byte of the text.

    The text after the last safe cut of a block begins the next block. Where there is no safe cut the block grows, so a
    text of one pretoken is read whole. Documents end at separators, and at the end of the text if any text follows the
    last separator.

    Args:
        file: The text.
        name: The name of the file, for messages.
        splitter: Finds special tokens, separators, and safe places to cut.
        free: Gets back the buffer of each block when the block is released.
        start: The position of the file.
        stop: The position at which the text continues after the end of `file`; None if the text ends there.

    Yields:
        Blocks. The end of the last one is `stop`, or the start of the next item.
    """
    tail = b""
    continues = start.row > 0
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
        boundaries, cut = (splitter.boundaries(text), size) if at_end else splitter.partial_boundaries(text)
        tail = bytes(text[cut:])
        if cut:
            continues = not (len(boundaries) and boundaries[-1, 1] == cut and boundaries[-1, 2] == DOCUMENT_END)
        if at_end and continues and stop is None:
            boundaries = np.concatenate([boundaries, [[cut, cut, DOCUMENT_END]]])
        end = Position(start.item, start.byte + cut, int(continues))
        if at_end:
            end = stop or Position(start.item + 1)
        location = functools.partial(_location_in_text, name, start.byte)
        yield Block(text[:cut], boundaries, location, functools.partial(free.put, buffer), end=end)
        if at_end:
            return
        start = end


def _location_in_text(name: str, block_byte: int, offset: int) -> str:
    return f"{name}: byte {block_byte + offset}"


def document_block(
    text: bytes | memoryview,
    ends: Sequence[int] | Int64Array,
    location: Callable[[int, int], str],
    splitter: TextSplitter,
) -> Block:
    """A block of whole documents.

    Args:
        text: The documents, one after the other.
        ends: Where each document ends in the text.
        location: location(k, byte) gives the location of a byte of the k-th document, for messages.
        splitter: Finds special tokens in the documents.
    """
    stops = np.asarray(ends, np.int64)
    boundaries = _document_boundaries(text, stops, splitter)

    def location_of(offset: int) -> str:
        document = bisect.bisect_right(stops, offset)
        return location(document, offset - int(stops[document - 1]) if document else offset)

    return Block(text, boundaries, location_of)


def _document_boundaries(text: bytes | memoryview, stops: Int64Array, splitter: TextSplitter) -> Int64Array:
    found = splitter.boundaries(text)
    if len(found):
        # a false match across the end of a document may hide a special token in the next document
        first = np.searchsorted(stops, found[:, 0], "right")
        if np.any(found[:, 1] > stops[np.minimum(first, len(stops) - 1)]):
            view = memoryview(text)
            starts = [0, *stops[:-1].tolist()]
            parts = [
                splitter.boundaries(view[start:stop]) + np.array([start, start, 0])
                for start, stop in zip(starts, stops.tolist(), strict=True)
            ]
            found = np.concatenate(parts)
    rows = np.stack([stops, stops, np.full(len(stops), DOCUMENT_END)], axis=1)
    # at the same offset the end of a document comes before a special token that starts the next document
    return rows if not len(found) else _merged(found, rows)


def _merged(found: Int64Array, ends: Int64Array) -> Int64Array:
    """Both in order of their starts. Found rows have a width and cross no end, so an end comes first at a tie."""
    rows = np.concatenate([ends, found])
    return np.ascontiguousarray(rows[np.argsort(rows[:, 0], kind="stable")])
