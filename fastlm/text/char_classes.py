"""Classes of characters that `tokenizers` tells apart, in its versions of Unicode."""

from __future__ import annotations

import base64
import functools
import zlib
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fastlm.text import char_class_data
from fastlm.text.whitespace import WHITESPACE

CharClass: TypeAlias = Literal["word", "punctuation", "numeric", "whitespace"]
"""The characters of \\w in Rust; ASCII punctuation and the property P; numbers; whitespace."""

_CODE_POINTS = 0x110000


@functools.cache
def members(name: CharClass) -> NDArray[np.bool_]:
    """Whether each code point is in a class, bool (0x110000,)."""
    found = np.zeros(_CODE_POINTS + 1, np.int8)
    if name == "whitespace":
        found[list(map(ord, WHITESPACE))] = 1
        return found[:-1].astype(bool)
    lines = zlib.decompress(base64.b85decode(char_class_data.RANGES)).decode().split("\n")
    gaps = lines[char_class_data.NAMES.split().index(name)].split()
    ends = np.cumsum([int(gap, 16) for gap in gaps])
    found[ends[::2]], found[ends[1::2]] = 1, -1
    return np.cumsum(found, dtype=np.int8)[:-1].astype(bool)
