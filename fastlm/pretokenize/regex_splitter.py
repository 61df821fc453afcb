"""Splits texts with Python's `regex` module, for patterns that have no scanner."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from fastlm._types import Int64Array
from fastlm.forks import no_fork
from fastlm.pretokenize import _scan
from fastlm.pretokenize.regex_module import regex_module

if TYPE_CHECKING:
    from regex import Pattern as CompiledRegex


class RegexSplitter:
    """Splits texts by one or more regular expressions, each of which splits the parts that the previous one made.

    Warns that no scanner does the work.

    Args:
        expressions: The expressions, as the user wrote them.
        translate: Turns an expression into one for the `regex` module.
        stacklevel: For the warning, counted from this call.

    Raises:
        ValueError: An expression is not a regular expression, or `regex` is not installed.
    """

    def __init__(
        self, expressions: Sequence[str], translate: Callable[[str], str] | None = None, stacklevel: int = 2
    ) -> None:
        self._compiled = [compile_expression(expression, translate) for expression in expressions]
        regex = regex_module()
        warnings.warn(
            f"no scanner for the pattern {' then '.join(map(repr, expressions))}: the regex module "
            f"{regex.__version__} splits the text, slowly and by its own version of Unicode",
            stacklevel=stacklevel + 1,
        )

    def ends(self, text: bytes) -> Int64Array:
        """Returns the end of each pretoken, int64 (pretokens,), in bytes. Text that nothing matches becomes pretokens.

        Raises:
            InvalidUTF8Error: The text is not UTF-8.
        """
        decoded = _decoded(text)
        ends = [len(decoded)] if decoded else []
        for compiled in self._compiled:
            found = set(ends)
            start = 0
            for end in ends:
                for match in compiled.finditer(decoded[start:end]):
                    found.update((start + match.start(), start + match.end()))
                start = end
            found.discard(0)
            ends = sorted(found)
        return byte_offsets(text, decoded, ends)

    def matches(self, text: str) -> Iterator[tuple[int, int]]:
        """Yields start and end, in characters, of each match of the first expression that is not empty.

        After an empty match the search continues at the next character, as in fancy-regex.
        """
        at = 0
        while at <= len(text):
            for match in self._compiled[0].finditer(text, at):
                start, end = match.span()
                if start == end:
                    at = end + 1
                    break
                yield start, end
            else:
                return


def compile_expression(expression: str, translate: Callable[[str], str] | None = None) -> CompiledRegex[str]:
    """Compiles a regular expression. Raises ValueError if it is not one."""
    regex = regex_module()
    with no_fork:  # regex imports modules when it compiles
        try:
            if translate is not None:
                return regex.compile(translate(expression))
            # tiktoken and tokenizers take && in a class as intersection, which is the newer syntax of this module
            return regex.compile(expression, regex.VERSION1 if "&&" in expression else 0)
        except (regex.error, RecursionError, OverflowError) as error:
            raise ValueError(f"pattern {expression!r} is not a regular expression: {error}") from None


def byte_offsets(text: bytes, decoded: str, characters: Sequence[int]) -> Int64Array:
    """Returns the offset in bytes of each of these characters of a text, int64 (n,)."""
    indices = np.array(characters, np.int64)
    if len(decoded) == len(text):
        return indices
    starts = np.flatnonzero((np.frombuffer(text, np.uint8) & 0xC0) != 0x80)
    return np.append(starts, len(text))[indices].astype(np.int64, copy=False)


def _decoded(text: bytes) -> str:
    try:
        return text.decode()
    except UnicodeDecodeError as error:
        raise _scan.invalid_utf8(text, error.start) from None
