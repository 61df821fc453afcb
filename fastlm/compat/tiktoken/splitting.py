"""Who splits a text by tiktoken's `pat_str`: a scanner where the pattern is a known one, else the `regex` module.

tiktoken gives an expression to Rust's fancy-regex. What a `regex` of Python would read differently is translated.
"""

from __future__ import annotations

import functools
import re
import warnings
from typing import TYPE_CHECKING

import numpy as np

from fastlm._types import Int64Array
from fastlm.patterns import Pattern, find_pattern

if TYPE_CHECKING:
    from regex import Pattern as CompiledRegex

# what stands for itself or means the same in both, where it is not translated below
_PARTS = re.compile(r"\\x\{[0-9A-Fa-f]+\}|\\u\{[0-9A-Fa-f]+\}|\\.|&&|--|~~|\(\?[a-zA-Z-]+[:)]|.", re.DOTALL)


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
        for match in self.compiled.finditer(decoded):
            start, end = match.span()
            if start < end:
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
        return [match.group().encode() for match in self.compiled.finditer(text) if match.group()]


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


def translated(pat_str: str) -> str:
    """An expression of fancy-regex as one for `regex`.

    They differ in what means the end of a text, in code points in braces, in sets within sets.
    """
    parts: list[str] = []
    depth = 0  # of sets within sets
    is_first = multiline = has_set_operations = False
    for part in _PARTS.findall(pat_str):
        was_first, is_first = is_first, False
        if part.startswith((r"\x{", r"\u{")):
            code = int(part[3:-1], 16)
            if code > 0x10FFFF or 0xD800 <= code < 0xE000:
                raise ValueError(f"pattern {pat_str!r} names {part}, which is no character")
            part = re.escape(chr(code))
        elif part == "[":
            has_set_operations = has_set_operations or depth > 0
            depth, is_first = depth + 1, True
        elif depth:
            if part == "]" and not was_first:
                depth -= 1
            has_set_operations = has_set_operations or part in ("&&", "--", "~~")
            is_first = was_first and part == "^"
        elif part == r"\z" or (part == "$" and not multiline):
            part = r"\Z"
        elif part == r"\k":
            part = r"\g"
        elif part == r"\Z":
            part = r"(?=\n*\Z)"
        elif part.startswith("(?") and "m" in part.split("-")[0]:
            multiline = True
        parts.append(part)
    # version 1 of the module's syntax knows sets of sets; it also folds case fully unless told not to
    return ("(?V1-f)" if has_set_operations else "") + "".join(parts)
