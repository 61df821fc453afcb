"""Files of token ids: the files that a configuration names, and the dtype, tokenizer and checksums of each.

The dtype of ids comes from the manifest in the file's folder, from the file's header, or from Megatron-LM's index, and
otherwise from the caller. It is never guessed.
"""

from __future__ import annotations

import contextlib
import errno
import glob
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from fastlm._types import Int64Array
from fastlm.corpus.manifest import MANIFEST, Manifest, read_manifest
from fastlm.corpus.megatron import IDX, is_dataset, map_dataset
from fastlm.corpus.remote_shards import local_shards
from fastlm.corpus.shard_formats import INDEX, ids_suffix, map_ids, map_npy, read_ends
from fastlm.files.checksum import sha256_of_file
from fastlm.forks import cached_property
from fastlm.tokenizer_files import load

TokenArray = np.ndarray[Any, np.dtype[Any]]

# llm.c's header: 256 int32. The first three are a magic number, a version, and the number of ids. Magic and version
# determine the dtype of the ids, for GPT-2's and Llama 3's vocabularies (llm.c, dev/data/data_common.py).
_LLMC_HEADER = 1024
_LLMC_DTYPES = {(20240520, 1): "<u2", (20240801, 7): "<u4"}
_LLMC_MAGICS = {magic for magic, _ in _LLMC_DTYPES}
# number of ids that one step scans
_SCAN_IDS = 1 << 20
# files of a shard folder that hold no ids
_OTHER_SUFFIXES = (INDEX, IDX, ".json")


@dataclass(frozen=True)
class Listing:
    """A file's entry in the manifest of its folder; `number` is that of the shard in its split."""

    manifest: Manifest
    manifest_path: Path
    split: str
    number: int
    tokens: int
    sha256: str
    ends_path: Path

    @property
    def end_of_text_id(self) -> int | None:
        """The id after each document."""
        return self.manifest.job.end_of_text_id


@dataclass(frozen=True, eq=False)
class TokenFile:
    """A file of ids, memory-mapped.

    Attributes:
        path: The file.
        ids: The ids, (n).
        listing: Its entry in a manifest, if there is one.
        in_folder: Whether the configuration names the file by its folder or a glob, not by its own name.
    """

    path: Path
    ids: TokenArray
    listing: Listing | None = None
    in_folder: bool = False

    def check_ids(self, vocab_size: int) -> None:
        """Checks that all ids are below vocab_size: by the manifest, or else by reading the file.

        Raises:
            ValueError: An id is not. The message names the file, the id and its position.
        """
        if self.listing is not None and self.listing.manifest.job.vocabulary_size <= vocab_size:
            self._digest_by_manifest(self.listing)
            return
        for start in range(0, len(self.ids), _SCAN_IDS):
            check_ids(self.ids[start : start + _SCAN_IDS], vocab_size, self.path, start)

    @cached_property
    def digest(self) -> str:
        """sha256 of the file by its manifest, or of the ids as uint32.

        Raises:
            ValueError: The file was changed after its manifest was written.
        """
        if self.listing is not None:
            return self._digest_by_manifest(self.listing)
        digest = hashlib.sha256()
        for start in range(0, len(self.ids), _SCAN_IDS):
            digest.update(self.ids[start : start + _SCAN_IDS].astype("<u4").tobytes())
        return digest.hexdigest()

    def document_ends(self) -> Int64Array:
        """The number of ids up to each end of a document, int64. It is read from the index next to the file."""
        assert self.listing is not None
        ends = read_ends(self.listing.ends_path)
        if np.any(np.diff(ends, prepend=0) < 0) or (len(ends) and ends[-1] > len(self.ids)):
            raise ValueError(f"{self.listing.ends_path}: the ends of documents do not ascend from 0 to {len(self.ids)}")
        return ends

    def _digest_by_manifest(self, listing: Listing) -> str:
        # `encode` writes the manifest last. A newer file was changed or copied, so its content is hashed.
        if self.path.stat().st_mtime_ns > listing.manifest_path.stat().st_mtime_ns:
            found = sha256_of_file(self.path)
            if found != listing.sha256:
                raise ValueError(
                    f"{self.path}: changed after {listing.manifest_path} was written: its sha256 is "
                    f"{found}; expected {listing.sha256}"
                )
        return listing.sha256


