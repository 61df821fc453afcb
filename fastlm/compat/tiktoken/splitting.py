"""Who splits a text by tiktoken's `pat_str`: a scanner where the pattern is a known one, else the `regex` module.

tiktoken gives an expression to Rust's fancy-regex; `expressions` translates it.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from fastlm._types import Int64Array
from fastlm.compat.tiktoken.expressions import translated
from fastlm.pretokenize.patterns import Pattern, find_pattern

if TYPE_CHECKING:
    from regex import Pattern as CompiledRegex

# how a spelling of GPT-2's split ends that leaves single blanks unmatched, as its scanner does not
UNFINISHED = r"|\s+(?!\S)"


class UncoveredTextError(Exception):
    """A pattern does not match all of a text."""


class RegexPattern(Pattern):
    """A pattern that the `regex` module runs."""

    @functools.cached_property
    def compiled(self) -> CompiledRegex[str]:
        return compiled_regex(self.regex)

    def find_ends(self, text: bytes) -> Int64Array:
        """End offset of each pretoken of UTF-8 text. Raises UncoveredTextError where some of it is in none."""
        decoded = text.decode()
        ends = [0]
        for start, end in self._spans(decoded):
            if start != ends[-1]:
                raise UncoveredTextError
            ends.append(end)
        if ends[-1] != len(decoded):
            raise UncoveredTextError
        if len(decoded) == len(text):
            return np.array(ends[1:], np.int64)
        byte_offsets = np.flatnonzero((np.frombuffer(text, np.uint8) & 0xC0) != 0x80)
        return np.append(byte_offsets, len(text))[ends[1:]].astype(np.int64)

    def pieces(self, text: str) -> list[bytes]:
        """The pretokens of a text; what lies between them is left out, as tiktoken does."""
        return [text[start:end].encode() for start, end in self._spans(text)]

    def _spans(self, text: str) -> Iterator[tuple[int, int]]:
        """(start, end) of each match that is not empty, in characters."""
        at = 0
        while at <= len(text):
            for match in self.compiled.finditer(text, at):
                start, end = match.span()
                if start == end:
                    # where fancy-regex matches nothing it goes on with the next character, `regex` with this one
                    at = end + 1
                    break
                yield start, end
            else:
                return


class OnePretoken(Pattern):
    """Takes a text for one pretoken."""

    def find_ends(self, text: bytes) -> Int64Array:
        return np.array([len(text)] if text else [], np.int64)


def splitting_pattern(pat_str: str) -> Pattern:
    """The pattern of an expression. Raises ValueError where it is none, or not one that `regex` can run."""
    if not pat_str.endswith(UNFINISHED):
        try:
            known = find_pattern((pat_str,))
        except ValueError:
            pass  # as yet: it may be one for fancy-regex only
        else:
            if known.scanner:
                return known
    compiled_regex(pat_str)
    return RegexPattern((pat_str,))


@functools.lru_cache(maxsize=64)
def compiled_regex(pat_str: str) -> CompiledRegex[str]:
    import regex

    try:
        compiled = regex.compile(translated(pat_str))
    except (regex.error, RecursionError, OverflowError) as error:
        raise ValueError(f"pattern {pat_str!r} is not a regular expression: {error}") from None
    warnings.warn(
        f"no scanner for the pattern {pat_str!r}: the regex module {regex.__version__} splits the text, slowly and by "
        "its own version of Unicode",
        stacklevel=5,
    )
    return compiled
