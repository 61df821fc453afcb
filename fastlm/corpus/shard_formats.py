"""The files of a shard in each format.

bin: `NAME.bin` holds only the ids, little-endian uint16 as nanoGPT reads them, or uint32 where the vocabulary needs it.

npy: `NAME.npy` holds the same ids as a one-dimensional NumPy array. In both formats `NAME.index` holds, as
little-endian uint64, the number of ids of the shard up to each end of a document in it. The shard begins with the rest
of a document from the shard before, if the last entry of that shard's index is less than its length.

megatron: `NAME.bin` and `NAME.idx` as Megatron-LM reads them, with one sequence and one document for each document. The
ids are uint16 below 65,500 tokens, else int32, as Megatron's `DType.optimal_dtype` chooses.
"""

from __future__ import annotations

import io
from pathlib import Path
from tokenize import TokenError
from typing import Any, Literal, TypeAlias

import numpy as np

from fastlm._types import Int64Array
from fastlm.corpus.megatron import IDX, megatron_index, read_index

Format: TypeAlias = Literal["bin", "npy", "megatron"]
FORMATS = ("bin", "npy", "megatron")

INDEX = ".index"
_MEGATRON_WIDE = 65_500
_MEGATRON_DTYPES = (np.dtype("<u2"), np.dtype("<i4"))


def ids_suffix(shard_format: Format) -> str:
    """The suffix of the file of ids."""
    return ".npy" if shard_format == "npy" else ".bin"


def shard_name(split: str, number: int) -> str:
    """The name of a shard, without the suffixes of its files."""
    return f"{split}-{number:05}"


def shard_files(split: str, number: int, shard_format: Format) -> tuple[str, str]:
    """The names of the two files of a shard: of its ids, and of the ends of its documents."""
    name = shard_name(split, number)
    return name + ids_suffix(shard_format), name + (IDX if shard_format == "megatron" else INDEX)


def ids_dtype(shard_format: Format, vocabulary_length: int) -> np.dtype[Any]:
    """The dtype of ids. Raises ValueError where the format has none that holds them."""
    if shard_format != "megatron":
        return np.dtype("<u2") if vocabulary_length <= 1 << 16 else np.dtype("<u4")
    if vocabulary_length > 1 << 31:
        raise ValueError(f"ids of the format megatron have 31 bits; the vocabulary has {vocabulary_length} ids")
    return _MEGATRON_DTYPES[vocabulary_length >= _MEGATRON_WIDE]


def ids_header(shard_format: Format, dtype: np.dtype[Any], length: int) -> bytes:
    """The header of a file of ids. It has the same size for every length, because NumPy pads it for a longer shape."""
    if shard_format != "npy":
        return b""
    header = io.BytesIO()
    description = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": (length,)}
    np.lib.format.write_array_header_1_0(header, description)
    return header.getvalue()


# NumPy reads the header with Python's parser and tokenizer, and passes on what these raise
_HEADER_ERRORS = (ValueError, EOFError, OverflowError, TokenError, SyntaxError, TypeError, KeyError, RecursionError)


def map_npy(path: Path) -> np.ndarray[Any, np.dtype[Any]]:
    """The array of a .npy file, memory-mapped. Raises OSError, or ValueError that names a file of another format."""
    try:
        return np.lib.format.open_memmap(path, mode="r")
    except _HEADER_ERRORS as error:
        raise ValueError(f"{path}: not a .npy file of integers: {error}") from None


def map_ids(path: Path, shard_format: Format, dtype: np.dtype[Any]) -> np.ndarray[Any, np.dtype[Any]]:
    """The ids of a shard, memory-mapped. Raises OSError, or ValueError that names a file of another format."""
    size = path.stat().st_size
    if shard_format == "npy":
        array = map_npy(path)
        if array.ndim != 1 or array.dtype != dtype:
            raise ValueError(f"{path}: {array.dtype} of shape {array.shape}; expected one dimension of {dtype}")
        return array
    if size % dtype.itemsize:
        raise ValueError(f"{path}: {size} bytes; expected a multiple of {dtype.itemsize}, for ids of {dtype}")
    return np.memmap(path, dtype, "r") if size else np.empty(0, dtype)


def read_ends(path: Path) -> Int64Array:
    """Reads where documents end from an INDEX or IDX file.

    Returns:
        int64 (n,): the number of ids of the shard up to the end of each document.

    Raises:
        OSError: if the file cannot be read.
        ValueError: for a file of another form, with its name.
    """
    if path.suffix == INDEX:
        content = path.read_bytes()
        if len(content) % 8:
            raise ValueError(f"{path}: {len(content)} bytes; expected a multiple of 8, the size of an end")
        ends = np.frombuffer(content, "<u8")
        if np.any(ends > np.uint64(np.iinfo(np.int64).max)):
            raise ValueError(f"{path}: the end of a document is beyond 2^63 ids")
        return ends.astype(np.int64)
    index = read_index(path)
    ends = index.document_ends()
    if index.dtype not in _MEGATRON_DTYPES or path.read_bytes() != megatron_index(ends, index.dtype):
        raise ValueError(f"{path}: not the index of a shard with one sequence for each document")
    return ends