def check_ids(ids: TokenArray, vocab_size: int, path: Path, start: int) -> None:
    """Raises ValueError unless all ids are from 0 to vocab_size - 1; `start` is the position of ids[0] in the file."""
    if not len(ids):
        return
    wrong = -1
    if int(ids.max()) >= vocab_size:
        wrong = int(ids.argmax())
    elif ids.dtype.kind == "i" and int(ids.min()) < 0:
        wrong = int(ids.argmin())
    if wrong >= 0:
        raise ValueError(
            f"{path}: id {ids[wrong]} at position {start + wrong}; "
            f"expected ids below the model's vocab_size, {vocab_size}"
        )


def open_token_files(names: Sequence[str], splits: Sequence[str], data_dtype: str | None) -> list[TokenFile]:
    """Opens the files that a configuration names.

    Args:
        names: Folders of shards, files, and globs of both.
        splits: Splits to read from folders, "train" or "val". The first split that a folder has is read.
        data_dtype: Dtype of .bin files without a manifest, header or index that gives the dtype.

    Returns:
        The files in order. The files of a glob are sorted. The files of a folder have the order of the manifest.

    Raises:
        OSError: A file cannot be read, or a glob matches nothing.
        ValueError: A file holds no ids, or nothing tells their dtype. The message names the file.
    """
    found: list[TokenFile] = []
    for name in names:
        name = local_shards(name)
        path = Path(name)
        if path.exists() or not glob.has_magic(name):
            found += _opened(path, splits, data_dtype)
            continue
        matches = [path for path in map(Path, sorted(glob.glob(name, recursive=True))) if _may_hold_ids(path)]
        if not matches:
            raise FileNotFoundError(errno.ENOENT, "No file of ids matches", name)
        for path in matches:
            files = _opened(path, splits, data_dtype)
            _check_splits(files, splits, name)
            found += [replace(file, in_folder=file.listing is not None) for file in files]
    return found


def _may_hold_ids(path: Path) -> bool:
    return path.suffix not in _OTHER_SUFFIXES


def _check_splits(files: Sequence[TokenFile], splits: Sequence[str], name: str) -> None:
    """Refuses shards of the other split among the files that a glob matches."""
    for file in files:
        if file.listing is None:
            continue
        wanted = _first_split(file.listing.manifest, splits)
        if file.listing.split != wanted:
            raise ValueError(
                f"{file.path}: matches {name!r}, but is a shard of the split {file.listing.split!r}; expected shards "
                f"of {wanted!r}, such as {file.path.parent / f'{wanted}-*{file.path.suffix}'}"
            )


def _first_split(manifest: Manifest, splits: Sequence[str]) -> str | None:
    """The first of the splits of which a manifest lists shards."""
    return next((split for split in splits if manifest.splits.get(split)), None)


def has_split(name: str, split: str) -> bool:
    """Whether a folder has shards of a split."""
    path = Path(local_shards(name))
    return path.is_dir() and (path / MANIFEST).exists() and bool(read_manifest(path).splits.get(split))


def vocabulary_size(names: Sequence[str], tokenizer: str | None) -> int | None:
    """The size of the vocabulary that made the ids: of the manifests, or else of the tokenizer; None if unknown.

    Args:
        names: As in open_token_files. Names of another kind are ignored.
        tokenizer: Directory or file of a tokenizer.

    Raises:
        OSError: A file cannot be read.
        ValueError: The tokenizer cannot be read.
    """
    sizes = []
    for name in names if isinstance(names, tuple) else ():
        name = local_shards(str(name))
        for path in map(Path, sorted(glob.glob(name, recursive=True)) or [name]):
            listing_folder = path if path.is_dir() else path.parent
            if (listing_folder / MANIFEST).exists():
                with contextlib.suppress(ValueError):  # a manifest of another program
                    sizes.append(read_manifest(listing_folder).job.vocabulary_size)
    if not sizes and isinstance(tokenizer, str):
        return load(tokenizer).vocab_size
    return max(sizes, default=None)


def _opened(path: Path, splits: Sequence[str], data_dtype: str | None) -> list[TokenFile]:
    return _shards(path, splits) if path.is_dir() else [_file(path, data_dtype)]


