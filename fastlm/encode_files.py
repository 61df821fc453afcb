"""Files of text to one memory-mappable array of ids."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any, TypeAlias

import numpy as np

from fastlm._scan import InvalidUTF8Error
from fastlm.blocks import Block, Blocks
from fastlm.formats.atomic import replacing
from fastlm.threads import map_in_order, thread_count
from fastlm.tokenizer import Tokenizer

Progress: TypeAlias = Callable[[int, int], None]
"""Called with the bytes encoded so far, and of how many."""


def id_type(vocabulary_length: int) -> np.dtype[Any]:
    """uint16 where every id fits, else uint32; little-endian."""
    return np.dtype("<u2") if vocabulary_length <= 1 << 16 else np.dtype("<u4")


def encode_files(
    tokenizer: Tokenizer,
    paths: Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    *,
    num_threads: int | None = None,
    progress: Progress | None = None,
) -> int:
    """Writes the ids of UTF-8 files, one after the other, to a .npy file; returns how many there are.

    The array is one-dimensional, of id_type, and can be opened with numpy.load(out, mmap_mode="r"). Memory stays
    bounded whatever the size of the files; `out` appears when it is complete. No pretoken crosses from one file to the
    next, and nothing is put between them.

    Raises OSError for files that cannot be read or written, ValueError naming file and offset of bytes that are not
    UTF-8.
    """
    dtype = id_type(len(tokenizer.vocabulary))
    blocks = _blocks(tokenizer, paths)
    encoded = written = 0

    def ids_of(block: Block) -> tuple[np.ndarray[Any, np.dtype[Any]], int]:
        try:
            return tokenizer.encode_to_numpy(bytes(block.text)).astype(dtype), len(block.text)
        except InvalidUTF8Error as error:
            raise block.located(error) from None
        finally:
            block.release()

    with replacing(Path(out)) as file:
        _write_header(file, dtype, 0)
        start = file.tell()
        for ids, size in map_in_order(ids_of, blocks, thread_count(num_threads)):
            file.write(ids.data)
            written += len(ids)
            encoded += size
            if progress:
                progress(encoded, blocks.total_bytes or 0)
        file.seek(0)
        _write_header(file, dtype, written)
        if file.tell() != start:
            raise OSError(f"{out}: the header of {written} ids does not take the room of an empty array's")
    return written


def _write_header(file: IO[bytes], dtype: np.dtype[Any], length: int) -> None:
    """The header of a .npy file; numpy leaves room in it for a longer shape."""
    description = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": (length,)}
    np.lib.format.write_array_header_1_0(file, description)


def count_file(tokenizer: Tokenizer, path: str | os.PathLike[str]) -> int:
    """Number of ids of a UTF-8 file, in bounded memory. Raises as encode_files."""
    total = 0
    for block in _blocks(tokenizer, [path]):
        try:
            total += tokenizer.count(bytes(block.text))
        except InvalidUTF8Error as error:
            raise block.located(error) from None
        finally:
            block.release()
    return total


def _blocks(tokenizer: Tokenizer, paths: Sequence[str | os.PathLike[str]]) -> Blocks:
    if isinstance(paths, str | os.PathLike):
        raise TypeError("paths must be a list of paths, not one path")
    return Blocks([Path(path) for path in paths], tokenizer.cutter)
