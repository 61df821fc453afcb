"""What files a shard has in each format.

bin: `NAME.bin`, the ids and nothing else, little-endian uint16, as nanoGPT reads them, or uint32 where the vocabulary
needs it. npy: `NAME.npy`, the same as a one-dimensional NumPy array. Beside either, `NAME.index`: little-endian uint64,
where in the shard each document ends that ends there, counted in ids; so it begins with the rest of a document that
began before, if the last entry of the shard before is less than its length.

megatron: `NAME.bin` and `NAME.idx` as Megatron-LM reads them, a sequence and a document for each document; the ids are
uint16 below 65,500 tokens, else int32, as its own `DType.optimal_dtype` chooses.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np

from fastlm._types import Int64Array

Format: TypeAlias = Literal["bin", "npy", "megatron"]
FORMATS = ("bin", "npy", "megatron")

INDEX = ".index"
IDX = ".idx"
_IDX_MAGIC = b"MMIDIDX\x00\x00"
_IDX_CODES: dict[np.dtype[Any], int] = {np.dtype("<u2"): 8, np.dtype("<i4"): 4}
_IDX_HEADER = 34
_MEGATRON_WIDE = 65_500


def ids_suffix(format: Format) -> str:
    """Of the file of ids."""
    return ".npy" if format == "npy" else ".bin"


def ids_dtype(format: Format, vocabulary_length: int) -> np.dtype[Any]:
    """The type of ids. Raises ValueError where the format has none that holds them."""
    if format != "megatron":
        return np.dtype("<u2") if vocabulary_length <= 1 << 16 else np.dtype("<u4")
    if vocabulary_length > 1 << 31:
        raise ValueError(f"Megatron's ids have 31 bits, and the vocabulary needs more for {vocabulary_length} ids")
    return np.dtype("<u2") if vocabulary_length < _MEGATRON_WIDE else np.dtype("<i4")


def ids_header(format: Format, dtype: np.dtype[Any], length: int) -> bytes:
    """What stands before the ids, of the same size for every length: numpy leaves room in it for a longer shape."""
    if format != "npy":
        return b""
    header = io.BytesIO()
    description = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": (length,)}
    np.lib.format.write_array_header_1_0(header, description)
    return header.getvalue()


def map_npy(path: Path) -> np.ndarray[Any, np.dtype[Any]]:
    """The array of a .npy file, memory-mapped. Raises OSError, or ValueError that names a file that is none."""
    try:
        return np.lib.format.open_memmap(path, mode="r")
    except (ValueError, EOFError, OverflowError) as error:
        raise ValueError(f"{path}: not a .npy file of integers: {error}") from None


def map_ids(path: Path, format: Format, dtype: np.dtype[Any]) -> np.ndarray[Any, np.dtype[Any]]:
    """The ids of a shard, memory-mapped. Raises OSError, or ValueError that names a file that is not of this form."""
    size = path.stat().st_size
    if format == "npy":
        array = map_npy(path)
        if array.ndim != 1 or array.dtype != dtype:
            raise ValueError(f"{path}: {array.dtype} of shape {array.shape}; expected a sequence of {dtype}")
        return array
    if size % dtype.itemsize:
        raise ValueError(f"{path}: {size} bytes, which are no whole number of ids of {dtype}")
    return np.memmap(path, dtype, "r") if size else np.empty(0, dtype)


def read_ends(path: Path) -> Int64Array:
    """Where documents end, from a file that INDEX or IDX names. Raises OSError, or ValueError that names the file."""
    content = path.read_bytes()
    if path.suffix == INDEX:
        if len(content) % 8:
            raise ValueError(f"{path}: {len(content)} bytes, which are no whole number of document ends of 8 bytes")
        ends = np.frombuffer(content, "<u8")
        if np.any(ends > np.uint64(np.iinfo(np.int64).max)):
            raise ValueError(f"{path}: a document would end beyond 2^63 ids")
        return ends.astype(np.int64)
    version = int.from_bytes(content[9:17], "little")
    sequences = int.from_bytes(content[18:26], "little")
    if len(content) < _IDX_HEADER or content[:9] != _IDX_MAGIC or version != 1:
        raise ValueError(f"{path}: not an index of Megatron-LM of version 1")
    if sequences > len(content) or len(content) != _IDX_HEADER + 20 * sequences + 8:
        raise ValueError(f"{path}: {len(content)} bytes; expected {_IDX_HEADER + 20 * sequences + 8}")
    ends = np.cumsum(np.frombuffer(content, "<i4", sequences, _IDX_HEADER), dtype=np.int64)
    codes = {code: dtype for dtype, code in _IDX_CODES.items()}
    if content[17] not in codes or content != megatron_index(ends, codes[content[17]]):
        raise ValueError(f"{path}: not the index of a shard whose documents are each a sequence")
    return ends


def megatron_index(ends: Int64Array, dtype: np.dtype[Any]) -> bytes:
    """The .idx file of a shard, from where its documents end.

    The form is that of megatron/core/datasets/indexed_dataset.py: magic, version, type, number of sequences, number of
    entries of the last array; lengths (int32) and byte offsets (int64) of sequences; and for each document and the end
    the number of the first sequence (int64). Raises ValueError for a document of 2^31 ids or more.
    """
    lengths = np.diff(ends, prepend=0)
    if len(lengths) and lengths.max() > np.iinfo(np.int32).max:
        raise ValueError(f"a document of {lengths.max()} ids is too long for Megatron's index, which counts in 32 bits")
    return b"".join(
        [
            _IDX_MAGIC,
            (1).to_bytes(8, "little"),
            _IDX_CODES[dtype].to_bytes(1, "little"),
            len(ends).to_bytes(8, "little"),
            (len(ends) + 1).to_bytes(8, "little"),
            lengths.astype("<i4").tobytes(),
            ((ends - lengths) * dtype.itemsize).astype("<i8").tobytes(),
            np.arange(len(ends) + 1, dtype="<i8").tobytes(),
        ]
    )
