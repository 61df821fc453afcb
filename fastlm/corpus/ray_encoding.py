"""Encoding on a Ray cluster: actors encode partitions, and the ids return in the order of the corpus.

An actor holds the tokenizer, encodes a partition chunk by chunk, and remembers its position. After a restart, or if a
chunk is requested again, it starts at the position that the call names. So a chunk never depends on the state of its
actor.
"""

from __future__ import annotations

import functools
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from fastlm._types import Int64Array
from fastlm.cluster.connection import RETRIES, original_error, ray_connection, worker_count
from fastlm.corpus.block_encoder import BlockEncoder, EncodedBlock, Ids
from fastlm.corpus.partitions import Partition, partitions_of
from fastlm.corpus.read import Blocks, Corpus
from fastlm.corpus.text_blocks import Block, Position
from fastlm.forks import cached_property

PARTITION_BYTES = 1 << 24
# a chunk ends after this many bytes of text
CHUNK_BYTES = 1 << 25
# finished chunks of a partition that may wait for earlier partitions
MOST_WAITING = 16
# how long an actor may be out of reach, while Ray finds out that its node is dead and restarts it on another one
UNAVAILABLE_SECONDS = 300.0
PAUSE_SECONDS = 1.0


class ChunkInfo(NamedTuple):
    """Metadata of a chunk of encoded blocks.

    Attributes:
        consumed: Bytes of input, as stored, that it took.
        end: Where it ends, within the partition.
        skipped: Number of records skipped in it, by reason.
        is_last: Whether the partition ends with it.
    """

    consumed: int
    end: Position
    skipped: dict[str, int]
    is_last: bool


class PartitionEncoder:
    """The class of the actors.

    Args:
        encoder: Fetches the encoder; called once, when it is first needed.
        corpus: How files are read.
        chunk_bytes: Bytes of text after which a chunk ends.
    """

    def __init__(self, encoder: Callable[[], BlockEncoder], corpus: Corpus, chunk_bytes: int) -> None:
        self._fetch, self._corpus, self._chunk_bytes = encoder, corpus, chunk_bytes
        self._position: tuple[Partition, Position] | None = None
        self._blocks: Blocks
        self._iterator: Iterator[Block]
        self._skipped: dict[str, int] = {}

    @cached_property
    def _encoder(self) -> BlockEncoder:
        return self._fetch()

    def chunk(self, partition: Partition, start: Position) -> tuple[ChunkInfo, tuple[Ids, Int64Array]]:
        """Encodes the next chunk of a partition.

        Args:
            partition: The partition.
            start: Its start, or the end of a chunk.

        Returns:
            The metadata, and (ids, ends of documents in them), of shapes (n,) and (k,).
        """
        encoder = self._encoder
        if self._position != (partition, start):
            self._blocks = partition.blocks(self._corpus, encoder.splitter, start)
            self._iterator, self._skipped = iter(self._blocks), {}
        self._position = None
        ids, ends, size, tokens, consumed, end, is_last = [], [], 0, 0, 0, start, True
        for block in self._iterator:
            size += len(block.text)
            block_ids, block_ends = encoder.encode(block)
            ids.append(block_ids.copy())
            encoder.release(block_ids)
            ends.append(block_ends + tokens)
            tokens += len(block_ids)
            consumed, end, skipped = consumed + block.consumed, block.end, dict(block.skipped)
            if size >= self._chunk_bytes:
                is_last = False
                break
        if is_last:
            skipped = dict(self._blocks.skipped.counts)
        else:
            self._position = partition, end
        more = {reason: count - self._skipped.get(reason, 0) for reason, count in skipped.items()}
        self._skipped = skipped
        joined = np.concatenate(ids) if ids else np.empty(0, np.uint16)
        return ChunkInfo(consumed, end, more, is_last), (joined, np.concatenate([np.empty(0, np.int64), *ends]))


@dataclass
class _Assignment:
    """A partition that an actor encodes."""

    partition: Partition
    actor: Any
    waiting: deque[tuple[ChunkInfo, Any]] = field(default_factory=deque)  # finished chunks
    call: tuple[Any, Any] | None = None  # the running call
    next: Position | None = None  # start of the next chunk; None after the last
    unavailable_since: float | None = None  # when its actor was lost; None while it answers
    error: Exception | None = None


