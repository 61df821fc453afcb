"""Shards whose documents are in a random order, in bounded memory.

The corpus is encoded in its own order first. Then each document gets a key, a function of the seed and the document's
number in its split, and the documents are sorted by their keys: they are appended to files, one for each range of keys,
and each file is sorted in memory. So the result depends on the seed only.

Below `out` the work is in `unfinished/`: `encoded/` is an encode job of its own, which resumes; sorting starts again
after a kill. The manifest is written last.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from fastlm._types import Int64Array
from fastlm.corpus.encode_corpus import encode_corpus
from fastlm.corpus.job_storage import STATE, UNFINISHED
from fastlm.corpus.manifest import MANIFEST, Manifest, read_manifest
from fastlm.corpus.mixing import UInt64Array, splitmix64
from fastlm.corpus.read import Source
from fastlm.corpus.shard_formats import read_ends, shard_files
from fastlm.corpus.shard_writer import Shard, SplitWriter
from fastlm.files.atomic import sync_directory, write_files
from fastlm.files.remote import location
from fastlm.tokenizer import Tokenizer

Ids = np.ndarray[Any, np.dtype[Any]]

BUCKET_BYTES = 1 << 28
MOST_BUCKETS = 512
# bytes of ids that are moved at once
_PART_BYTES = 1 << 22
_RECORD = np.dtype([("key", "<u8"), ("number", "<u8"), ("length", "<u8")])
_ENCODED, _BUCKETS, _SHUFFLED = "encoded", "buckets", "shuffled"


def encode_shuffled(
    tokenizer: Tokenizer,
    source: Source,
    out: str | os.PathLike[str],
    *,
    seed: int,
    resume: bool = False,
    **options: Any,
) -> Manifest:
    """Encodes a corpus as `encode_corpus` does, with the documents of each split in a random order.

    The order depends on the seed and the number of documents only. The ids are on disk three times while they are
    sorted. Memory holds 256 MiB of ids, or a 512th of them if that is more, and 24 bytes for each of their documents.

    Args:
        tokenizer: The tokenizer.
        source: As in encode_corpus.
        out: The folder. It must be missing or empty unless `resume` is given.
        seed: Seed of the order, from 0 to less than 2^64.
        resume: Continue an interrupted run, or start one if there is none.
        options: Other arguments of encode_corpus.

    Returns:
        The manifest, whose job has the seed as `shuffle`.

    Raises:
        FileExistsError: if the folder is not empty and `resume` is not given.
        ValueError, TypeError, OSError: as encode_corpus.

    Example:
        >>> import tempfile, fastlm
        >>> tokenizer = fastlm.train_bpe(["a b c d"], 257, ["<|endoftext|>"])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     manifest = encode_shuffled(tokenizer, ["a", "b", "c", "d"], folder, seed=1)
        ...     print(tokenizer.decode(manifest.map(Path(folder))[0]))
        abdc
    """
    if type(seed) is not int or not 0 <= seed < 1 << 64:
        raise ValueError(f"seed must be an integer from 0 to less than 2^64, got {seed!r}")
    if options.get("rank") is not None or options.get("world_size") is not None:
        raise ValueError("a shuffled corpus cannot be divided among ranks")
    folder = location(out)
    if not isinstance(folder, Path):
        raise ValueError(f"shuffled documents are sorted in files of this machine; expected a path as out, got {out}")
    work = folder / UNFINISHED
    finished = read_manifest(folder) if resume and (folder / MANIFEST).exists() else None
    _check_folder(folder, resume)
    if finished is not None:
        if finished.job.shuffle != seed:
            raise ValueError(
                f"{folder}: cannot resume with another shuffle: the run began with {finished.job.shuffle}, not {seed}"
            )
        # the encode job recognizes its own result, or says what differs
        unshuffled = replace(finished, job=replace(finished.job, shuffle=None))
        _write_manifest(work / _ENCODED, unshuffled)
    encoded = encode_corpus(tokenizer, source, work / _ENCODED, resume=True, **options)
    if finished is None:
        finished = _shuffled(encoded, work, folder, seed)
    shutil.rmtree(work)
    return finished


def _check_folder(folder: Path, resume: bool) -> None:
    """Refuses a folder with other files, or with any without `resume`."""
    names = sorted(os.listdir(folder)) if folder.exists() else []
    if names and not (resume and {UNFINISHED, MANIFEST} & set(names)):
        raise FileExistsError(errno.EEXIST, f"The folder holds {names[0]!r}", str(folder))
    if (folder / UNFINISHED / STATE).exists():
        raise FileExistsError(errno.EEXIST, "The folder holds a run without a shuffle", str(folder))


def _shuffled(encoded: Manifest, work: Path, folder: Path, seed: int) -> Manifest:
    """Writes the shards of a finished job in another order, then the manifest."""
    job = replace(encoded.job, shuffle=seed)
    target = work / _SHUFFLED
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    splits: dict[str, list[Shard]] = {}
    for split, shards in encoded.splits.items():
        buckets = work / _BUCKETS
        shutil.rmtree(buckets, ignore_errors=True)
        buckets.mkdir()
        tokens = sum(shard.tokens for shard in shards)
        count = max(1, min(MOST_BUCKETS, -(-tokens * np.dtype(job.dtype).itemsize // BUCKET_BYTES)))
        _scatter(encoded, split, work / _ENCODED, buckets, count, seed)
        writer = SplitWriter(target, split, job.format, np.dtype(job.dtype), job.shard_tokens)
        try:
            for number in range(count):
                _sort_bucket(buckets / str(number), writer)
            writer.finish()
        finally:
            writer.close()
        splits[split] = writer.shards
    for name in (name for shards in splits.values() for shard in shards for name in shard.sha256):
        os.replace(target / name, folder / name)
    sync_directory(folder)
    manifest = Manifest(job, encoded.documents, splits, encoded.skipped)
    _write_manifest(folder, manifest)
    return manifest


def _write_manifest(folder: Path, manifest: Manifest) -> None:
    write_files(folder, {MANIFEST: f"{json.dumps(manifest.to_json(), indent=1)}\n".encode()})


def _scatter(encoded: Manifest, split: str, source: Path, buckets: Path, count: int, seed: int) -> None:
    """Appends each document of a split to the bucket of its key."""
    with ExitStack() as stack:
        files = [
            tuple(stack.enter_context(open(buckets / f"{number}{suffix}", "wb")) for suffix in (".ids", ".records"))
            for number in range(count)
        ]
        first = 0
        for ids, ends in _documents(encoded, split, source):
            numbers = np.arange(first, first + len(ends))
            first += len(ends)
            records = np.empty(len(ends), _RECORD)
            records["key"], records["number"] = _keys(seed, numbers), numbers
            records["length"] = np.diff(ends, prepend=0)
            chosen = (records["key"] >> np.uint64(32)) * np.uint64(count) >> np.uint64(32)
            order = np.argsort(chosen, kind="stable")
            limits = np.searchsorted(chosen[order], np.arange(count + 1, dtype=np.uint64))
            for number in np.flatnonzero(np.diff(limits)).tolist():
                members = order[limits[number] : limits[number + 1]]
                files[number][0].write(_gathered(ids, records["length"], members).data)
                files[number][1].write(records[members].data)


def _documents(encoded: Manifest, split: str, source: Path) -> Iterator[tuple[Ids, Int64Array]]:
    """The documents of a split in parts of some megabytes: their ids, and where each document ends among them."""
    rest = np.empty(0, np.dtype(encoded.job.dtype))  # of a document that continues in the next shard
    most = _PART_BYTES // rest.itemsize
    for number, ids in enumerate(encoded.map(source, split)):
        ends = read_ends(source / shard_files(split, number, encoded.job.format)[1])
        begun = done = 0
        while done < len(ends):
            until = max(done + 1, int(np.searchsorted(ends, begun + most, "right")))
            part = np.concatenate([rest, ids[begun : ends[until - 1]]])
            yield part, ends[done:until] - begun + len(rest)
            begun, done, rest = int(ends[until - 1]), until, rest[:0]
        rest = np.concatenate([rest, ids[begun:]])
    if len(rest):
        raise ValueError(f"{source}: {len(rest)} ids follow the last document of {split!r}")


def _sort_bucket(path: Path, writer: SplitWriter) -> None:
    """Writes the documents of a bucket in the order of their keys, and removes the bucket."""
    ids, records = path.with_suffix(".ids"), path.with_suffix(".records")
    known = np.fromfile(records, _RECORD)
    content = np.fromfile(ids, writer.dtype)
    ids.unlink()
    records.unlink()
    order = np.lexsort((known["number"], known["key"]))
    ends = np.cumsum(known["length"][order], dtype=np.int64)
    done = 0
    while done < len(order):
        begun = int(ends[done - 1]) if done else 0
        until = max(done + 1, int(np.searchsorted(ends, begun + _PART_BYTES // content.itemsize, "right")))
        writer.write(_gathered(content, known["length"], order[done:until]), ends[done:until] - begun)
        done = until


def _gathered(ids: Ids, lengths: UInt64Array, order: Int64Array) -> Ids:
    """The ids of documents one after the other, in an order.

    Args:
        ids: The ids of all documents.
        lengths: The number of ids of each document, (n,).
        order: Numbers of documents, (k,).
    """
    sizes = lengths[order].astype(np.int64)
    starts = (np.cumsum(lengths, dtype=np.int64) - lengths.astype(np.int64))[order]
    # the place of each id of the result in `ids`
    places = np.arange(int(sizes.sum())) + np.repeat(starts - (np.cumsum(sizes) - sizes), sizes)
    return np.ascontiguousarray(ids[places])


def shuffle_order(seed: int, count: int) -> Int64Array:
    """The numbers of `count` documents of a split in the order of their keys, int64 (count,)."""
    return np.argsort(_keys(seed, np.arange(count)), kind="stable")


def _keys(seed: int, numbers: Int64Array) -> UInt64Array:
    return splitmix64(splitmix64(np.array([seed], np.uint64)) + numbers.astype(np.uint64))
