"""Text in blocks of some megabytes that pretokens do not cross, and where documents end in them."""

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
from fastlm.pretokenize.cutting import DOCUMENT_END, Cutter, segments_between

BLOCK_BYTES = 1 << 22

Buffers: TypeAlias = "SimpleQueue[bytearray]"
"""Buffers of released blocks, to be used again."""


class Position(NamedTuple):
    """How far an input was read: so many of its items (files, or documents of an iterable), then within the next item
    so many bytes of its text, decompressed, and so many rows or lines; in a text, `row` is 1 where a document goes on.
    `document` counts the documents that ended before."""

    item: int = 0
    byte: int = 0
    row: int = 0
    document: int = 0


BEGINNING = Position()


@dataclass(frozen=True)
class Block:
    """Some text and what cuts it: Cutter.cuts, and DOCUMENT_END, perhaps of no width, where a document ends.

    What follows the last end belongs to a document that goes on in the next block.
    """

    text: bytes | memoryview
    cuts: Int64Array  # (k, 3)
    place: Callable[[int], str]  # says where an offset of the text is
    release: Callable[[], None] = lambda: None  # to be called once the text is no longer needed
    consumed: int = 0  # bytes of the input, as it is stored, that were read for it
    start: Position = BEGINNING
    end: Position = BEGINNING
    skipped: Mapping[str, int] = field(default_factory=dict)  # what was skipped up to its end, in all, by reason

    @property
    def segments(self) -> Int64Array:
        """int64 (k, 2): start and end of each stretch of the text between cuts."""
        return segments_between(self.cuts, len(self.text))

    @property
    def documents(self) -> int:
        """How many documents end in it."""
        return int(np.count_nonzero(self.cuts[:, 2] == DOCUMENT_END))

    def located(self, error: InvalidUTF8Error) -> ValueError:
        """The same error, saying where in the input it arose."""
        return ValueError(f"{self.place(error.offset)} {error.reason}")


def text_blocks(
    file: RawIOBase, name: str, cutter: Cutter, free: Buffers, start: Position = BEGINNING, stop: Position | None = None
) -> Iterator[Block]:
    """A text, from byte start.byte on, at which the file stands, in blocks, each in a buffer that `free` gets back when
    the block is released. Where the file ends, the text does, or goes on from `stop`.

    What follows the last safe cut of a block begins the next one. Where there is no safe cut the block grows, so a text
    of one pretoken is read whole. Documents end at separators, and one ends with the text if there is any after the
    last. The item of the last block's end is the next one.
    """
    tail = b""
    goes_on = start.row > 0
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
        cuts, cut = (cutter.cuts(text), size) if at_end else cutter.partial_cuts(text)
        tail = bytes(text[cut:])
        if cut:
            goes_on = not (len(cuts) and cuts[-1, 1] == cut and cuts[-1, 2] == DOCUMENT_END)
        if at_end and goes_on and stop is None:
            cuts = np.concatenate([cuts, [[cut, cut, DOCUMENT_END]]])
        end = Position(start.item, start.byte + cut, int(goes_on))
        if at_end:
            end = stop or Position(start.item + 1)
        place = functools.partial(_place_in_text, name, start.byte)
        yield Block(text[:cut], cuts, place, functools.partial(free.put, buffer), end=end)
        if at_end:
            return
        start = end


def _place_in_text(name: str, block_byte: int, offset: int) -> str:
    return f"{name}: byte {block_byte + offset}"


def document_block(
    text: bytes | memoryview, ends: Sequence[int] | Int64Array, place: Callable[[int, int], str], cutter: Cutter
) -> Block:
    """A block of whole documents, from their text joined and where each ends in it.

    place(k, byte) says where a byte of the k-th document is.
    """
    stops = np.asarray(ends, np.int64)
    cuts = _cuts_of_documents(text, stops, cutter)

    def place_of(offset: int) -> str:
        document = bisect.bisect_right(stops, offset)
        return place(document, offset - int(stops[document - 1]) if document else offset)

    return Block(text, cuts, place_of)


def _cuts_of_documents(text: bytes | memoryview, stops: Int64Array, cutter: Cutter) -> Int64Array:
    found = cutter.cuts(text)
    if len(found):
        # what seems to be special across the end of a document may hide what is within the next
        first = np.searchsorted(stops, found[:, 0], "right")
        if np.any(found[:, 1] > stops[np.minimum(first, len(stops) - 1)]):
            view = memoryview(text)
            starts = [0, *stops[:-1].tolist()]
            parts = [
                cutter.cuts(view[start:stop]) + np.array([start, start, 0])
                for start, stop in zip(starts, stops.tolist(), strict=True)
            ]
            found = np.concatenate(parts)
    rows = np.stack([stops, stops, np.full(len(stops), DOCUMENT_END)], axis=1)
    # at one place the end of a document comes before what the next begins with, and the end of that after it
    return rows if not len(found) else _merged(found, rows)


def _merged(found: Int64Array, ends: Int64Array) -> Int64Array:
    """Both in order: found rows have a width and cross no end, so an end at the start of one stands before it."""
    rows = np.concatenate([ends, found])
    return np.ascontiguousarray(rows[np.argsort(rows[:, 0], kind="stable")])
