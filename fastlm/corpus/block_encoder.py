"""Blocks of a corpus to ids, with where documents end among them and which part of a split they belong to."""

from __future__ import annotations

import functools
import os
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from fastlm._types import Int64Array
from fastlm.corpus.read import Blocks
from fastlm.corpus.text_blocks import Block, Position
from fastlm.pretokenize._scan import InvalidUTF8Error
from fastlm.pretokenize.cutting import DOCUMENT_END, Cutter
from fastlm.tokenizer import OnSpecial, Tokenizer

Ids: TypeAlias = "np.ndarray[Any, np.dtype[Any]]"

TRAIN, VALIDATION = "train", "val"


@dataclass(frozen=True)
class Encoded:
    """The ids of a block by split, each with where documents end among them, and what else is known of the block."""

    splits: dict[str, tuple[Ids, Int64Array]]
    consumed: int
    end: Position
    skipped: Mapping[str, int]
    release: Callable[[], None] = lambda: None  # to be called once the ids are no longer needed


class BlockEncoder:
    """Encodes blocks with one tokenizer. Threads may share it.

    eot_id: put after each document. validation: the share of documents that go to VALIDATION.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        dtype: np.dtype[Any],
        on_special: OnSpecial = "token",
        eot_id: int | None = None,
        validation: float = 0.0,
    ) -> None:
        self._tokenizer, self._dtype = tokenizer, dtype
        self._on_special, self._eot_id, self._validation = on_special, eot_id, validation
        # by the index of a special token in the cutter; the last is that of DOCUMENT_END
        self._cut_ids = np.array([*tokenizer.special_tokens.values(), -1 if eot_id is None else eot_id], np.int64)
        # arrays of ids that were released: the pages of a new one take a good part of the time that it takes to fill it
        self._free: deque[Ids] = deque()

    @property
    def cutter(self) -> Cutter:
        """By which the blocks are to be cut."""
        return self._tokenizer.text_cutter if self._on_special == "text" else self._tokenizer.cutter

    def __call__(self, block: Block) -> Encoded:
        """The ids of a block, which is released. Raises ValueError that says where what cannot be encoded is."""
        ids, ends = self.encode(block)
        splits = self.split(ids, ends, block.start.document)
        return Encoded(splits, block.consumed, block.end, block.skipped, functools.partial(self.release, ids))

    def encode(self, block: Block) -> tuple[Ids, Int64Array]:
        """The same ids, not yet divided among splits, and where documents end among them."""
        try:
            ids, places = self._between_cuts(block)
        except InvalidUTF8Error as error:
            raise block.located(error) from None
        finally:
            block.release()
        ends = places[block.cuts[:, 2] == DOCUMENT_END] + (self._eot_id is not None)
        return ids.view(self._dtype.newbyteorder("=")).astype(self._dtype, copy=False), ends

    def release(self, ids: Ids) -> None:
        """Takes back ids that `encode` gave and that are no longer needed."""
        if ids.base is not None:
            self._free.append(ids.base)

    def _between_cuts(self, block: Block) -> tuple[Ids, Int64Array]:
        special = block.cuts[block.cuts[:, 2] >= 0]
        if self._on_special == "raise" and len(special):
            start, end = special[0, :2].tolist()
            found = bytes(block.text[start:end]).decode()
            raise ValueError(f"{block.place(start)} begins the special token {found!r}")
        cuts = block.cuts.copy()
        cuts[:, 2] = self._cut_ids[cuts[:, 2]]
        try:
            out = self._free.pop()
        except IndexError:
            out = np.empty(len(block.text) // 3, np.uint16 if self._dtype.itemsize == 2 else np.uint32)
        try:
            return self._tokenizer.encode_between(block.text, cuts, out, on_special=self._on_special)
        except InvalidUTF8Error:
            raise
        except ValueError as error:
            raise ValueError(f"from {block.place(0)} on: {error}") from None

    def split(self, ids: Ids, ends: Int64Array, first: int) -> dict[str, tuple[Ids, Int64Array]]:
        """Ids by split, and where documents end among those; `first` is the number of the first document."""
        if not self._validation:
            return {TRAIN: (ids, ends)}
        validates = is_validation(np.arange(first, first + len(ends) + 1), self._validation)
        lengths = np.diff(ends, prepend=0, append=len(ids))
        of_ids = np.repeat(validates, lengths)
        return {
            split: (ids[of_ids == chosen], np.cumsum(lengths[:-1][validates[:-1] == chosen]))
            for split, chosen in ((TRAIN, False), (VALIDATION, True))
        }


def is_validation(documents: Int64Array, share: float) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Which documents, by their numbers in the whole input, belong to the validation part.

    Those of whose number splitmix64's mixing function (Steele, Lea and Flood, 2014) makes less than share * 2^64. So it
    depends on nothing but the number, and of every stretch of documents about the same share is taken.
    """
    mixed = documents.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(31)
    # float64 has 53 bits, so the shares are compared there
    return (mixed >> np.uint64(11)) < np.uint64(share * (1 << 53))


def count_tokens(tokenizer: Tokenizer, path: str | os.PathLike[str]) -> int:
    """Number of ids of a file, of any kind that Blocks reads, in bounded memory. Raises as Blocks and BlockEncoder."""
    encoder = BlockEncoder(tokenizer, np.dtype(np.uint32))
    count = 0
    for block in Blocks(path, encoder.cutter):
        ids, _ = encoder.encode(block)
        count += len(ids)
        encoder.release(ids)
    return count
