"""Sets of code points as sorted ranges that neither overlap nor touch; both ends of a range belong to it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

Ranges: TypeAlias = tuple[tuple[int, int], ...]

LAST = 0x10FFFF
ALL: Ranges = ((0, LAST),)
ASCII: Ranges = ((0, 0x7F),)


def union(*sets: Iterable[tuple[int, int]]) -> Ranges:
    """The code points of any of the sets."""
    merged: list[tuple[int, int]] = []
    for first, last in sorted(pair for ranges in sets for pair in ranges):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = merged[-1][0], max(last, merged[-1][1])
        else:
            merged.append((first, last))
    return tuple(merged)


def complement(ranges: Ranges) -> Ranges:
    """The code points outside a set."""
    gaps = []
    start = 0
    for first, last in ranges:
        if start < first:
            gaps.append((start, first - 1))
        start = last + 1
    if start <= LAST:
        gaps.append((start, LAST))
    return tuple(gaps)


def intersection(left: Ranges, right: Ranges) -> Ranges:
    """The code points of both sets."""
    return complement(union(complement(left), complement(right)))


def contains(ranges: Ranges, code_point: int) -> bool:
    """Whether a code point is in a set."""
    return any(first <= code_point <= last for first, last in ranges)
