"""Documents one by one, gathered to blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from fastlm._types import Int64Array
from fastlm.corpus import text_blocks
from fastlm.corpus.skipped import Faults
from fastlm.corpus.text_blocks import Block, document_block
from fastlm.pretokenize.cutting import Cutter


class Gathered:
    """Documents as UTF-8, with what says where each is, until they are enough for a block."""

    def __init__(self, cutter: Cutter, faults: Faults, name_of: Callable[[int], str]) -> None:
        self._cutter, self._faults, self._name_of = cutter, faults, name_of
        self._texts: list[bytes] = []
        self._numbers: list[int] = []
        self._size = 0

    @property
    def is_enough(self) -> bool:
        """Whether a block should be taken before more is added."""
        return self._size >= text_blocks.BLOCK_BYTES // 4

    def __len__(self) -> int:
        return len(self._texts)

    def add(self, text: bytes, number: int) -> None:
        """A document; name_of(number) says where it is."""
        self._texts.append(text)
        self._numbers.append(number)
        self._size += len(text)

    def take(self) -> Iterator[Block]:
        """A block of what was gathered, unless that is nothing."""
        if self._texts:
            numbers, ends = np.array(self._numbers), np.cumsum([len(text) for text in self._texts])
            yield from blocks_of(b"".join(self._texts), ends, numbers, self._name_of, self._cutter, self._faults)
        self._texts, self._numbers, self._size = [], [], 0


def blocks_of(
    text: bytes | memoryview,
    ends: Int64Array,
    numbers: Int64Array,
    name_of: Callable[[int], str],
    cutter: Cutter,
    faults: Faults,
) -> Iterator[Block]:
    """A block of documents given joined; name_of(number) says where one is. Where faults are skipped, those that are
    not UTF-8 are left out."""
    if faults.skips and not _is_utf8(text, ends):
        view = memoryview(text)
        texts = [bytes(view[start:stop]) for start, stop in zip([0, *ends[:-1]], ends, strict=True)]
        valid = np.array([_is_utf8(document, np.array([len(document)])) for document in texts])
        for number in numbers[~valid].tolist():
            faults.meet("document that is not UTF-8", name_of(number), "not UTF-8")
        texts = [document for document, is_valid in zip(texts, valid, strict=True) if is_valid]
        numbers, ends = numbers[valid], np.cumsum([len(document) for document in texts], dtype=np.int64)
        text = b"".join(texts)
    if len(numbers):
        yield document_block(text, ends, lambda k, byte: f"{name_of(int(numbers[k]))}: byte {byte}", cutter)


def _is_utf8(text: bytes | memoryview, ends: Int64Array) -> bool:
    try:
        str(text, "utf-8")
    except UnicodeDecodeError:
        return False
    # a document must not end within a character
    inner = ends[ends < len(text)]
    return not np.any((np.frombuffer(text, np.uint8)[inner] & 0xC0) == 0x80)
