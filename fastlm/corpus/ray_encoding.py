"""Encoding on a Ray cluster: tasks encode partitions to parts, then tasks make the shards of the parts.

Where a shard starts depends on the number of ids before it. So shards are made when all parts are there. The driver
reads the numbers of ids and the ends of documents, but no ids. The one exception is a shard that another engine began:
the driver completes it.
"""

from __future__ import annotations

import bisect
import functools
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from fastlm.cluster.connection import RETRIES, original_error, ray_connection, worker_count
from fastlm.corpus.block_encoder import BlockEncoder, split_ends
from fastlm.corpus.encoded_parts import (
    EncodedPart,
    encode_part,
    finished_part,
    publish,
    read_part_ends,
    staging_folder,
    write_description,
)
from fastlm.corpus.job_folder import JobFolder
from fastlm.corpus.job_storage import CLUSTER, UNFINISHED
from fastlm.corpus.manifest import EncodeJob, naming, without_checksum
from fastlm.corpus.partitions import Partition, partitions_of
from fastlm.corpus.read import Blocks, Corpus
from fastlm.corpus.shard_cuts import PartStart, Place, ShardCuts, write_from_parts
from fastlm.corpus.shard_formats import shard_name
from fastlm.corpus.shard_writer import Shard, SplitWriter
from fastlm.files.reading import read_json
from fastlm.files.remote import Location
from fastlm.files.schema import parse

# a part has at least this many stored bytes, where its files are not smaller
PARTITION_BYTES = 1 << 24
# a corpus has at most about this many parts, as long as none exceeds the second number of bytes
MOST_PARTS = 1 << 12
MOST_PARTITION_BYTES = 1 << 30
# how long to wait for tasks that were cancelled
CANCEL_SECONDS = 10.0


@dataclass(frozen=True)
class ShardTask:
    """A shard that a task makes.

    Attributes:
        split: The split.
        number: The number of the shard.
        start: Its start.
        end: Its end.
        parts: The parts that hold its ids.
    """

    split: str
    number: int
    start: Place
    end: Place
    parts: list[PartStart]

    @property
    def description(self) -> str:
        """The name of the file that describes the shard when it is whole."""
        return f"{CLUSTER}{shard_name(self.split, self.number)}.json"


