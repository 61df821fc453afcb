"""Encodes the text blocks of a corpus, and divides the ids among splits."""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from fastlm._types import Int64Array
from fastlm.corpus.manifest import TRAIN, VALIDATION
from fastlm.corpus.mixing import splitmix64
from fastlm.corpus.read import Blocks, Source
from fastlm.corpus.text_blocks import Block, Position
from fastlm.pretokenize._scan import InvalidUTF8Error
from fastlm.pretokenize.text_splitter import DOCUMENT_END, TextSplitter
from fastlm.progress import reporting
from fastlm.tokenizer import OnSpecial, Tokenizer

Ids: TypeAlias = "np.ndarray[Any, np.dtype[Any]]"


@dataclass(frozen=True)
class EncodedBlock:
    """The ids of a block.

    Attributes:
        splits: For each split its ids, and int64 (n,): where documents end among them.
        consumed: As Block.consumed.
        end: As Block.end.
        skipped: As Block.skipped.
        release: To be called when the ids are no longer needed.
    """

    splits: dict[str, tuple[Ids, Int64Array]]
    consumed: int
    end: Position
    skipped: Mapping[str, int]
    release: Callable[[], None] = lambda: None


class BlockEncoder:
    """Encodes blocks with one tokenizer. Threads may share it.

    Args:
        tokenizer: The tokenizer.
        dtype: The dtype of the ids.
        on_special: As in Tokenizer.encode.
        end_of_text_id: An id to put after each document, or None.
        validation_fraction: The fraction of documents that go to the split VALIDATION.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        dtype: np.dtype[Any],
        on_special: OnSpecial = "token",
        end_of_text_id: int | None = None,
        validation_fraction: float = 0.0,
    ) -> None:
        self._tokenizer, self._dtype = tokenizer, dtype
        self._on_special, self._end_of_text_id = on_special, end_of_text_id
        self._validation_fraction = validation_fraction
        # indexed by the index of a special token in the splitter; the last entry is for DOCUMENT_END
        last = -1 if end_of_text_id is None else end_of_text_id
        ids = tokenizer.special_tokens
        tokens = self.splitter.special_tokens
        self._boundary_ids = np.array([*(ids[token] for token in tokens), last], np.int64)
        is_special = {token.content: token.special for token in tokenizer.vocabulary.added_tokens}
        self._refused = np.array([k for k, token in enumerate(tokens) if is_special[token]], np.int64)
        # released arrays of ids: the page faults of a new one take a good part of the time that it takes to fill it
        self._free: deque[Ids] = deque()

    @property
    def splitter(self) -> TextSplitter:
        """The splitter for the blocks."""
        return self._tokenizer.text_splitter if self._on_special == "text" else self._tokenizer.splitter

    def __call__(self, block: Block) -> EncodedBlock:
        """Encodes a block and releases it. Raises ValueError with the location of text that cannot be encoded."""
        ids, ends = self.encode(block)
        splits = self.split(ids, ends, block.start.document)
        return EncodedBlock(splits, block.consumed, block.end, block.skipped, functools.partial(self.release, ids))

    def encode(self, block: Block) -> tuple[Ids, Int64Array]:
        """Encodes a block and releases it.

        Returns:
            The ids, not divided among splits, and int64 (n,): where documents end among them.

        Raises:
            ValueError: with the location of text that cannot be encoded.
        """
        try:
            ids, offsets = self._between_cuts(block)
        except InvalidUTF8Error as error:
            raise block.located(error) from None
        finally:
            block.release()
        ends = offsets[block.boundaries[:, 2] == DOCUMENT_END] + (self._end_of_text_id is not None)
        return ids.view(self._dtype.newbyteorder("=")).astype(self._dtype, copy=False), ends

    def release(self, ids: Ids) -> None:
        """Takes back ids from `encode` that are no longer needed."""
        if ids.base is not None:
            self._free.append(ids.base)

    def _between_cuts(self, block: Block) -> tuple[Ids, Int64Array]:
        special = block.boundaries[np.isin(block.boundaries[:, 2], self._refused)]
        if self._on_special == "raise" and len(special):
            start, end = special[0, :2].tolist()
            found = bytes(block.text[start:end]).decode()
            raise ValueError(f"{block.location(start)}: the special token {found!r} (on_special is 'raise')")
        boundaries = block.boundaries.copy()
        boundaries[:, 2] = self._boundary_ids[boundaries[:, 2]]
        try:
            out = self._free.pop()
        except IndexError:
            out = np.empty(len(block.text) // 3, np.uint16 if self._dtype.itemsize == 2 else np.uint32)
        try:
            return self._tokenizer.encode_between(block.text, boundaries, out, on_special=self._on_special)
        except InvalidUTF8Error:
            raise
        except ValueError as error:
            raise ValueError(f"after {block.location(0)}: {error}") from None

    def split(self, ids: Ids, ends: Int64Array, first: int) -> dict[str, tuple[Ids, Int64Array]]:
        """Divides ids among splits; see split_documents."""
        return split_documents(ids, ends, first, self._validation_fraction)


def split_documents(ids: Ids, ends: Int64Array, first: int, fraction: float) -> dict[str, tuple[Ids, Int64Array]]:
    """Divides ids among splits.

    Args:
        ids: The ids.
        ends: int64 (n,): where documents end among them.
        first: The number of the first document in the whole source.
        fraction: The fraction of documents that validate.

    Returns:
        For each split its ids, and where documents end among those.
    """
    if not fraction:
        return {TRAIN: (ids, ends)}
    validates, lengths = _validated_lengths(ends, len(ids), first, fraction)
    of_ids = np.repeat(validates, lengths)
    return {
        split: (ids[of_ids == chosen], own_ends)
        for (split, (_, own_ends)), chosen in zip(
            split_ends(ends, len(ids), first, fraction).items(), (False, True), strict=True
        )
    }


def split_ends(ends: Int64Array, size: int, first: int, fraction: float) -> dict[str, tuple[int, Int64Array]]:
    """Divides ids among splits, by their number.

    Args:
        ends: int64 (n,): where documents end among the ids.
        size: The number of ids.
        first: The number of the first document in the whole source.
        fraction: The fraction of documents that validate.

    Returns:
        For each split the number of its ids, and where documents end among those.
    """
    if not fraction:
        return {TRAIN: (size, ends)}
    validates, lengths = _validated_lengths(ends, size, first, fraction)
    return {
        split: (int(lengths[validates == chosen].sum()), np.cumsum(lengths[:-1][validates[:-1] == chosen]))
        for split, chosen in ((TRAIN, False), (VALIDATION, True))
    }


def _validated_lengths(
    ends: Int64Array, size: int, first: int, fraction: float
) -> tuple[np.ndarray[Any, np.dtype[np.bool_]], Int64Array]:
    """Of each document, and of the ids after the last end: whether it validates, and its number of ids."""
    validates = is_validation(np.arange(first, first + len(ends) + 1), fraction)
    return validates, np.diff(ends, prepend=0, append=size)


def is_validation(documents: Int64Array, fraction: float) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Tells which documents belong to the validation split.

    These are the documents whose number splitmix64 maps below fraction * 2^64. So the choice depends only on the
    number, and takes about the same fraction of any range of documents.

    Args:
        documents: int64 (n,): the numbers of documents in the whole source.
        fraction: From 0 to less than 1.

    Returns:
        bool (n,).
    """
    # compared with 53 bits, the precision of float64
    return (splitmix64(documents) >> np.uint64(11)) < np.uint64(fraction * (1 << 53))


def count_tokens(
    tokenizer: Tokenizer,
    source: Source,
    progress: Callable[[int, int | None], None] | bool | None = None,
) -> int:
    """Counts the ids of any source that Blocks reads, in bounded memory.

    Args:
        tokenizer: The tokenizer.
        source: The source.
        progress: Called with the stored bytes that were read and their total or None. True shows bars or logs lines.

    Raises:
        OSError, ValueError: As Blocks and BlockEncoder.
    """
    encoder = BlockEncoder(tokenizer, np.dtype(np.uint32))
    blocks = Blocks(source, encoder.splitter)
    count = consumed = 0
    with reporting(progress, "count") as report:
        for block in blocks:
            ids, _ = encoder.encode(block)
            count += len(ids)
            encoder.release(ids)
            consumed += block.consumed
            report(consumed, blocks.total_bytes)
    return count
