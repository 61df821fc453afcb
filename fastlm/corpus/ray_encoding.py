"""Blocks to ids by actors, each of which holds the tokenizer; the ids come back in the order of the corpus.

An actor encodes a stretch piece by piece and keeps its place in it. One that was begun anew after it died, or is asked
for a piece again, goes to the place that it is told, so that a piece is always the same.
"""

from __future__ import annotations

import functools
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from fastlm._types import Int64Array
from fastlm.cluster.connection import RETRIES, connected, local_error, worker_count
from fastlm.corpus.block_encoder import BlockEncoder, EncodedBlock, Ids
from fastlm.corpus.partitions import Partition, partitions_of
from fastlm.corpus.read import Blocks, Corpus
from fastlm.corpus.text_blocks import Block, Position

STRETCH_BYTES = 1 << 24
# bytes of text after which a piece ends
PIECE_BYTES = 1 << 25
# pieces of a stretch that may wait for those before them
MOST_WAITING = 16


class Piece(NamedTuple):
    """What is known of the ids of some blocks: EncodedBlock.consumed and end, within the partition; what was skipped in
    it; whether the partition ends with it."""

    consumed: int
    end: Position
    skipped: dict[str, int]
    is_last: bool


class StretchEncoder:
    """An actor's work. encoder: fetches the encoder, when it is needed first."""

    def __init__(self, encoder: Callable[[], BlockEncoder], corpus: Corpus, piece_bytes: int) -> None:
        self._fetch, self._corpus, self._piece_bytes = encoder, corpus, piece_bytes
        self._place: tuple[Partition, Position] | None = None
        self._blocks: Blocks
        self._iterator: Iterator[Block]
        self._skipped: dict[str, int] = {}

    @functools.cached_property
    def _encoder(self) -> BlockEncoder:
        return self._fetch()

    def piece(self, stretch: Partition, start: Position) -> tuple[Piece, tuple[Ids, Int64Array]]:
        """The next piece of a stretch from `start` on, which is its start or the end of a piece."""
        encoder = self._encoder
        if self._place != (stretch, start):
            self._blocks = stretch.blocks(self._corpus, encoder.cutter, start)
            self._iterator, self._skipped = iter(self._blocks), {}
        self._place = None
        ids, ends, size, tokens, consumed, end, is_last = [], [], 0, 0, 0, start, True
        for block in self._iterator:
            size += len(block.text)
            block_ids, block_ends = encoder.encode(block)
            ids.append(block_ids.copy())
            encoder.release(block_ids)
            ends.append(block_ends + tokens)
            tokens += len(block_ids)
            consumed, end, skipped = consumed + block.consumed, block.end, dict(block.skipped)
            if size >= self._piece_bytes:
                is_last = False
                break
        if is_last:
            skipped = dict(self._blocks.skipped.counts)
        else:
            self._place = stretch, end
        more = {reason: count - self._skipped.get(reason, 0) for reason, count in skipped.items()}
        self._skipped = skipped
        joined = np.concatenate(ids) if ids else np.empty(0, np.uint16)
        return Piece(consumed, end, more, is_last), (joined, np.concatenate([np.empty(0, np.int64), *ends]))


@dataclass
class _Work:
    """A stretch that an actor was given: what it has encoded of it that waits to be taken, and the call under way."""

    stretch: Partition
    actor: Any
    waiting: deque[tuple[Piece, Any]] = field(default_factory=deque)
    call: tuple[Any, Any] | None = None
    next: Position | None = None  # where the next piece starts; None after the last
    error: Exception | None = None


def encoded_on_cluster(encoder: BlockEncoder, blocks: Blocks, num_workers: int | None) -> Iterator[EncodedBlock]:
    """What `encoder` makes of the blocks of files, in order, in larger parts. blocks.skipped counts what was skipped.

    Raises as BlockEncoder and Blocks.
    """
    with connected(num_workers) as ray:
        actors = _Actors(ray, worker_count(ray, num_workers), encoder, blocks)
        document = blocks.start.document
        skipped = Counter(blocks.skipped.counts)
        try:
            for stretch, piece, ids, ends in actors.pieces(partitions_of(blocks, STRETCH_BYTES)):
                skipped.update(piece.skipped)
                splits = encoder.split(ids, ends, document)
                document += len(ends)
                end = piece.end._replace(item=piece.end.item + stretch.item, document=document)
                yield EncodedBlock(splits, piece.consumed, end, dict(skipped))
            blocks.skipped.counts.update(skipped - blocks.skipped.counts)
        finally:
            actors.end()


class _Actors:
    """Gives stretches to actors. Each has one call under way at most, and only so many pieces wait to be taken."""

    def __init__(self, ray: Any, number: int, encoder: BlockEncoder, blocks: Blocks) -> None:
        self._ray = ray
        make = ray.remote(num_cpus=1, max_restarts=-1, max_task_retries=RETRIES)(StretchEncoder)
        # what a constructor is given itself is not kept for an actor that is begun anew
        self._shared = ray.put(encoder)
        fetch = functools.partial(ray.get, self._shared)
        corpus = replace(blocks.corpus, inputs=())
        self._all = [make.remote(fetch, corpus, PIECE_BYTES) for _ in range(number)]
        self._idle = list(self._all)
        self._works: deque[_Work] = deque()

    def pieces(self, stretches: Iterator[Partition]) -> Iterator[tuple[Partition, Piece, Ids, Int64Array]]:
        """The pieces of all stretches, in order."""
        more = True
        while True:
            while more and self._idle and len(self._works) < 2 * len(self._all):
                stretch = next(stretches, None)
                more = stretch is not None
                if stretch is not None:
                    self._works.append(_Work(stretch, self._idle.pop(), next=stretch.start))
            if not self._works:
                return
            for work in self._works:
                self._call(work)
            first = self._works[0]
            if first.waiting:
                piece, result = first.waiting.popleft()
                ids, ends = self._get(result)
                yield first.stretch, piece, ids, ends
            elif first.error:
                raise first.error
            elif first.call is None and first.next is None:
                self._works.popleft()
            else:
                self._settle()

    def end(self) -> None:
        for actor in self._all:
            self._ray.kill(actor)

    def _call(self, work: _Work) -> None:
        if work.call is None and work.next is not None and len(work.waiting) < MOST_WAITING:
            work.call = work.actor.piece.options(num_returns=2).remote(work.stretch, work.next)

    def _settle(self) -> None:
        """Waits for a call to end."""
        calls = {work.call[0]: work for work in self._works if work.call}
        (ended,), _ = self._ray.wait(list(calls), num_returns=1)
        work = calls[ended]
        assert work.call
        _, result = work.call
        work.call = None
        try:
            piece = self._get(ended)
        except Exception as error:
            work.error, work.next = error, None
        else:
            work.waiting.append((piece, result))
            work.next = None if piece.is_last else piece.end
        if work.next is None:
            self._idle.append(work.actor)

    def _get(self, result: Any) -> Any:
        try:
            return self._ray.get(result)
        except self._ray.exceptions.RayError as error:
            raise local_error(self._ray, error) from None