def encode_on_cluster(
    folder: JobFolder,
    out: Location,
    job: EncodeJob,
    encoder: BlockEncoder,
    blocks: Blocks,
    consumed: int,
    num_workers: int | None,
) -> Iterator[int]:
    """Encodes the blocks of files on a cluster, and writes all shards of the job.

    Counts skipped records in blocks.skipped. Raises the errors of BlockEncoder and Blocks.

    Args:
        folder: The folder of the job, begun.
        out: Where it is. All workers must see it there.
        job: The job.
        encoder: The encoder.
        blocks: The blocks that are not encoded yet.
        consumed: Stored bytes that were read before.
        num_workers: The number of workers; by default one for each processor of the cluster.

    Yields:
        The stored bytes that were read, after each part.
    """
    out = out.absolute() if isinstance(out, Path) else out
    unfinished = out / UNFINISHED
    present = set(os.listdir(unfinished) if isinstance(unfinished, Path) else unfinished.names())
    with ray_connection(num_workers) as ray:
        workers = worker_count(ray, num_workers)
        shared = (ray.put(encoder),)
        corpus = replace(blocks.corpus, inputs=())
        found: dict[int, EncodedPart] = {}
        size = max(PARTITION_BYTES, min((blocks.total_bytes or 0) // MOST_PARTS, MOST_PARTITION_BYTES))

        def missing() -> Iterator[tuple[Any, ...]]:
            for number, partition in enumerate(partitions_of(blocks, size)):
                if part := finished_part(unfinished, number, partition, present):
                    found[number] = part
                else:
                    yield shared, corpus, partition, number, unfinished

        for (*_, number, _), part in _results(ray, workers, _encode_part, missing()):
            folder.keep()
            found[number] = part
            yield consumed + sum(part.consumed for part in found.values())
        parts = [found[number] for number in range(len(found))]
        for part in parts:
            for reason, count in part.skipped.items():
                blocks.skipped.counts[reason] = blocks.skipped.counts.get(reason, 0) + count
        tasks, documents = _shard_tasks(folder, unfinished, job, parts, blocks.start.document)
        shards: dict[str, dict[int, Shard]] = {split: {} for split in job.splits}
        for task in tasks:
            if task.description in present:
                shards[task.split][task.number] = _described(unfinished / task.description)
        calls = iter([(out, job, task) for task in tasks if task.description not in present])
        for (*_, task), shard in _results(ray, workers, _make_shard, calls):
            shards[task.split][task.number] = shard
    added = {split: [shard for _, shard in sorted(made.items())] for split, made in shards.items()}
    folder.adopt(added, documents, consumed + sum(part.consumed for part in parts))


def _shard_tasks(
    folder: JobFolder, unfinished: Location, job: EncodeJob, parts: list[EncodedPart], document: int
) -> tuple[list[ShardTask], int]:
    """The shards to make of all parts, and the number of documents in the whole source.

    Completes the shards that are being written.
    """
    began = {split: folder.writers[split].open_size for split in job.splits}
    cuts = {
        split: ShardCuts(job.format, job.shard_tokens, Place(-size[0], -size[1]) if size else Place())
        for split, size in began.items()
    }
    starts: dict[str, list[PartStart]] = {split: [] for split in job.splits}
    for number, part in enumerate(parts):
        ends = read_part_ends(unfinished, number, part)
        for split, (tokens, own_ends) in split_ends(ends, sum(part.tokens), document, job.validation_fraction).items():
            starts[split].append(PartStart(number, document, cuts[split].end))
            cuts[split].add(tokens, own_ends)
        document += len(ends)
    tasks = []
    for split, cut in cuts.items():
        writer = folder.writers[split]
        firsts = [start.place.tokens for start in starts[split]]
        lasts = [*firsts[1:], cut.end.tokens]
        number = len(writer.shards)
        for k, (start, end) in enumerate(cut.shards()):
            chosen = slice(bisect.bisect_left(lasts, start.tokens), bisect.bisect_right(firsts, end.tokens))
            if k == 0 and began[split]:
                write_from_parts(writer, unfinished, starts[split][chosen], start, end, job.validation_fraction)
            else:
                tasks.append(ShardTask(split, number + k, start, end, starts[split][chosen]))
    return tasks, document


def _encode_part(
    shared: tuple[Any], corpus: Corpus, partition: Partition, number: int, unfinished: Location
) -> EncodedPart:
    """The task that encodes a part."""
    return encode_part(_fetched(shared), corpus, partition, number, unfinished)


@functools.lru_cache(maxsize=1)
def _fetched(shared: tuple[Any]) -> BlockEncoder:
    """An object of Ray's store. A worker keeps it for its next task."""
    import ray

    encoder: BlockEncoder = ray.get(shared[0])
    return encoder


def _make_shard(out: Location, job: EncodeJob, task: ShardTask) -> Shard:
    """The task that makes a shard."""
    unfinished = out / UNFINISHED
    with staging_folder(unfinished) as staging:
        dtype = np.dtype(job.dtype)
        writer = SplitWriter(staging, task.split, job.format, dtype, job.shard_tokens, first=task.number)
        try:
            write_from_parts(writer, unfinished, task.parts, task.start, task.end, job.validation_fraction)
            writer.finish()
        finally:
            writer.close()
        (shard,) = writer.shards
        for name in shard.sha256:
            publish(staging / name, out)
    write_description(unfinished, task.description, {"shard": asdict(shard)})
    return shard


def _described(path: Location) -> Shard:
    content = read_json(path)
    with naming(path):
        return parse(Shard, without_checksum(parse(dict[str, Any], content)).get("shard"), "shard")


def _results(
    ray: Any, workers: int, function: Callable[..., Any], calls: Iterator[tuple[Any, ...]]
) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Runs calls of a function as tasks, at most one for each worker at a time.

    Raises the error of the first call that failed, after the calls before it have ended.

    Yields:
        The arguments and the result of each call that has ended.
    """
    # all nodes work, also if one had space for all tasks
    task = ray.remote(num_cpus=1, max_retries=RETRIES, scheduling_strategy="SPREAD")(function)
    pending: dict[Any, tuple[int, Any]] = {}
    failed: tuple[int, Exception] | None = None
    submitted = 0
    try:
        while True:
            while failed is None and len(pending) < workers and (call := next(calls, None)) is not None:
                pending[task.remote(*call)] = submitted, call
                submitted += 1
            if not pending:
                break
            (ended,), _ = ray.wait(list(pending), num_returns=1)
            order, call = pending.pop(ended)
            try:
                result = ray.get(ended)
            except ray.exceptions.RayError as error:
                if failed is None or order < failed[0]:
                    failed = order, original_error(ray, error)
                for later in [other for other, (place, _) in pending.items() if place > order]:
                    ray.cancel(later)
            else:
                yield call, result
        if failed is not None:
            raise failed[1]
    finally:
        for other in pending:
            ray.cancel(other)
        if pending:
            ray.wait(list(pending), num_returns=len(pending), timeout=CANCEL_SECONDS)
