"""Who splits a text by tiktoken's `pat_str`: a scanner where the pattern is a known one, else the `regex` module.

tiktoken gives an expression to Rust's fancy-regex; `expressions` translates it.
"""

from __future__ import annotations

import functools

import numpy as np

from fastlm._types import Int64Array
from fastlm.compat.tiktoken.expressions import translated
from fastlm.pretokenize.patterns import Pattern, find_pattern
from fastlm.pretokenize.regex_splitter import RegexSplitter, byte_offsets

# how a spelling of GPT-2's split ends that leaves single blanks unmatched, as its scanner does not
UNFINISHED = r"|\s+(?!\S)"


class UncoveredTextError(Exception):
    """A pattern does not match all of a text."""


class RegexPattern(Pattern):
    """A pattern that the `regex` module runs."""

    def find_ends(self, text: bytes) -> Int64Array:
        """End offset of each pretoken of UTF-8 text. Raises UncoveredTextError where some of it is in none."""
        decoded = text.decode()
        ends = [0]
        for start, end in regex_splitter(self.regex).matches(decoded):
            if start != ends[-1]:
                raise UncoveredTextError
            ends.append(end)
        if ends[-1] != len(decoded):
            raise UncoveredTextError
        return byte_offsets(text, decoded, ends[1:])

    def pieces(self, text: str) -> list[bytes]:
        """The pretokens of a text; what lies between them is left out, as tiktoken does."""
        return [text[start:end].encode() for start, end in regex_splitter(self.regex).matches(text)]


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
    regex_splitter(pat_str)
    return RegexPattern((pat_str,))


@functools.lru_cache(maxsize=64)
def regex_splitter(pat_str: str) -> RegexSplitter:
    """The splitter of an expression of fancy-regex. Raises ValueError if it is not one, or not supported."""
    return RegexSplitter((pat_str,), translated, stacklevel=4)
