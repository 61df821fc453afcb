"""Merges the parts that several ranks have encoded into the shards that one process writes.

A rank does not know how many ids and documents precede its part, and these decide where shards end and which documents
validate. So its part is one stream of ids, and merging cuts the streams again. It reads and writes all ids once.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fastlm import interrupts
from fastlm._types import Int64Array
from fastlm.corpus.block_encoder import EncodedBlock, Ids, split_documents
from fastlm.corpus.job_folder import JobFolder
from fastlm.corpus.manifest import TRAIN, EncodeJob, Manifest, read_manifest
from fastlm.corpus.ranks import PART, checked_parts, full_job
from fastlm.corpus.shard_formats import read_ends, shard_files
from fastlm.corpus.text_blocks import Position
from fastlm.corpus.verify import Progress, verify_shard
from fastlm.files.remote import Location, fetched, location
from fastlm.progress import reporting

CHUNK_IDS = 1 << 22


def merge_shards(
    parts: Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    *,
    resume: bool = False,
    progress: Progress | bool | None = None,
) -> Manifest:
    """Merges the parts of an encode job: shards and manifest are those that one process writes, byte for byte.

    Args:
        parts: The folders or addresses of all parts, as encode_corpus wrote them with `rank`, in any order.
        out: The folder, or an address such as s3://bucket/name. It must be missing or empty unless `resume` is given.
        resume: Continue an interrupted merge, or start one if there is none.
        progress: Called after each chunk with the bytes of ids that were read, and their total. True shows bars or logs
            lines; see fastlm.progress.

    Returns:
        The manifest.

    Raises:
        FileExistsError: if the folder is not empty and `resume` is not given.
        ValueError: if a part is missing, given twice, damaged, or of another job; if there is no text.
        OSError: for files that cannot be read or written.
    """
    found = checked_parts([location(part) for part in parts])
    job = full_job(found[0][1], found[0][0])
    manifests = [(folder, read_manifest(folder)) for folder, _ in found]
    skipped: Counter[str] = Counter()
    for _, manifest in manifests:
        for reason, count in manifest.skipped.items():
            skipped[reason] += count
    folder = JobFolder(location(out), job)
    if resume and (finished := folder.finished()):
        return finished
    total = sum(manifest.tokens * np.dtype(manifest.job.dtype).itemsize for _, manifest in manifests)
    with interrupts.raised(), reporting(progress, "merge shards") as report:
        try:
            state = folder.begin(resume)
            for block in _blocks(manifests, job, state.position):
                with interrupts.deferred():
                    folder.write(block, block.consumed)
                report(block.consumed, total)
            return folder.finish(dict(skipped))
        except BaseException as error:
            folder.abandon(save=isinstance(error, interrupts.INTERRUPTS))
            raise


def _blocks(manifests: list[tuple[Location, Manifest]], job: EncodeJob, start: Position) -> Iterator[EncodedBlock]:
    """The ids of all parts after a position, which counts ids, chunks and documents; `consumed` is the bytes so far."""
    dtype = np.dtype(job.dtype)
    ids_done = chunks = documents = 0
    for folder, manifest in manifests:
        for number, shard in enumerate(manifest.splits[TRAIN]):
            in_shard = max(1, -(-shard.tokens // CHUNK_IDS))
            if chunks + in_shard <= start.row:
                ids_done, chunks, documents = ids_done + shard.tokens, chunks + in_shard, documents + shard.documents
                continue
            with fetched(folder, shard.sha256) as local:
                verify_shard(manifest, TRAIN, number, local, folder, lambda size: None)
                for ids, ends in _chunks(manifest, number, local):
                    first = documents
                    ids_done, chunks, documents = ids_done + len(ids), chunks + 1, documents + len(ends)
                    if chunks > start.row:
                        splits = split_documents(ids.astype(dtype, copy=False), ends, first, job.validation_fraction)
                        end = Position(0, ids_done, chunks, documents)
                        yield EncodedBlock(splits, ids_done * np.dtype(manifest.job.dtype).itemsize, end, {})


def _chunks(manifest: Manifest, number: int, local: Path) -> Iterator[tuple[Ids, Int64Array]]:
    """The ids of a shard in chunks, each with the ends of documents in it."""
    ids: np.ndarray[Any, np.dtype[Any]] = manifest.map_shard(local, TRAIN, number)
    ends = read_ends(local / shard_files(TRAIN, number, manifest.job.format)[1])
    for start in range(0, max(1, len(ids)), CHUNK_IDS):
        stop = min(start + CHUNK_IDS, len(ids))
        # an end at the start of a later chunk belongs to the chunk before
        first = int(np.searchsorted(ends, start, "right")) if start else 0
        yield ids[start:stop], ends[first : int(np.searchsorted(ends, stop, "right"))] - start


def parts_in(folder: Location) -> list[Location]:
    """The folders of parts below a folder, or the folder itself if it is one."""
    if (folder / PART).exists():
        return [folder]
    if isinstance(folder, Path):
        return [path.parent for path in sorted(folder.glob(f"*/{PART}"))]
    return [
        folder / name.removesuffix(f"/{PART}")
        for name in folder.names()
        if name.count("/") == 1 and name.endswith(f"/{PART}")
    ]
