"""Arguments of encode calls: a str, or with is_pretokenized a list of words, and pairs of these."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastlm._arguments import items_of
from fastlm.compat.tokenizers.arguments import is_sequence

_TEXTS = "TextEncodeInput must be Union[TextInputSequence, Tuple[InputSequence, InputSequence]]"
_WORDS = "PreTokenizedInputSequence must be Union[List[str], Tuple[str]]"
_WORD_TEXTS = (
    "PreTokenizedEncodeInput must be Union[PreTokenizedInputSequence, "
    "Tuple[PreTokenizedInputSequence, PreTokenizedInputSequence]]"
)


# the words of one text; a text that is not split is its only word
Words = list[str]


def _is_text(text: Any) -> bool:
    if not isinstance(text, str):
        return False
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def one_text(text: Any) -> Words:
    """A text. Raises TypeError."""
    if not _is_text(text):
        raise TypeError("TextInputSequence must be str")
    return [text]


def _are_words(words: Any) -> bool:
    if isinstance(words, np.ndarray):
        return words.ndim == 1 and words.dtype.kind in "UO" and all(map(_is_text, words))
    return isinstance(words, list | tuple) and all(map(_is_text, words))


def one_of_words(words: Any) -> Words:
    """A text given as words. Raises TypeError."""
    if not _are_words(words):
        raise TypeError(_WORDS)
    return items_of(words)


def _pair(given: Any) -> list[Any] | None:
    """The two items of a sequence, or None for any other object."""
    if not is_sequence(given):
        return None
    items = list(itertools.islice(iter(given), 3))
    return items if len(items) == 2 else None


def text_or_pair(given: Any) -> list[Words]:
    """One text or two. Raises TypeError."""
    if _is_text(given):
        return [[given]]
    pair = _pair(given)
    if pair is not None and all(map(_is_text, pair)):
        return [[text] for text in pair]
    raise TypeError(_TEXTS)


def single_texts(given: Sequence[Any]) -> list[str] | None:
    """The items if each is a str that is one text, else None."""
    texts = list(given)
    if set(map(type, texts)) != {str}:
        return None
    return texts if all(map(str.isascii, texts)) or all(map(_is_text, texts)) else None


def words_or_pair(given: Any) -> list[Words]:
    """One text or two, each given as words. Raises TypeError."""
    if _are_words(given):
        return [items_of(given)]
    pair = _pair(given)
    if pair is not None and all(map(_are_words, pair)):
        return [items_of(words) for words in pair]
    raise TypeError(_WORD_TEXTS)
