"""Matrices in 8 and 4 bits, as `kernels.decode_lm` reads them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from fastlm.kernels import decode_lm as kernel

Float32Array = np.ndarray[Any, np.dtype[np.float32]]
Int8Array = np.ndarray[Any, np.dtype[np.int8]]
UInt8Array = np.ndarray[Any, np.dtype[np.uint8]]

INT4_GROUP = 32  # numbers of 4 bits that share a scale
# the greatest number of a group becomes one of these steps; the one with the least error is taken
_STEPS = (6.0, 6.5, 7.0, 7.5, 8.0)
# matrices are converted in blocks of about this many numbers, which bounds the memory
_BLOCK = 1 << 22


def to_int8(matrix: Tensor, stride: int, numbers: Int8Array, scales: Float32Array) -> None:
    """Writes a matrix, with rows padded to `stride`, into `numbers`, and one scale per group into `scales`."""
    groups = F.pad(matrix, (0, stride - matrix.shape[1])).view(-1, kernel.GROUP)
    scale = (groups.abs().amax(-1, keepdim=True) / kernel.LARGEST_INT8).clamp(min=1e-38)
    numbers[:] = (groups / scale).round().nan_to_num().flatten().numpy()  # the scale of a group with nan is nan
    scales[:] = scale.flatten().numpy()


def to_int4(matrix: Tensor, stride: int, nibbles: UInt8Array, scales: Float32Array) -> None:
    """Writes a matrix, with rows padded to `stride`, into `nibbles`, and one scale per 32 numbers into `scales`."""
    groups = F.pad(matrix, (0, stride - matrix.shape[1])).view(-1, INT4_GROUP)
    greatest = groups.abs().amax(-1, keepdim=True)
    best = torch.full_like(greatest, torch.inf)
    scale, rounded = torch.empty_like(greatest), torch.zeros_like(groups)
    for steps in _STEPS:
        trial = (greatest / steps).clamp(min=1e-38)
        numbers = (groups / trial).round().clamp(-kernel.LARGEST_INT4 - 1, kernel.LARGEST_INT4)
        error = (numbers * trial - groups).square().sum(-1, keepdim=True)
        # written so that a group with nan keeps the scale nan
        worse = error >= best
        scale, rounded = torch.where(worse, scale, trial), torch.where(worse, rounded, numbers)
        best = torch.where(worse, best, error)
    unsigned = (rounded.nan_to_num() + 8).to(torch.uint8).view(-1, 2, INT4_GROUP)
    nibbles[:] = (unsigned[:, 0] | (unsigned[:, 1] << 4)).flatten().numpy()
    scales[:] = scale.flatten().numpy()


def quantize(matrix: Tensor, stride: int, kind: int, numbers: Any, scales: Float32Array) -> None:
    """Writes a matrix of any floating dtype as INT8 or INT4, some rows at a time."""
    rows = max(1, _BLOCK // stride)
    convert, bytes_per_row = (to_int8, stride) if kind == kernel.INT8 else (to_int4, stride // 2)
    scales_per_row = stride // (kernel.GROUP if kind == kernel.INT8 else INT4_GROUP)
    for first in range(0, len(matrix), rows):
        last = min(first + rows, len(matrix))
        of_numbers = numbers[first * bytes_per_row : last * bytes_per_row]
        convert(matrix[first:last].float(), stride, of_numbers, scales[first * scales_per_row : last * scales_per_row])
