"""Checks the shards of a folder against its manifest, and datasets of Megatron-LM against their index."""

from __future__ import annotations

import errno
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from fastlm.corpus.manifest import MANIFEST, Manifest, read_manifest, shard_path
from fastlm.corpus.megatron import IDX, MegatronIndex, is_dataset, map_dataset
from fastlm.corpus.shard_formats import read_ends, shard_files
from fastlm.corpus.shard_writer import Shard
from fastlm.files.checksum import sha256_of_file
from fastlm.files.remote import Location, RemotePath, fetched
from fastlm.progress import reporting

_CHUNK_IDS = 1 << 22
_SHARD_FILE = re.compile(r"(train|val)-\d{5,}\.(bin|npy|index|idx)")


Progress: TypeAlias = Callable[[int, int | None], None]
"""Called with the bytes that were checked, and with their total."""


def verify_shards(folder: Location, progress: Progress | bool | None = None) -> Manifest:
    """Reads all shards of a folder again.

    Checked are the manifest itself, the sha256 of each file, the number of ids, that each id is in the vocabulary, the
    ends of documents and their number, and that the folder has no other shards. The shards of an object store are
    fetched one after the other.

    Args:
        folder: The folder.
        progress: Called after each part of a file. True shows bars or logs lines; see fastlm.progress.

    Returns:
        The manifest.

    Raises:
        ValueError: names the first file that is wrong.
        OSError: for a file that cannot be read.
    """
    manifest = read_manifest(folder)
    expected = {name for shards in manifest.splits.values() for shard in shards for name in shard.sha256}
    sizes = _sizes(folder, expected)
    for name in sorted(sizes):
        if _SHARD_FILE.fullmatch(name) and name not in expected:
            raise ValueError(f"{folder / name}: a shard that the manifest does not name")
    total, done = sum(size for name, size in sizes.items() if name in expected), 0
    with reporting(progress, "verify") as report:

        def add(size: int) -> None:
            nonlocal done
            done += size
            report(done, total)

        for split, shards in manifest.splits.items():
            for number, shard in enumerate(shards):
                with fetched(folder, shard.sha256) as local:
                    verify_shard(manifest, split, number, local, folder, add)
    return manifest


def _sizes(folder: Location, expected: set[str]) -> dict[str, int]:
    """Name -> bytes of the files in a folder. Raises OSError that names an expected file that is missing."""
    if isinstance(folder, RemotePath):
        sizes = folder.sizes()
        if missing := expected - sizes.keys():
            raise FileNotFoundError(errno.ENOENT, "No such object", str(folder / min(missing)))
        return sizes
    sizes = {path.name: path.stat().st_size for path in folder.iterdir() if path.is_file()}
    return sizes | {name: shard_path(folder, name).stat().st_size for name in sorted(expected)}


def verify_shard(
    manifest: Manifest, split: str, number: int, local: Path, folder: Location, add: Callable[[int], None]
) -> None:
    """Checks one shard.

    Args:
        manifest: The manifest.
        split: The split.
        number: The number of the shard in it.
        local: A local folder with the files of the shard.
        folder: The folder of the shards, for messages.
        add: Called with the number of bytes after each part of a file.

    Raises:
        ValueError, OSError: As verify_shards.
    """
    shard = manifest.splits[split][number]
    for name, sha256 in shard.sha256.items():
        if (found := sha256_of_file(shard_path(local, name), add)) != sha256:
            raise ValueError(f"{folder / name}: its sha256 is {found}; expected {sha256}")
    ids_name, ends_name = shard_files(split, number, manifest.job.format)
    ids = manifest.map_shard(local, split, number)
    _check_ids(ids, manifest.job.vocabulary_size, folder / ids_name)
    _check_ends(shard, local / ends_name, manifest.job.format == "megatron")


def megatron_datasets(path: Path) -> list[Path]:
    """The indexes of datasets of Megatron-LM: of NAME.idx or NAME.bin, or all in a folder without a manifest."""
    if path.is_dir():
        return [] if (path / MANIFEST).exists() else sorted(path.glob(f"*{IDX}"))
    return [path.with_suffix(IDX)] if is_dataset(path) else []


def verify_megatron(path: Path) -> MegatronIndex:
    """Reads a dataset of Megatron-LM that has no manifest.

    Checked are the index itself, the size of the ids, and that none is negative. A dataset has no checksums, and does
    not name its vocabulary.

    Args:
        path: NAME.bin or NAME.idx.

    Returns:
        The index.

    Raises:
        ValueError: names the file that is wrong.
        OSError: for a file that cannot be read.
    """
    ids, index = map_dataset(path)
    _check_ids(ids, np.iinfo(index.dtype).max + 1, path.with_suffix(".bin"))
    return index


def _check_ids(ids: np.ndarray[Any, np.dtype[Any]], vocabulary_size: int, path: Location) -> None:
    for start in range(0, len(ids), _CHUNK_IDS):
        chunk = ids[start : start + _CHUNK_IDS]
        wrong = np.flatnonzero((chunk < 0) | (chunk >= vocabulary_size))
        if len(wrong):
            first = int(wrong[0])
            raise ValueError(f"{path}: id {chunk[first]} at {start + first}; expected ids below {vocabulary_size}")


def _check_ends(shard: Shard, path: Path, is_megatron: bool) -> None:
    ends = read_ends(path)
    if len(ends) != shard.documents:
        raise ValueError(f"{path}: {len(ends)} documents; expected {shard.documents}")
    if np.any(np.diff(ends, prepend=0) < 0) or (len(ends) and ends[-1] > shard.tokens):
        raise ValueError(f"{path}: the ends of documents must rise from 0 to at most {shard.tokens}")
    if is_megatron and int(ends[-1]) != shard.tokens:
        raise ValueError(f"{path}: the documents have {ends[-1]} ids; expected {shard.tokens}")