def _shards(folder: Path, splits: Sequence[str]) -> list[TokenFile]:
    """The shards of a folder that `fastlm encode` wrote."""
    if not (folder / MANIFEST).exists():
        raise ValueError(
            f"{folder}: has no {MANIFEST}; expected a folder that fastlm encode wrote, or files, such as "
            f"{folder / '*.npy'}"
        )
    manifest = read_manifest(folder)
    split = _first_split(manifest, splits)
    if split is None:
        raise ValueError(f"{folder / MANIFEST}: has no shards of {' or '.join(map(repr, splits))}")
    files = []
    for number, (shard, ids) in enumerate(zip(manifest.splits[split], manifest.map(folder, split), strict=True)):
        listing = _listing(manifest, folder, split, number)
        name = next(name for name in shard.sha256 if name.endswith(ids_suffix(manifest.job.format)))
        files.append(TokenFile(folder / name, ids, listing, in_folder=True))
    return files


def _file(path: Path, data_dtype: str | None) -> TokenFile:
    """One file by its name."""
    if path.suffix == IDX:
        path = path.with_suffix(".bin")
    listing = _find_listing(path)
    if listing is not None:
        job = listing.manifest.job
        ids = map_ids(path, job.format, np.dtype(job.dtype))
        if len(ids) != listing.tokens:
            raise ValueError(f"{path}: {len(ids)} ids; {listing.manifest_path} expects {listing.tokens}")
        return TokenFile(path, ids, listing)
    if path.suffix == ".bin":
        return TokenFile(path, _raw(path, data_dtype))
    array = map_npy(path)
    if array.ndim != 1 or array.dtype not in (np.uint16, np.uint32):
        raise ValueError(f"{path}: {array.dtype} of shape {array.shape}; expected a sequence of uint16 or uint32")
    return TokenFile(path, array)


def _find_listing(path: Path) -> Listing | None:
    """The entry of a file in the manifest of its folder, if the folder has a manifest of shards."""
    if not path.exists() or not (path.parent / MANIFEST).exists():
        return None
    try:
        manifest = read_manifest(path.parent)
    except ValueError:
        return None  # a manifest of another program
    for split, shards in manifest.splits.items():
        for number, shard in enumerate(shards):
            if path.name in shard.sha256 and path.name.endswith(ids_suffix(manifest.job.format)):
                return _listing(manifest, path.parent, split, number)
    return None


def _listing(manifest: Manifest, folder: Path, split: str, number: int) -> Listing:
    shard = manifest.splits[split][number]
    suffix = ids_suffix(manifest.job.format)
    name = next(name for name in shard.sha256 if name.endswith(suffix))
    ends = next(name for name in shard.sha256 if not name.endswith(suffix))
    return Listing(manifest, folder / MANIFEST, split, number, shard.tokens, shard.sha256[name], folder / ends)


def _raw(path: Path, data_dtype: str | None) -> TokenArray:
    """The ids of a .bin file without a manifest."""
    size = path.stat().st_size
    with open(path, "rb") as file:
        head = file.read(12)
    if len(head) == 12 and int.from_bytes(head[:4], "little") in _LLMC_MAGICS:
        return _llmc(path, size, *(int.from_bytes(head[at : at + 4], "little") for at in (0, 4, 8)))
    if is_dataset(path):
        ids, _ = map_dataset(path)
        if not len(ids):
            raise ValueError(f"{path}: holds no ids")
        return ids
    if data_dtype is None:
        raise ValueError(
            f"{path}: has no manifest, header or index that tells the dtype of its ids; expected data_dtype, such as "
            "'uint16', which nanoGPT writes"
        )
    dtype = np.dtype(data_dtype).newbyteorder("<")
    if size == 0 or size % dtype.itemsize:
        raise ValueError(f"{path}: {size} bytes; expected {data_dtype} ids, {dtype.itemsize} bytes each")
    return np.memmap(path, dtype=dtype, mode="r")


def _llmc(path: Path, size: int, magic: int, version: int, count: int) -> TokenArray:
    """The ids of a file with llm.c's header."""
    name = _LLMC_DTYPES.get((magic, version))
    if name is None:
        known = ", ".join(f"{magic} version {version}" for magic, version in _LLMC_DTYPES)
        raise ValueError(f"{path}: has llm.c's header with magic {magic} version {version}; expected one of {known}")
    dtype = np.dtype(name)
    if count == 0 or size != _LLMC_HEADER + count * dtype.itemsize:
        raise ValueError(
            f"{path}: {size} bytes; its header expects {_LLMC_HEADER + count * dtype.itemsize}, for {count} ids"
        )
    return np.memmap(path, dtype=dtype, mode="r", offset=_LLMC_HEADER)
