"""Where shards end in the ids of a job that are known by their numbers only, and a shard made of parts.

A place is a number of ids and of documents of one split. Places count from the start of the first part. So the start of
a shard that an earlier run began is negative.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from fastlm._types import Int64Array
from fastlm.corpus.block_encoder import split_documents, split_ends
from fastlm.corpus.encoded_parts import part_files, read_part, read_part_block, read_part_ends
from fastlm.corpus.shard_formats import Format
from fastlm.corpus.shard_writer import SplitWriter
from fastlm.files.remote import Location, fetched


class Place(NamedTuple):
    """A place in the ids of a split.

    Attributes:
        tokens: The number of ids before it.
        documents: The number of documents that end before it.
    """

    tokens: int = 0
    documents: int = 0


class ShardCuts:
    """Finds where the shards of one split end; SplitWriter ends them at the same places.

    Args:
        shard_format: The format of the shards.
        shard_tokens: The ids of a shard.
        start: The start of the first shard.

    Attributes:
        end: The end of the ids that were added.
    """

    def __init__(self, shard_format: Format, shard_tokens: int, start: Place) -> None:
        self._format, self._shard_tokens = shard_format, shard_tokens
        self._starts = [start]
        self.end = Place()

    def add(self, tokens: int, ends: Int64Array) -> None:
        """Adds ids.

        Args:
            tokens: The number of ids.
            ends: int64 (n,): where documents end among them.
        """
        while cut := self._next(tokens, ends):
            self._starts.append(cut)
        self.end = Place(self.end.tokens + tokens, self.end.documents + len(ends))

    def _next(self, tokens: int, ends: Int64Array) -> Place | None:
        full = self._starts[-1].tokens + self._shard_tokens - self.end.tokens
        if self._format == "megatron":
            # the document that fills a shard is its last one
            last = int(np.searchsorted(ends, full))
            if last == len(ends):
                return None
            return Place(self.end.tokens + int(ends[last]), self.end.documents + last + 1)
        # later documents may end at the last id of a shard, and belong to it, until there are more ids
        if full >= tokens:
            return None
        return Place(self.end.tokens + full, self.end.documents + int(np.searchsorted(ends, full, "right")))

    def shards(self) -> list[tuple[Place, Place]]:
        """Start and end of each shard."""
        places = [*self._starts, self.end]
        return [(start, end) for start, end in itertools.pairwise(places) if start != end]


@dataclass(frozen=True)
class PartStart:
    """Where a part starts.

    Attributes:
        number: The number of the part.
        document: The number of the document that starts or continues there, in the whole source.
        place: The place, in one split.
    """

    number: int
    document: int
    place: Place


def write_from_parts(
    writer: SplitWriter, folder: Location, parts: Sequence[PartStart], start: Place, end: Place, fraction: float
) -> None:
    """Writes the ids between two places of a split.

    Args:
        writer: The writer of the split.
        folder: The folder of the parts.
        parts: The parts that hold these ids, in order.
        start: The first place.
        end: The second place.
        fraction: The fraction of documents that validate.

    Raises:
        OSError: A file cannot be read or written.
        ValueError: A part was changed.
    """
    for part_start in parts:
        part = read_part(folder, part_start.number)
        ends = read_part_ends(folder, part_start.number, part)
        ids_name = part_files(part_start.number)[0]
        with fetched(folder, [ids_name]) as local:
            tokens = documents = 0
            at = part_start.place
            for block, (size, count) in enumerate(zip(part.tokens, part.documents, strict=True)):
                block_ends = ends[documents : documents + count] - tokens
                first = part_start.document + documents
                mine, own_ends = split_ends(block_ends, size, first, fraction)[writer.split]
                a, b = (min(max(0, place.tokens - at.tokens), mine) for place in (start, end))
                c, d = (min(max(0, place.documents - at.documents), len(own_ends)) for place in (start, end))
                if a < b or c < d:
                    ids = read_part_block(local / ids_name, part, block, tokens, writer.dtype)
                    chosen, _ = split_documents(ids, block_ends, first, fraction)[writer.split]
                    writer.write(chosen[a:b], own_ends[c:d] - a)
                at = Place(at.tokens + mine, at.documents + len(own_ends))
                tokens, documents = tokens + size, documents + count