def encoded_on_cluster(encoder: BlockEncoder, blocks: Blocks, num_workers: int | None) -> Iterator[EncodedBlock]:
    """Encodes the blocks of files on a cluster, in order, in larger parts.

    Counts skipped records in blocks.skipped. Raises the errors of BlockEncoder and Blocks.
    """
    with ray_connection(num_workers) as ray:
        actors = _Actors(ray, worker_count(ray, num_workers), encoder, blocks)
        document = blocks.start.document
        skipped = Counter(blocks.skipped.counts)
        try:
            for partition, chunk, ids, ends in actors.chunks(partitions_of(blocks, PARTITION_BYTES)):
                skipped.update(chunk.skipped)
                splits = encoder.split(ids, ends, document)
                document += len(ends)
                end = chunk.end._replace(item=chunk.end.item + partition.item, document=document)
                yield EncodedBlock(splits, chunk.consumed, end, dict(skipped))
            blocks.skipped.counts.update(skipped - blocks.skipped.counts)
        finally:
            actors.stop()


class _Actors:
    """Assigns partitions to actors. An actor has at most one running call; the number of waiting chunks is limited."""

    def __init__(self, ray: Any, number: int, encoder: BlockEncoder, blocks: Blocks) -> None:
        self._ray = ray
        options = {"num_cpus": 1, "max_restarts": -1, "max_task_retries": RETRIES}
        # all nodes encode, also if one had space for all actors
        make = ray.remote(scheduling_strategy="SPREAD", **options)(PartitionEncoder)
        # Ray does not keep the arguments of a constructor for the restart of an actor, only objects in its store
        self._shared = ray.put(encoder)
        fetch = functools.partial(ray.get, self._shared)
        corpus = replace(blocks.corpus, inputs=())
        self._all = [make.remote(fetch, corpus, CHUNK_BYTES) for _ in range(number)]
        self._idle = list(self._all)
        self._assignments: deque[_Assignment] = deque()

    def chunks(self, partitions: Iterator[Partition]) -> Iterator[tuple[Partition, ChunkInfo, Ids, Int64Array]]:
        """The chunks of all partitions, in order."""
        more = True
        while True:
            while more and self._idle and len(self._assignments) < 2 * len(self._all):
                partition = next(partitions, None)
                more = partition is not None
                if partition is not None:
                    self._assignments.append(_Assignment(partition, self._idle.pop(), next=partition.start))
            if not self._assignments:
                return
            for assignment in self._assignments:
                self._call(assignment)
            first = self._assignments[0]
            if first.waiting:
                chunk, result = first.waiting.popleft()
                ids, ends = self._get(result)
                yield first.partition, chunk, ids, ends
            elif first.error:
                raise first.error
            elif first.call is None and first.next is None:
                self._assignments.popleft()
            else:
                self._settle()

    def stop(self) -> None:
        """Ends the actors."""
        for actor in self._all:
            self._ray.kill(actor)

    def _call(self, assignment: _Assignment) -> None:
        if assignment.call is None and assignment.next is not None and len(assignment.waiting) < MOST_WAITING:
            method = assignment.actor.chunk.options(num_returns=2)
            assignment.call = method.remote(assignment.partition, assignment.next)

    def _settle(self) -> None:
        """Waits for the end of a call."""
        calls = {assignment.call[0]: assignment for assignment in self._assignments if assignment.call}
        (ended,), _ = self._ray.wait(list(calls), num_returns=1)
        assignment = calls[ended]
        assert assignment.call
        _, result = assignment.call
        assignment.call = None
        if self._is_unavailable(assignment, ended):
            return
        try:
            chunk = self._get(ended)
        except Exception as error:  # noqa: BLE001 - `chunks` raises it, after the chunks before it
            assignment.error, assignment.next = error, None
        else:
            assignment.waiting.append((chunk, result))
            assignment.next = None if chunk.is_last else chunk.end
        if assignment.next is None:
            self._idle.append(assignment.actor)

    def _is_unavailable(self, assignment: _Assignment, ended: Any) -> bool:
        """Whether a call failed because its actor cannot be reached. The same chunk is then requested again.

        Ray notices the death of a node after some seconds, and has repeated a call more often than RETRIES by then.
        """
        try:
            self._ray.get(ended)
        except self._ray.exceptions.ActorUnavailableError:
            now = time.monotonic()
            since = assignment.unavailable_since = assignment.unavailable_since or now
            if now - since < UNAVAILABLE_SECONDS:
                time.sleep(PAUSE_SECONDS)
                return True
        except self._ray.exceptions.RayError:
            return False
        else:
            assignment.unavailable_since = None
        return False

    def _get(self, result: Any) -> Any:
        try:
            return self._ray.get(result)
        except self._ray.exceptions.RayError as error:
            raise original_error(self._ray, error) from None
