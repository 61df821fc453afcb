"""Which characters a Unicode normalization form changes, in the pinned version of Unicode."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import numpy as np

from fastlm.pretokenize.oniguruma.code_points import Ranges
from fastlm.text._normalize import normalized

FORMS = ("NFC", "NFD", "NFKC", "NFKD")

# a mark of the highest combining class, before which normalization moves all other marks
_LAST_MARK = "\u0345"
_SURROGATES = range(0xD800, 0xE000)
_BLOCK = 256


@functools.cache
def active_characters(form: str) -> Ranges:
    """The characters that the form can change, move or compose. A text keeps all others, and they separate its parts.

    A browser may know a newer version of Unicode. Normalization of characters that both versions know is the same by
    Unicode's stability policy, so the page gives the browser only spans of these characters.
    """
    decomposition = "NFKD" if "K" in form else "NFD"
    active = np.zeros(0x110000, bool)
    for start in range(0, 0x110000, _BLOCK):
        characters = [chr(point) for point in range(start, start + _BLOCK) if _is_normalizable(point)]
        # a newline is inert, so one call normalizes all characters apart from each other
        given = [*characters, *(_LAST_MARK + character for character in characters)]
        for text, result in _changed(given, decomposition):
            active[[ord(text[-1]), *map(ord, result)]] = True
    active[ord(_LAST_MARK)] = True
    # Hangul syllables compose from jamo, which their decompositions contain
    edges = np.flatnonzero(np.diff(np.concatenate([[0], active.astype(np.int8), [0]])))
    return tuple(zip(edges[::2].tolist(), (edges[1::2] - 1).tolist(), strict=True))


def _is_normalizable(point: int) -> bool:
    return point != ord("\n") and point not in _SURROGATES


def _changed(texts: list[str], form: str) -> Iterator[tuple[str, str]]:
    """The texts that a form changes, and what they become."""
    joined = "\n".join(texts).encode()
    result = bytes(normalized(joined, form))  # type: ignore[arg-type]
    if result != joined:
        pairs = zip(texts, result.decode().split("\n"), strict=True)
        yield from ((text, made) for text, made in pairs if text != made)
