"""Text splitters for tiktoken's `pat_str`: a scanner for a known pattern, and otherwise the `regex` module.

tiktoken runs the expression with Rust's fancy-regex. The module `expressions` translates it for `regex`.
"""

from __future__ import annotations

import functools

import numpy as np

from fastlm._types import Int64Array
from fastlm.compat.tiktoken.expressions import translated
from fastlm.pretokenize.patterns import Pattern, find_pattern
from fastlm.pretokenize.regex_splitter import RegexSplitter, byte_offsets

# The end of a spelling of GPT-2's pattern that does not match single spaces. The scanner of the pattern matches them.
UNFINISHED = r"|\s+(?!\S)"


class UncoveredTextError(Exception):
    """A pattern does not match every character of a text."""


class RegexPattern(Pattern):
    """A pattern that the `regex` module runs."""

    def find_ends(self, text: bytes) -> Int64Array:
        """Finds the end of each pretoken.

        Args:
            text: UTF-8 text.

        Returns:
            The end of each pretoken, a byte offset, int64.

        Raises:
            UncoveredTextError: Some characters are in no pretoken.
        """
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
        """Returns the pretokens of a text as UTF-8. Text between them is left out, as in tiktoken."""
        return [text[start:end].encode() for start, end in regex_splitter(self.regex).matches(text)]


class OnePretoken(Pattern):
    """A pattern that takes each text as one pretoken."""

    def find_ends(self, text: bytes) -> Int64Array:
        """Returns the length of the text in bytes as the only end, int64; no end for an empty text."""
        return np.array([len(text)] if text else [], np.int64)


def splitting_pattern(pat_str: str) -> Pattern:
    """Makes the pattern of an expression.

    Args:
        pat_str: A regular expression of fancy-regex.

    Returns:
        The pattern.

    Raises:
        ValueError: The expression is malformed, or `regex` cannot run it.
    """
    if not pat_str.endswith(UNFINISHED):
        try:
            known = find_pattern((pat_str,))
        except ValueError:
            pass  # the expression may be valid in fancy-regex only
        else:
            if known.scanner:
                return known
    regex_splitter(pat_str)
    return RegexPattern((pat_str,))


@functools.lru_cache(maxsize=64)
def regex_splitter(pat_str: str) -> RegexSplitter:
    """Makes the splitter of an expression of fancy-regex. Raises ValueError if it is malformed or not supported."""
    return RegexSplitter((pat_str,), translated, stacklevel=4)
