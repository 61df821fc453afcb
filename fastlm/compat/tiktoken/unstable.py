"""What a text may yet become: tokens that more text cannot change, and how the rest may begin.

The end of a text is unstable: what follows may merge with it. tiktoken's rules for what may come of it are a
convention, which these functions follow to the letter.
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
    """What these functions need of a CoreBPE."""

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
    """(stable ids, completions): each completion is a list of ids that a longer text may have after the stable ones."""
    ids = bpe.ids(text, boundaries)
    size = _unstable_size(bpe, ids, utf8_bytes(text), boundaries)
    stable, unstable = ids[: len(ids) - size], bpe.decode_bytes(ids[len(ids) - size :])
    return stable, [list(ids) for ids in _completions(bpe, unstable)]


def encode_bytes(bpe: Ranks, text: bytes) -> list[int]:
    """Ids of bytes that may not be UTF-8: the last pretoken before the first byte that is not goes on to the end."""
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
    """How many of the last ids come from the last pretoken, or from the blanks that it ends."""
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
    if not unstable:
        return set()
    completions: set[tuple[int, ...]] = {(bpe.rank_of(token),) for token in _tokens_from(bpe, unstable)}
    for at in range(1, len(unstable)):
        texts = [unstable[:at] + token for token in _tokens_from(bpe, unstable[at:])]
        completions.update(_beginnings(bpe, texts, len(unstable)))
    # white space may be split off by what follows it
    last = _last_character(unstable)
    if 0 < last < len(unstable) and unstable[-last:].decode() in _WHITESPACE:
        ids, _ = bpe.merged([unstable[:-last], unstable[-last:]])
        completions.add(tuple(ids))
    return completions


def _tokens_from(bpe: Ranks, prefix: bytes) -> list[bytes]:
    """The tokens that begin with these bytes."""
    tokens = bpe.sorted_tokens
    start = end = bisect_left(tokens, prefix)
    while end < len(tokens) and tokens[end].startswith(prefix):
        end += 1
    return tokens[start:end]


def _beginnings(bpe: Ranks, texts: list[bytes], size: int) -> set[tuple[int, ...]]:
    """For each text the fewest of its first ids that have so many bytes, or all."""
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
    """Number of bytes of the character that ends a text, 0 where they are no UTF-8."""
    for size in range(1, 5):
        try:
            text[-size:].decode()
        except UnicodeDecodeError:
            continue
        return size
    return 0
