"""Whether the shards of a folder are what its manifest says."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from fastlm.corpus.manifest import Manifest, read_manifest
from fastlm.corpus.shard_formats import ids_suffix, read_ends
from fastlm.corpus.shard_writer import Shard

_CHUNK_IDS = 1 << 22


def verify_shards(folder: Path) -> Manifest:
    """The manifest of a folder, after all its files were read again.

    Checked are the sha256 of each file, the number of ids, that each is in the vocabulary, where documents end, and how
    many. Raises ValueError that names the first file that is not so, OSError for one that cannot be read.
    """
    manifest = read_manifest(folder)
    for split, shards in manifest.splits.items():
        for shard in shards:
            for name, expected in shard.sha256.items():
                if (found := _sha256(folder / name)) != expected:
                    raise ValueError(f"{folder / name}: its sha256 is {found}; expected {expected}")
        for shard, ids in zip(shards, manifest.map(folder, split), strict=True):
            _check_ids(ids, manifest.job.vocabulary_size, folder / _file(shard, manifest, True))
            _check_ends(shard, folder / _file(shard, manifest, False), manifest.job.format == "megatron")
    ended = sum(shard.documents for shards in manifest.splits.values() for shard in shards)
    if ended != manifest.documents:
        raise ValueError(f"{folder}: {ended} documents end in the shards; expected {manifest.documents}")
    return manifest


def _file(shard: Shard, manifest: Manifest, of_ids: bool) -> str:
    suffix = ids_suffix(manifest.job.format)
    return next(name for name in shard.sha256 if name.endswith(suffix) == of_ids)


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_ids(ids: np.ndarray[Any, np.dtype[Any]], vocabulary_size: int, path: Path) -> None:
    for start in range(0, len(ids), _CHUNK_IDS):
        chunk = ids[start : start + _CHUNK_IDS]
        wrong = np.flatnonzero((chunk < 0) | (chunk >= vocabulary_size))
        if len(wrong):
            at = int(wrong[0])
            raise ValueError(f"{path}: id {chunk[at]} at {start + at}; expected ids below {vocabulary_size}")


def _check_ends(shard: Shard, path: Path, whole: bool) -> None:
    ends = read_ends(path)
    if len(ends) != shard.documents:
        raise ValueError(f"{path}: {len(ends)} documents; expected {shard.documents}")
    if np.any(np.diff(ends, prepend=0) < 0) or (len(ends) and ends[-1] > shard.tokens):
        raise ValueError(f"{path}: the ends of documents do not rise from 0 to {shard.tokens} at most")
    if whole and int(ends[-1]) != shard.tokens:
        raise ValueError(f"{path}: the documents have {ends[-1]} ids; expected {shard.tokens}")
