"""Unicode normalisation form C as Hugging Face's `tokenizers` computes it.

Its tables are older than CPython's: combining marks that Unicode has assigned since are plain characters to it, which
neither move nor compose. Elsewhere the two agree, since what a character composes to never changes once assigned.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Iterator

# combining or composing characters that tokenizers 0.23 does not know as such; tools/check_normalization.py finds them
_UNKNOWN_MARKS = (
    "\\u05c8-\\u05c9\\u07fd\\u0897-\\u089f\\u08ca-\\u08d3\\u09fe\\u0c3c\\u0d3b-\\u0d3c\\u0eba\\u1715\\u1abf-\\u1af0"
    "\\u1df6-\\u1dfa\\ua82c\\U00010d24-\\U00010d27\\U00010d69-\\U00010d6d\\U00010eab-\\U00010eac\\U00010ecb-\\U00010ecf"
    "\\U00010ef0-\\U00010efb\\U00010efd-\\U00010eff\\U00010f46-\\U00010f50\\U00010f82-\\U00010f85\\U00011070\\U0001133b"
    "\\U000113b8\\U000113bb\\U000113c2\\U000113c5\\U000113c7-\\U000113c9\\U000113ce-\\U000113d0\\U0001145e"
    "\\U00011839-\\U0001183a\\U00011930\\U0001193d-\\U0001193e\\U00011943\\U000119e0\\U00011a34\\U00011a47\\U00011a99"
    "\\U00011d42\\U00011d44-\\U00011d45\\U00011d97\\U00011f41-\\U00011f42\\U0001611e-\\U00016129\\U0001612f"
    "\\U00016d67-\\U00016d68\\U00016ff0-\\U00016ff1\\U0001d127-\\U0001d128\\U0001d250-\\U0001d252\\U0001d25b-\\U0001d25c"
    "\\U0001d25f\\U0001d280-\\U0001d281\\U0001e08f\\U0001e130-\\U0001e136\\U0001e2ae\\U0001e2ec-\\U0001e2ef"
    "\\U0001e4ec-\\U0001e4ef\\U0001e5ee-\\U0001e5ef\\U0001e6e3\\U0001e6e6\\U0001e6ee-\\U0001e6ef\\U0001e6f5"
)


@functools.cache
def _unknown_marks() -> re.Pattern[str]:
    return re.compile(f"([{_UNKNOWN_MARKS}]+)")


def is_nfc(text: str) -> bool:
    """True only where `nfc` leaves a text as it is; with marks that are plain characters here it may be False there."""
    # what is in form C by newer tables is so by older ones: a mark less moves and composes nothing
    return text.isascii() or unicodedata.is_normalized("NFC", text)


def nfc(text: str) -> str:
    """The text in normalisation form C (Unicode Standard Annex 15)."""
    if is_nfc(text):
        return text
    return "".join(unicodedata.normalize("NFC", part) for part in _unknown_marks().split(text))


def aligned_nfc(text: str) -> tuple[str, list[int]]:
    """The text in form C and, for each of its characters, the index of the one that it comes from.

    As tokenizers tells it: what is composed comes from its first character alone, and where a character takes up more
    room than before, what was added comes from the character before it.
    """
    changes = _recomposed(_in_canonical_order(_decomposed(text)))
    origins, at = [], 0
    for _, change in changes:
        origins.append(max(at - 1, 0) if change > 0 else at)
        # a change of -k stands for k characters more than the one that is replaced
        at += 0 if change > 0 else 1 - change
    return "".join(char for char, _ in changes), origins


# a character and by how many its text has grown with it
_Change = tuple[str, int]


def _class(char: str) -> int:
    return 0 if _unknown_marks().match(char) else unicodedata.combining(char)


def _decomposed(text: str) -> Iterator[_Change]:
    for char in text:
        parts = unicodedata.normalize("NFD", char)
        if any(map(_unknown_marks().match, parts)):
            parts = char
        for k, part in enumerate(parts):
            yield part, int(k > 0)


def _in_canonical_order(changes: Iterator[_Change]) -> Iterator[_Change]:
    """Runs of combining characters sorted by their class (Unicode Standard, D109)."""
    run: list[_Change] = []
    for change in changes:
        if _class(change[0]):
            run.append(change)
            continue
        yield from sorted(run, key=lambda change: _class(change[0]))
        run.clear()
        yield change
    yield from sorted(run, key=lambda change: _class(change[0]))


def _recomposed(changes: Iterator[_Change]) -> list[_Change]:
    """Characters joined with the last starter unless something between blocks them (Unicode Standard, D117)."""
    result: list[_Change] = []
    starter, last_class = -1, 0
    for char, change in changes:
        this_class = _class(char)
        adjacent = starter == len(result) - 1
        if starter >= 0 and (adjacent or last_class < this_class):
            composed = nfc(result[starter][0] + char)
            if len(composed) == 1:
                result[starter] = composed, result[starter][1] + change - 1
                continue
        if this_class == 0:
            starter = len(result)
        last_class = this_class
        result.append((char, change))
    return result
