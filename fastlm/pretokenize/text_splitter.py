"""Finds where a text may be cut so that its parts have the pretokens of the whole."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Literal, TypeAlias

import numpy as np

from fastlm._types import Int64Array
from fastlm.pretokenize.patterns import Pattern
from fastlm.text._token_finder import TokenFinder
from fastlm.text._utf8 import Utf8

Boundaries: TypeAlias = TokenFinder | Int64Array | None
"""Boundaries of a text: a finder of tokens; int64 (k, 3) rows of start, end and ID; or none."""

# a contraction has 3 bytes and a character at most 4, so text this far behind the start of a pretoken cannot move it
LOOKAHEAD_BYTES = 8
# whether a cut is safe depends on two characters, and on the place where the search for it began
DECISIVE_BYTES = 16
# a smaller chunk costs more to hand to a thread than the thread saves
MIN_CHUNK_BYTES = 1 << 16
# a safe cut is searched for in this many bytes before the place where a chunk should end
SEARCHED_BYTES = 4096

CutRule: TypeAlias = Literal["anywhere", "before_whitespace", "between_words"]
"""Where a text may be cut: anywhere; before a space or newline; or there, but only between printable ASCII."""

DOCUMENT_END = -1
"""Replaces the index of a special token in the boundary at the end of a document."""


class TextSplitter:
    """Finds special tokens and separators of documents in a text, and safe places to cut it. Immutable.

    Args:
        special_tokens: The special tokens.
        pattern: How texts are split into pretokens.
        whole_text: Documents are never cut, and special tokens are not searched for.
        cuts: Which of the places that the pattern allows are safe. Texts that are normalized before they are split
            have fewer of them.
        separator: The text between two documents, which may be a special token; or None.

    Raises:
        ValueError: The separator or a special token is empty.
    """

    def __init__(
        self,
        special_tokens: Sequence[str],
        pattern: Pattern,
        whole_text: bool = False,
        cuts: CutRule = "anywhere",
        separator: str | None = None,
    ) -> None:
        self.special_tokens = () if whole_text else tuple(special_tokens)
        between = () if separator is None or separator in self.special_tokens else (separator,)
        tokens = (*self.special_tokens, *between)
        self.finder = TokenFinder([token.encode() for token in tokens])
        self.pattern, self.whole_text, self.cuts, self.separator = pattern, whole_text, cuts, separator
        self._separator = DOCUMENT_END if separator is None else tokens.index(separator)

    def __reduce__(self) -> tuple[type[TextSplitter], tuple[object, ...]]:
        return TextSplitter, (self.special_tokens, self.pattern, self.whole_text, self.cuts, self.separator)

    def with_separator(self, separator: str | None) -> TextSplitter:
        """Returns the same splitter with another separator, or without one."""
        return TextSplitter(self.special_tokens, self.pattern, self.whole_text, self.cuts, separator)

    def boundaries(self, text: bytes | memoryview) -> Int64Array:
        """Finds special tokens and separators.

        Returns:
            int64 (k, 3): start, end, and the index of the special token, or DOCUMENT_END for the separator; in order.
        """
        found = self.finder.find(text)
        if self._separator >= 0 and len(found):
            found[found[:, 2] == self._separator, 2] = DOCUMENT_END
        return found

    def partial_boundaries(self, text: bytes | memoryview) -> tuple[Int64Array, int]:
        """Finds the boundaries in a text to which more will be added.

        Args:
            text: The text so far. It must start at the start of a pretoken.

        Returns:
            The boundaries up to the last safe place to cut the text, and this place, or 0 if none is known. The text
            after it must be given again, with more text.
        """
        # a special token that starts later may turn out to be a longer one, or none
        settled = len(text) - self.finder.longest
        found = self.boundaries(text)
        found = found[found[:, 0] < settled]
        after = int(found[-1, 1]) if len(found) else 0
        return found, after + self._safe_start(memoryview(text)[after:], settled - LOOKAHEAD_BYTES - after)

    def safe_boundary(self, window: bytes | memoryview) -> int:
        """Returns the last place in a part of a text where the text may be cut, whatever is before and after the part.

        Special tokens and separators are far enough away that the two sides have the same ones as the whole text.
        Returns 0 if no such place is known.
        """
        view, context = memoryview(window), self.context_bytes
        cut = self._safe_start(view, len(view) - context)
        while cut >= context:
            if not len(self.finder.find(view[cut - context : cut + context])):
                return cut
            cut = self._safe_start(view, cut - 1)
        return 0

    @property
    def context_bytes(self) -> int:
        """The bytes on either side of a place that decide whether `safe_boundary` returns it."""
        return DECISIVE_BYTES + self.finder.longest

    def _safe_start(self, text: memoryview, limit: int) -> int:
        """Returns the last safe place up to `limit` to cut a text without special tokens, or 0."""
        if self.whole_text:
            return 0
        while limit > 0:
            cut = self.pattern.safe_start(text, limit)
            if self._allows(text, cut):
                return cut
            limit = cut - 1
        return 0

    def _allows(self, text: memoryview, cut: int) -> bool:
        """Whether the rule for cuts allows this place, which starts a pretoken if texts are not normalized."""
        if self.cuts == "anywhere" or not cut:
            return True
        # no character composes with whitespace, or moves across it
        if text[cut] not in b" \n" or self.cuts == "before_whitespace":
            return text[cut] in b" \n"
        # other normalizers make and remove whitespace, but not next to such characters
        return _is_printable_ascii(text[cut - 1]) and _is_printable_ascii(text[cut + 1])


def _is_printable_ascii(byte: int) -> bool:
    return 0x20 < byte < 0x7F


def segments_between(boundaries: Int64Array, size: int) -> Int64Array:
    """Returns start and end of each span between boundaries of a text of `size` bytes, int64 (k, 2)."""
    starts = np.concatenate([[0], boundaries[:, 1]])
    ends = np.concatenate([boundaries[:, 0], [size]])
    return np.ascontiguousarray(np.stack([starts, ends], axis=1)[starts < ends])


def split_into_chunks(
    text: Utf8, boundaries: Boundaries, pattern: Pattern, number: int
) -> tuple[list[Utf8], Boundaries | list[Boundaries]]:
    """Splits a whole text into about `number` chunks that have the pretokens of the whole.

    If special tokens are close to the places where it should be cut, all special tokens are searched for first.

    Returns:
        The chunks, and their boundaries: one for all chunks, or a list with one for each.
    """
    view, size = memoryview(text), max(MIN_CHUNK_BYTES, len(text) // number + 1)
    if boundaries is None or isinstance(boundaries, TokenFinder):
        cuts = _cuts_far_from_tokens(view, boundaries, pattern, size)
        if cuts is not None:
            return [text.part(*ends) for ends in itertools.pairwise([0, *cuts, len(text)])], boundaries
        boundaries = np.empty((0, 3), np.int64) if boundaries is None else boundaries.find(view)
    chunks: list[Utf8] = []
    of_chunks: list[Boundaries] = []
    for start, stop, rows in _chunks_between(view, boundaries, pattern, size):
        chunks.append(text.part(start, stop))
        of_chunks.append(rows - np.array([start, start, 0]) if len(rows) else None)
    return chunks, of_chunks


def _cuts_far_from_tokens(
    view: memoryview, finder: TokenFinder | None, pattern: Pattern, size: int
) -> list[int] | None:
    """Returns places to cut a text about every `size` bytes, far from tokens; None if a place has no such cut."""
    context = DECISIVE_BYTES + (finder.longest if finder else 0)
    cuts = [0]
    for target in range(size, len(view), size):
        start = max(cuts[-1], target - SEARCHED_BYTES)
        cut = start + pattern.safe_start(view[start : target + DECISIVE_BYTES], target - start)
        near = view[max(0, cut - context) : cut + context]
        if cut < start + DECISIVE_BYTES or (finder and len(finder.find(near))):
            return None
        cuts.append(cut)
    return cuts[1:]


def _chunks_between(
    view: memoryview, boundaries: Int64Array, pattern: Pattern, size: int
) -> Iterator[tuple[int, int, Int64Array]]:
    """Yields start, stop and boundaries of chunks of about `size` bytes, for given boundaries."""
    start = first = 0
    for target in range(size, len(view), size):
        before = int(np.searchsorted(boundaries[:, 0], target))  # boundaries that start before the target
        span_start = max(start, int(boundaries[before - 1, 1])) if before > first else start
        cut = span_start
        if span_start < target:
            stop = int(boundaries[before, 0]) if before < len(boundaries) else len(view)
            cut += pattern.safe_start(view[span_start:stop], target - span_start)
        if cut > start:
            yield start, cut, boundaries[first:before]
            start, first = cut, before
    yield start, len(view), boundaries[first:]


def join_surrogates(chunks: Iterator[str]) -> Iterator[str]:
    """Yields the same text in parts none of which ends between the halves of a surrogate pair.

    Raises:
        TypeError: A chunk is not a str.
    """
    held = ""
    for chunk in chunks:
        if not isinstance(chunk, str):
            raise TypeError(f"chunks must be str, not {type(chunk).__name__}")
        text = held + chunk
        held = text[-1:] if "\ud800" <= text[-1:] <= "\udbff" else ""
        yield text[: len(text) - len(held)]
    yield held
