"""Single documents, gathered to text blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from fastlm._types import Int64Array
from fastlm.corpus import text_blocks
from fastlm.corpus.skipped import SkippedRecords
from fastlm.corpus.text_blocks import Block, document_block
from fastlm.pretokenize.text_splitter import TextSplitter


class GatheredDocuments:
    """UTF-8 documents and their numbers, until they are enough for a block.

    Args:
        splitter: Finds the special tokens in the documents.
        skipped: Records documents that are not UTF-8.
        location_of: Gives the location of a document, for messages, from its number.
    """

    def __init__(self, splitter: TextSplitter, skipped: SkippedRecords, location_of: Callable[[int], str]) -> None:
        self._cutter, self._skipped, self._location_of = splitter, skipped, location_of
        self._texts: list[bytes] = []
        self._numbers: list[int] = []
        self._size = 0

    @property
    def is_enough(self) -> bool:
        """True if `take` should be called before more documents are added."""
        return self._size >= text_blocks.BLOCK_BYTES // 4

    def __len__(self) -> int:
        return len(self._texts)

    def add(self, text: bytes, number: int) -> None:
        """Adds a document."""
        self._texts.append(text)
        self._numbers.append(number)
        self._size += len(text)

    def take(self) -> Iterator[Block]:
        """Yields one block of the gathered documents, or nothing if there are none, and starts again."""
        if self._texts:
            numbers, ends = np.array(self._numbers), np.cumsum([len(text) for text in self._texts])
            text = b"".join(self._texts)
            yield from blocks_of(text, ends, numbers, self._location_of, self._cutter, self._skipped)
        self._texts, self._numbers, self._size = [], [], 0


def blocks_of(
    text: bytes | memoryview,
    ends: Int64Array,
    numbers: Int64Array,
    location_of: Callable[[int], str],
    splitter: TextSplitter,
    skipped: SkippedRecords,
) -> Iterator[Block]:
    """Yields a block of documents that are already joined.

    If `skipped` skips, documents that are not UTF-8 are left out; else the encoder reports them.

    Args:
        text: The documents, one after the other.
        ends: int64 (n,): where each document ends in `text`.
        numbers: int64 (n,): the number of each document in its source.
        location_of: Gives the location of a document, for messages, from its number.
        splitter: Finds the special tokens in the documents.
        skipped: Records documents that are not UTF-8.
    """
    if skipped.skips and not _is_utf8(text, ends):
        view = memoryview(text)
        texts = [bytes(view[start:stop]) for start, stop in zip([0, *ends[:-1]], ends, strict=True)]
        valid = np.array([_is_utf8(document, np.array([len(document)])) for document in texts])
        for number in numbers[~valid].tolist():
            skipped.record("document that is not UTF-8", location_of(number), "not UTF-8")
        texts = [document for document, is_valid in zip(texts, valid, strict=True) if is_valid]
        numbers, ends = numbers[valid], np.cumsum([len(document) for document in texts], dtype=np.int64)
        text = b"".join(texts)
    if len(numbers):
        block = document_block(text, ends, lambda k, byte: f"{location_of(int(numbers[k]))}: byte {byte}", splitter)
        yield replace(block, numbers=numbers)


def _is_utf8(text: bytes | memoryview, ends: Int64Array) -> bool:
    try:
        str(text, "utf-8")
    except UnicodeDecodeError:
        return False
    # a document must not end within a character
    inner = ends[ends < len(text)]
    return not np.any((np.frombuffer(text, np.uint8)[inner] & 0xC0) == 0x80)
