"""Where a text that is still arriving may be cut, so that its parts have the pretokens of the whole."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import TypeAlias

import numpy as np

from fastlm._types import Int64Array
from fastlm.pretokenize.patterns import Pattern
from fastlm.text._added_tokens import SpecialFinder
from fastlm.text._utf8 import Utf8

Cuts: TypeAlias = SpecialFinder | Int64Array | None
"""What cuts a text: a finder of added tokens; rows of start, end and id; or nothing."""

# a contraction has 3 bytes and a character at most 4: what lies this far behind a pretoken's start cannot move it
LOOKAHEAD = 8
# a part that is worth a thread's while
SMALLEST_PART = 1 << 16
# a cut is safe because of two characters, and of the place where it was looked for: nothing else about it matters
DECISIVE = 16
# so many bytes before the place where a part should end a safe one is looked for
SEARCHED = 4096

DOCUMENT_END = -1
"""In the place of a special token's index: here a document ends."""


class Cutter:
    """Finds what cuts a text, special tokens and a separator of documents, and safe places to cut it. Immutable.

    whole_text: a document is never cut, nor searched for special tokens. normalizes: the text is normalized before it
    is split, so a cut must not part what that joins. separator: stands between two documents; it may be a special
    token. Raises ValueError where it is empty.
    """

    def __init__(
        self,
        special_tokens: Sequence[str],
        pattern: Pattern,
        whole_text: bool = False,
        normalizes: bool = False,
        separator: str | None = None,
    ) -> None:
        self.special_tokens = () if whole_text else tuple(special_tokens)
        between = () if separator is None or separator in self.special_tokens else (separator,)
        tokens = (*self.special_tokens, *between)
        self.finder = SpecialFinder([token.encode() for token in tokens])
        self.pattern, self.whole_text, self.normalizes, self.separator = pattern, whole_text, normalizes, separator
        self._separator = DOCUMENT_END if separator is None else tokens.index(separator)

    def __reduce__(self) -> tuple[type[Cutter], tuple[object, ...]]:
        return Cutter, (self.special_tokens, self.pattern, self.whole_text, self.normalizes, self.separator)

    def separating(self, separator: str | None) -> Cutter:
        """The same with another separator, or none."""
        return Cutter(self.special_tokens, self.pattern, self.whole_text, self.normalizes, separator)

    def cuts(self, text: bytes | memoryview) -> Int64Array:
        """int64 (k, 3): start and end of what cuts a text, in order, and the index of the special token that it is, or
        DOCUMENT_END where it is the separator."""
        found = self.finder.find(text)
        if self._separator >= 0 and len(found):
            found[found[:, 2] == self._separator, 2] = DOCUMENT_END
        return found

    def partial_cuts(self, text: bytes | memoryview) -> tuple[Int64Array, int]:
        """The cuts up to the last safe place to cut a text that goes on, and that place; 0 where there is none.

        `text` must start at the start of a pretoken, and what follows the place is to be given again with more.
        """
        # a special token that starts later may turn out to be another, longer one, or none
        settled = len(text) - self.finder.longest
        found = self.cuts(text)
        found = found[found[:, 0] < settled]
        after = int(found[-1, 1]) if len(found) else 0
        return found, after + self._safe_start(memoryview(text)[after:], settled - LOOKAHEAD - after)

    def place_apart(self, window: bytes | memoryview) -> int:
        """Last place in a part of a text at which the text may be cut, whatever stands before and after the part.

        It is so far from special tokens and separators that those of each side are those of the whole; 0 where there
        is none.
        """
        view, reach = memoryview(window), self.reach
        cut = self._safe_start(view, len(view) - reach)
        while cut >= reach:
            if not len(self.finder.find(view[cut - reach : cut + reach])):
                return cut
            cut = self._safe_start(view, cut - 1)
        return 0

    @property
    def reach(self) -> int:
        """Bytes on either side of a place on which it depends whether `place_apart` gives it."""
        return DECISIVE + self.finder.longest

    def _safe_start(self, text: memoryview, limit: int) -> int:
        """Last place up to `limit` to cut a text that nothing cuts, or 0."""
        if self.whole_text:
            return 0
        while limit > 0:
            cut = self.pattern.safe_start(text, limit)
            # nothing composes with white space, nor moves across it
            if not self.normalizes or text[cut] in b" \n":
                return cut
            limit = cut - 1
        return 0


def segments_between(cuts: Int64Array, size: int) -> Int64Array:
    """int64 (k, 2): start and end of each stretch of a text of this size that lies between cuts."""
    starts = np.concatenate([[0], cuts[:, 1]])
    ends = np.concatenate([cuts[:, 0], [size]])
    return np.ascontiguousarray(np.stack([starts, ends], axis=1)[starts < ends])


def parts_of(text: Utf8, cuts: Cuts, pattern: Pattern, number: int) -> tuple[list[Utf8], Cuts | list[Cuts]]:
    """A whole text in about so many parts that have its pretokens, and what cuts them: the same, or of each its own.

    Where special tokens stand near the places to cut at, all of them are found first.
    """
    view, size = memoryview(text), max(SMALLEST_PART, len(text) // number + 1)
    if cuts is None or isinstance(cuts, SpecialFinder):
        places = _places_apart(view, cuts, pattern, size)
        if places is not None:
            return [text.part(*ends) for ends in itertools.pairwise([0, *places, len(text)])], cuts
        cuts = np.empty((0, 3), np.int64) if cuts is None else cuts.find(view)
    parts, cuts_of = [], []
    for start, stop, rows in _parts_between(view, cuts, pattern, size):
        parts.append(text.part(start, stop))
        cuts_of.append(rows - np.array([start, start, 0]) if len(rows) else None)
    return parts, cuts_of


def _places_apart(view: memoryview, finder: SpecialFinder | None, pattern: Pattern, size: int) -> list[int] | None:
    """Places to cut a text about each `size` bytes, far from any special token; None where there are none."""
    reach = DECISIVE + (finder.longest if finder else 0)
    places = [0]
    for wanted in range(size, len(view), size):
        start = max(places[-1], wanted - SEARCHED)
        cut = start + pattern.safe_start(view[start : wanted + DECISIVE], wanted - start)
        if cut < start + DECISIVE or (finder and len(finder.find(view[max(0, cut - reach) : cut + reach]))):
            return None
        places.append(cut)
    return places[1:]


def _parts_between(
    view: memoryview, cuts: Int64Array, pattern: Pattern, size: int
) -> Iterator[tuple[int, int, Int64Array]]:
    """(start, stop, cuts) of parts; `cuts` (k, 3) are start and end of what stands between pretokens, and an id."""
    start = first = 0
    for wanted in range(size, len(view), size):
        before = int(np.searchsorted(cuts[:, 0], wanted))  # cuts that start before the place
        stretch = max(start, int(cuts[before - 1, 1])) if before > first else start
        cut = stretch
        if stretch < wanted:
            stop = int(cuts[before, 0]) if before < len(cuts) else len(view)
            cut += pattern.safe_start(view[stretch:stop], wanted - stretch)
        if cut > start:
            yield start, cut, cuts[first:before]
            start, first = cut, before
    yield start, len(view), cuts[first:]


def utf8_parts(chunks: Iterator[str]) -> Iterator[str]:
    """The same text in parts that cut no surrogate pair in two."""
    held = ""
    for chunk in chunks:
        if not isinstance(chunk, str):
            raise TypeError(f"chunks must be str, not {type(chunk).__name__}")
        text = held + chunk
        held = text[-1:] if "\ud800" <= text[-1:] <= "\udbff" else ""
        yield text[: len(text) - len(held)]
    yield held
