"""Splits texts at added tokens, with their options for neighbouring words and whitespace.

The options have the same meaning as in Hugging Face's `tokenizers`. Time and memory are proportional to the text,
whatever the tokens are: `tokenizers` itself takes quadratic time for a token of whitespace with rstrip.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol, TypeAlias

from fastlm.text._token_finder import TokenFinder
from fastlm.text.char_classes import members
from fastlm.text.whitespace import WHITESPACE

Split: TypeAlias = tuple[int, int, int | None]
"""A span of a text, in characters: its start, its end, and the ID of the added token that it is, or None."""

_IS_WHITESPACE = frozenset(WHITESPACE)


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
        self._tokens = list(tokens.values())
        self._finder = TokenFinder([content.encode() for content in tokens])

    def split(self, text: str, recognised: frozenset[int]) -> Iterator[Split]:
        """Yields each added token with a `recognised` ID, and each span between them, in order. No span is empty.

        A token with rstrip may reach over tokens of whitespace, which are yielded as well, so spans may overlap. A
        token with lstrip is left out if the token before it took all of it.

        Args:
            text: A text without lone surrogates.
            recognised: IDs of the tokens to yield. The others hide the tokens that they overlap.
        """
        done = whitespace_end = 0
        for start, end, token in self._found(text):
            if token.id not in recognised or (token.single_word and _touches_word(text, start, end)):
                continue
            if token.lstrip:
                while start > done and text[start - 1] in _IS_WHITESPACE:
                    start -= 1
                start = max(start, done)
            if token.rstrip:
                # whitespace that an earlier token reached to is not read again
                whitespace_end = max(whitespace_end, end)
                while whitespace_end < len(text) and text[whitespace_end] in _IS_WHITESPACE:
                    whitespace_end += 1
                end = whitespace_end
            if start >= end:
                continue
            if done < start:
                yield done, start, None
            yield start, end, token.id
            done = end
        if done < len(text):
            yield done, len(text), None

    def _found(self, text: str) -> Iterator[tuple[int, int, Token]]:
        """Yields each token in a text, and its start and end in characters."""
        if not self._tokens:
            return
        encoded = text.encode()
        rows = self._finder.find(encoded)
        if len(encoded) == len(text):
            for start, end, index in rows.tolist():
                yield start, end, self._tokens[index]
            return
        byte = character = 0
        for start, end, index in rows.tolist():
            character += len(encoded[byte:start].decode())
            length = len(encoded[start:end].decode())
            yield character, character + length, self._tokens[index]
            character += length
            byte = end


def _touches_word(text: str, start: int, end: int) -> bool:
    """Whether a character that words consist of is next to a span."""
    is_word = members("word")
    return bool((start and is_word[ord(text[start - 1])]) or (end < len(text) and is_word[ord(text[end])]))
