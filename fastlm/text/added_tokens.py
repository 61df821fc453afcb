"""Splits texts at added tokens, with their options for neighbouring words and whitespace.

The options have the same meaning as in Hugging Face's `tokenizers`. Time and memory are proportional to the text,
whatever the tokens are: `tokenizers` itself takes quadratic time for a token of whitespace with rstrip.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import Protocol, TypeAlias

import numpy as np

from fastlm._types import Int64Array, UInt8Array
from fastlm.text._added_rows import LSTRIP, RSTRIP, SINGLE_WORD, WHITESPACE, WORD, with_options
from fastlm.text._token_finder import TokenFinder
from fastlm.text.char_classes import members

Split: TypeAlias = tuple[int, int, int | None]
"""A span of a text, in characters: its start, its end, and the ID of the added token that it is, or None."""


class Token(Protocol):
    """An added token: see vocabulary.AddedToken."""

    @property
    def id(self) -> int: ...
    @property
    def single_word(self) -> bool: ...
    @property
    def lstrip(self) -> bool: ...
    @property
    def rstrip(self) -> bool: ...


class AddedTokenSplitter:
    """Splits texts at added tokens. Immutable.

    Args:
        tokens: The string to find -> the token that it is.
    """

    def __init__(self, tokens: Mapping[str, Token]) -> None:
        given = list(tokens.values())
        self._finder = TokenFinder([content.encode() for content in tokens])
        self._ids = np.array([token.id for token in given], np.int64)
        options = [SINGLE_WORD * token.single_word | LSTRIP * token.lstrip | RSTRIP * token.rstrip for token in given]
        self._options = np.array(options, np.uint8)

    def rows(self, text: bytes, recognised: frozenset[int]) -> Int64Array:
        """Finds the tokens in a text.

        A token with rstrip may reach over tokens of whitespace, which are found as well, so rows may overlap. A token
        with lstrip is left out if the token before it took all of it.

        Args:
            text: Well-formed UTF-8.
            recognised: IDs of the tokens that count. The others hide the tokens that they overlap.

        Returns:
            int64 (k, 3): start and end in bytes, and ID, of each token, in order. No token is empty.
        """
        rows = self._finder.find(text)
        if not len(rows):
            return rows
        kinds = _kinds_of_characters() if self._options.any() else _NO_KINDS
        return rows[: with_options(text, rows, self._options, self._ids, recognised, kinds)]

    def split(self, text: str, recognised: frozenset[int]) -> Iterator[Split]:
        """Yields each added token with a `recognised` ID, and each span between them, in order. No span is empty.

        Args:
            text: A text without lone surrogates.
            recognised: As `rows`, which says when spans overlap.
        """
        done = 0
        for start, end, token_id in self._found(text, recognised):
            if done < start:
                yield done, start, None
            yield start, end, token_id
            done = end
        if done < len(text):
            yield done, len(text), None

    def _found(self, text: str, recognised: frozenset[int]) -> Iterable[tuple[int, int, int]]:
        """Each token in a text: its start and end in characters, and its ID."""
        if not len(self._ids):
            return []
        encoded = text.encode()
        rows = self.rows(encoded, recognised)
        if len(rows) and len(encoded) != len(text):
            # for each byte the number of characters that begin before it
            begun = np.cumsum((np.frombuffer(encoded, np.uint8) & 0xC0) != 0x80)
            rows[:, 0] = begun.take(rows[:, 0]) - 1
            rows[:, 1] = begun.take(rows[:, 1] - 1)
        return map(tuple, rows.tolist())


@cache
def _kinds_of_characters() -> UInt8Array:
    """WORD and WHITESPACE of each code point, uint8 (0x110000,)."""
    return WORD * members("word").astype(np.uint8) | WHITESPACE * members("whitespace").astype(np.uint8)


# where no token has options, no character is looked up
_NO_KINDS: UInt8Array = np.zeros(0x110000, np.uint8)
