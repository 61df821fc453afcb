"""Encoding of a text to which more text may be appended: the stable tokens, and the possible completions.

The last tokens of a text are unstable, because they may merge with text that follows. tiktoken's rules for the possible
completions are a convention. These functions follow the rules exactly.
"""

from __future__ import annotations

from bisect import bisect_left
from itertools import pairwise
from typing import Protocol

from fastlm.text._token_finder import TokenFinder
from fastlm.text._utf8 import utf8_bytes
from fastlm.text.whitespace import WHITESPACE

_BLANKS = frozenset(b" \n\t")
_WHITESPACE = frozenset(WHITESPACE)


class Ranks(Protocol):
    """The part of CoreBPE that these functions use."""

    @property
    def ordinary(self) -> dict[int, bytes]: ...
    @property
    def sorted_tokens(self) -> list[bytes]: ...

    def ids(self, text: str | bytes, boundaries: TokenFinder | None) -> list[int]: ...
    def merged(self, pieces: list[bytes]) -> tuple[list[int], list[int]]: ...
    def last_pretoken(self, text: bytes) -> bytes: ...
    def rank_of(self, token: bytes) -> int: ...
    def encode_single_piece(self, piece: bytes) -> list[int]: ...
    def decode_bytes(self, tokens: list[int]) -> bytes: ...


def encode_with_unstable(bpe: Ranks, text: str, boundaries: TokenFinder | None) -> tuple[list[int], list[list[int]]]:
    """Encodes a text to which more text may be appended.

    Args:
        bpe: Encodes and decodes.
        text: The text.
        boundaries: Finds the special tokens in the text; None for no special tokens.

    Returns:
        The stable ids, and the completions. Each completion is a list of ids that a longer text may have after the
        stable ids.
    """
    ids = bpe.ids(text, boundaries)
    size = _unstable_size(bpe, ids, utf8_bytes(text), boundaries)
    stable, unstable = ids[: len(ids) - size], bpe.decode_bytes(ids[len(ids) - size :])
    return stable, [list(ids) for ids in _completions(bpe, unstable)]


def encode_bytes(bpe: Ranks, text: bytes) -> list[int]:
    """Encodes bytes that may not be UTF-8.

    The last pretoken before the first invalid byte extends to the end of the bytes.

    Args:
        bpe: Encodes and decodes.
        text: The bytes.

    Returns:
        The token ids.
    """
    try:
        text.decode()
    except UnicodeDecodeError as error:
        valid = text[: error.start]
        ids = bpe.ids(valid, None)
        size = _unstable_size(bpe, ids, valid, None)
        rest = bpe.decode_bytes(ids[len(ids) - size :]) + text[error.start :]
        return ids[: len(ids) - size] + bpe.encode_single_piece(rest)
    return bpe.ids(text, None)


def _unstable_size(bpe: Ranks, ids: list[int], text: bytes, boundaries: TokenFinder | None) -> int:
    """The number of ids at the end that come from the last pretoken, or from the whitespace that it ends."""
    rows = [] if boundaries is None else boundaries.find(text).tolist()
    last = bpe.last_pretoken(text[rows[-1][1] :] if rows else text)
    if not last:
        return 0
    size = len(bpe.encode_single_piece(last))
    if _is_blank(bpe, ids[-size]):
        while size < len(ids) and _is_blank(bpe, ids[-size - 1]):
            size += 1
    return size


def _is_blank(bpe: Ranks, token_id: int) -> bool:
    token = bpe.ordinary.get(token_id)
    return token is not None and _BLANKS.issuperset(token)


def _completions(bpe: Ranks, unstable: bytes) -> set[tuple[int, ...]]:
    """The id sequences with which a text that starts with the unstable bytes may begin."""
    if not unstable:
        return set()
    completions: set[tuple[int, ...]] = {(bpe.rank_of(token),) for token in _tokens_from(bpe, unstable)}
    for at in range(1, len(unstable)):
        texts = [unstable[:at] + token for token in _tokens_from(bpe, unstable[at:])]
        completions.update(_beginnings(bpe, texts, len(unstable)))
    # following text may split off the whitespace at the end
    last = _last_character(unstable)
    if 0 < last < len(unstable) and unstable[-last:].decode() in _WHITESPACE:
        ids, _ = bpe.merged([unstable[:-last], unstable[-last:]])
        completions.add(tuple(ids))
    return completions


def _tokens_from(bpe: Ranks, prefix: bytes) -> list[bytes]:
    """The tokens that start with a prefix."""
    tokens = bpe.sorted_tokens
    start = end = bisect_left(tokens, prefix)
    while end < len(tokens) and tokens[end].startswith(prefix):
        end += 1
    return tokens[start:end]


def _beginnings(bpe: Ranks, texts: list[bytes], size: int) -> set[tuple[int, ...]]:
    """For each text, the shortest prefix of its ids with at least `size` bytes, or all its ids."""
    found = []
    merged = []
    for text in texts:
        try:
            text.decode()
        except UnicodeDecodeError:
            merged.append(text)
        else:
            found.append(bpe.ids(text, None))
    ids, offsets = bpe.merged(merged)
    found += [ids[start:end] for start, end in pairwise(offsets)]
    return {_shortest(bpe, one, size) for one in found}


def _shortest(bpe: Ranks, ids: list[int], size: int) -> tuple[int, ...]:
    total = 0
    for k, token_id in enumerate(ids, 1):
        total += len(bpe.ordinary[token_id])
        if total >= size:
            return tuple(ids[:k])
    return tuple(ids)


def _last_character(text: bytes) -> int:
    """The number of bytes of the last character of a text; 0 if the text does not end in valid UTF-8."""
    for size in range(1, 5):
        try:
            text[-size:].decode()
        except UnicodeDecodeError:
            continue
        return size
    return 0
