"""Sets of code points as the matcher reads them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fastlm.pretokenize.oniguruma.code_points import Ranges

_BMP = 0x10000


def sets(all_ranges: list[Ranges]) -> tuple[NDArray[np.uint8], NDArray[np.int32], NDArray[np.int32]]:
    """(bitmaps of the code points below U+10000, ranges beyond, where the ranges of each set start)."""
    bitmaps = np.zeros((len(all_ranges), _BMP // 8), np.uint8)
    astral: list[tuple[int, int]] = []
    starts = [0]
    for row, ranges in zip(bitmaps, all_ranges, strict=True):
        members = np.zeros(_BMP, np.uint8)
        for first, last in ranges:
            members[first : last + 1] = 1
        row[:] = np.packbits(members, bitorder="little")
        astral += [(max(first, _BMP), last) for first, last in ranges if last >= _BMP]
        starts.append(len(astral))
    return bitmaps, np.array(astral, np.int32).reshape(-1, 2), np.array(starts, np.int32)
