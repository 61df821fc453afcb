"""Rows of a matrix in a mapped file, read from the file.

A row that is read from the mapping makes the pages around it part of the process's memory: up to 2 MB, where the system
keeps files in large pages. An embedding of which few rows are needed would soon be in memory as a whole.
"""

from __future__ import annotations

import os
import weakref
from pathlib import Path
from typing import Self

import torch
from torch import Tensor

from fastlm.model.safetensors_file import DTYPES, read_header


class FileRows:
    """The rows of a matrix (V, D) in a file that stays open.

    Args:
        path: The file.
        start: Where the matrix begins, in bytes.
        dtype: Dtype of the matrix.
        width: Width of its rows, D.
    """

    def __init__(self, path: Path, start: int, dtype: torch.dtype, width: int) -> None:
        self._descriptor = os.open(path, os.O_RDONLY)
        weakref.finalize(self, os.close, self._descriptor)
        self._path, self._start, self._dtype = path, start, dtype
        self._row_bytes = width * dtype.itemsize

    @classmethod
    def of(cls, path: Path, name: str, weight: Tensor) -> Self | None:
        """The rows of a tensor of a safetensors file.

        Args:
            path: The file, which the safetensors package has opened before.
            name: Name of the tensor.
            weight: The tensor as it was loaded.

        Returns:
            The rows; None where the tensor was converted, or where the system cannot read a file at a position.
        """
        begin, entries = read_header(path)
        entry = entries[name]
        if entry["dtype"] != DTYPES[weight.dtype] or not hasattr(os, "pread"):
            return None
        return cls(path, begin + entry["data_offsets"][0], weight.dtype, weight.shape[1])

    def __call__(self, numbers: Tensor) -> Tensor:
        """Reads rows.

        Args:
            numbers: Numbers of rows, (N,).

        Returns:
            The rows, (N, D), in the dtype of the matrix.

        Raises:
            OSError: The file cannot be read, or it is shorter than before.
        """
        # pread has no position that a forked process would share
        parts = [
            os.pread(self._descriptor, self._row_bytes, self._start + row * self._row_bytes) for row in numbers.tolist()
        ]
        if any(len(part) != self._row_bytes for part in parts):
            raise OSError(f"{self._path}: is shorter than when the model was loaded")
        return torch.frombuffer(bytearray(b"".join(parts)), dtype=self._dtype).view(len(parts), -1)
