"""Datasets of Megatron-LM: NAME.bin holds token ids, NAME.idx tells where sequences and documents begin.

The form of an index is that of megatron/core/datasets/indexed_dataset.py: magic, version, dtype code, number of
sequences, number of entries of the array of documents; the lengths (int32) and the byte offsets (int64) of the
sequences; the number of the first sequence (int64) of each document, and of the end. Multimodal datasets end with a
mode (int8) of each sequence.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fastlm._types import Int64Array

IDX = ".idx"
_MAGIC = b"MMIDIDX\x00\x00"
_VERSION = 1
_HEADER = 34
_DTYPES = {1: "u1", 2: "i1", 3: "<i2", 4: "<i4", 5: "<i8", 8: "<u2"}
_CODES = {np.dtype(name): code for code, name in _DTYPES.items()}


@dataclass(frozen=True, eq=False)
class MegatronIndex:
    """The content of an index.

    Attributes:
        dtype: Dtype of the ids.
        lengths: Number of ids of each sequence, (sequences,).
        first_sequences: Number of the first sequence of each document, and of the end, (documents + 1,).
    """

    dtype: np.dtype[Any]
    lengths: Int64Array
    first_sequences: Int64Array

    @property
    def tokens(self) -> int:
        """The number of ids."""
        return int(self.lengths.sum())

    @property
    def documents(self) -> int:
        """The number of documents."""
        return len(self.first_sequences) - 1

    def document_ends(self) -> Int64Array:
        """The number of ids up to the end of each document, (documents,)."""
        ends: Int64Array = np.concatenate([np.zeros(1, np.int64), np.cumsum(self.lengths)])[self.first_sequences[1:]]
        return ends


def read_index(path: Path) -> MegatronIndex:
    """Reads an index, and checks that its arrays agree.

    Raises:
        OSError: The file cannot be read.
        ValueError: The file is no index of version 1, or its arrays contradict each other. The message names the file.
    """
    content = path.read_bytes()
    version = int.from_bytes(content[9:17], "little")
    if len(content) < _HEADER or content[:9] != _MAGIC or version != _VERSION:
        raise ValueError(f"{path}: not an index of Megatron-LM of version {_VERSION}")
    if content[17] not in _DTYPES:
        raise ValueError(f"{path}: ids of dtype code {content[17]}; expected one of {', '.join(map(str, _DTYPES))}")
    dtype = np.dtype(_DTYPES[content[17]])
    sequences, entries = (int.from_bytes(content[at : at + 8], "little") for at in (18, 26))
    size = _HEADER + 12 * sequences + 8 * entries
    if len(content) not in (size, size + sequences):
        raise ValueError(f"{path}: {len(content)} bytes; expected {size}, for {sequences} sequences")
    lengths = np.frombuffer(content, "<i4", sequences, _HEADER).astype(np.int64)
    offsets = np.frombuffer(content, "<i8", sequences, _HEADER + 4 * sequences)
    first_sequences = np.frombuffer(content, "<i8", entries, _HEADER + 12 * sequences).astype(np.int64)
    _check(path, "length", lengths, lengths < 0, "0 or more")
    expected = (np.cumsum(lengths) - lengths) * dtype.itemsize
    _check(path, "offset", offsets, offsets != expected, "the sum of the lengths before it")
    if not entries or first_sequences[0] != 0 or first_sequences[-1] != sequences:
        raise ValueError(f"{path}: the documents must begin with sequence 0, and end with the last of {sequences}")
    descends = np.diff(first_sequences, append=first_sequences[-1:]) < 0
    _check(path, "first sequence of a document", first_sequences, descends, "not above the next one")
    return MegatronIndex(dtype, lengths, first_sequences)


def _check(path: Path, name: str, values: Int64Array, is_wrong: np.ndarray[Any, np.dtype[Any]], expected: str) -> None:
    wrong = np.flatnonzero(is_wrong)
    if len(wrong):
        raise ValueError(f"{path}: {name} {wrong[0]} is {values[wrong[0]]}; expected {expected}")


def is_dataset(path: Path) -> bool:
    """Whether a path is NAME.idx, or NAME.bin next to NAME.idx."""
    return path.suffix == IDX or (path.suffix == ".bin" and path.with_suffix(IDX).exists())


def map_dataset(path: Path) -> tuple[np.ndarray[Any, np.dtype[Any]], MegatronIndex]:
    """Maps the ids of a dataset into memory.

    Args:
        path: NAME.bin or NAME.idx.

    Returns:
        The ids of all sequences, (n,), and the index.

    Raises:
        OSError: A file cannot be read.
        ValueError: The index is malformed, or the ids have another size than it says. The message names the file.
    """
    ids, index_path = path.with_suffix(".bin"), path.with_suffix(IDX)
    index = read_index(index_path)
    size, expected = ids.stat().st_size, index.tokens * index.dtype.itemsize
    if size != expected:
        raise ValueError(
            f"{ids}: {size} bytes; {index_path} expects {expected}, for {index.tokens} ids of {index.dtype}"
        )
    return np.memmap(ids, index.dtype, "r") if size else np.empty(0, index.dtype), index


def megatron_index(ends: Int64Array, dtype: np.dtype[Any]) -> bytes:
    """The index of a dataset in which each document is one sequence.

    Args:
        ends: Where documents end, in ids, int64 (n,).
        dtype: The dtype of the ids.

    Raises:
        ValueError: A document has 2^31 ids or more.
    """
    lengths = np.diff(ends, prepend=0)
    if len(lengths) and lengths.max() > np.iinfo(np.int32).max:
        raise ValueError(f"a document of {lengths.max()} ids is too long for Megatron's index, which counts in 32 bits")
    return b"".join(
        [
            _MAGIC,
            _VERSION.to_bytes(8, "little"),
            _CODES[dtype].to_bytes(1, "little"),
            len(ends).to_bytes(8, "little"),
            (len(ends) + 1).to_bytes(8, "little"),
            lengths.astype("<i4").tobytes(),
            ((ends - lengths) * dtype.itemsize).astype("<i8").tobytes(),
            np.arange(len(ends) + 1, dtype="<i8").tobytes(),
        ]
    )
