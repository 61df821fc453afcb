"""A mixing function, which turns numbers into numbers that look random."""

from __future__ import annotations

from typing import Any

import numpy as np

UInt64Array = np.ndarray[Any, np.dtype[np.uint64]]


def splitmix64(numbers: np.ndarray[Any, np.dtype[Any]]) -> UInt64Array:
    """The output of splitmix64 (Steele, Lea and Flood, 2014) for states, uint64 (n,). Different states differ in it."""
    mixed = numbers.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))
