"""Character properties and POSIX classes, in the Unicode version of the Oniguruma in tokenizers."""

from __future__ import annotations

import base64
import functools
import itertools
import zlib

import numpy as np
from numpy.typing import NDArray

from fastlm.pretokenize.oniguruma import unicode_data
from fastlm.pretokenize.oniguruma.code_points import LAST, Ranges

# the properties that the options for ASCII limit
_POSIX = (
    *("alnum", "alpha", "blank", "cntrl", "digit", "graph", "lower", "posixpunct", "print", "space", "upper"),
    *("word", "xdigit"),
)
_IGNORED = str.maketrans("", "", " -_")
CLUSTER_CLASSES = (
    *("other", "cr", "lf", "control", "extend", "joiner", "spacing", "prepend", "regional", "pictograph"),
    *("l", "v", "t", "lv", "lvt"),
)
"""Classes of characters that decide where grapheme clusters end, in the order of the enum in clusters.h."""


def find(name: str) -> Ranges | None:
    """The characters of the property of this name, None where there is none. Case, space, - and _ do not matter."""
    index = _names().get(name.translate(_IGNORED).lower())
    return None if index is None else _ranges(index)


def posix_name(name: str) -> str | None:
    """The POSIX class that a property name means, if it means one; the options for ASCII hold for these."""
    plain = name.translate(_IGNORED).lower()
    return plain if plain in _POSIX else None


def word_characters() -> Ranges:
    """The characters of \\w outside of sets; in sets there are a few less."""
    return _ranges(_names()["bare:word"])


@functools.cache
def cluster_classes() -> NDArray[np.uint8]:
    """For each code point its index in CLUSTER_CLASSES."""
    found = np.zeros(LAST + 1, np.uint8)
    for index, name in enumerate(CLUSTER_CLASSES[1:], 1):
        ranges = find(f"cluster:{name}")
        assert ranges is not None
        for first, last in ranges:
            found[first : last + 1] = index
    return found


@functools.cache
def _names() -> dict[str, int]:
    """Name -> index in the data."""
    return {name: index for index, names in enumerate(unicode_data.NAMES.split("\n")) for name in names.split()}


@functools.cache
def _data() -> list[str]:
    """For each set the gaps between the ends of its ranges."""
    return zlib.decompress(base64.b85decode(unicode_data.RANGES)).decode().split("\n")


@functools.cache
def _ranges(index: int) -> Ranges:
    ends = list(itertools.accumulate(int(gap, 16) for gap in _data()[index].split()))
    return tuple(zip(ends[::2], ends[1::2], strict=True))
