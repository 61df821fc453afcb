"""Vocabularies given as tiktoken gives them: the rank of each token, which is its id, and no merges."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping

import numpy as np

from fastlm._ranks import merges_of_ranks
from fastlm._types import UInt32Array
from fastlm.patterns import Pattern
from fastlm.vocabulary import AddedToken, Rules, Vocabulary, assembled, checked_special_tokens, checked_tokens


def vocabulary_from_ranks(
    ranks: Mapping[bytes, int],
    special_tokens: Mapping[str, int] | Iterable[str],
    pattern: Pattern,
    rules: Rules = Rules(ignore_merges=True),  # noqa: B008 - immutable
) -> Vocabulary:
    """A vocabulary from token -> rank. Special tokens given without ids get those after the last.

    A byte that is no token is refused when a text has it. Raises ValueError naming the token or rank that does not fit,
    TypeError for one of the wrong type.
    """
    tokens = checked_tokens({rank: token for token, rank in ranks.items()})
    if len(tokens) < len(ranks):
        seen: dict[int, bytes] = {}
        for token, rank in ranks.items():
            if seen.setdefault(rank, token) != token:
                raise ValueError(f"rank {rank} is given twice, to {seen[rank]!r} and {token!r}")
    order = sorted(tokens)
    ids = np.array(order, np.uint32)
    in_order = [tokens[id] for id in order]
    left, right, new = (ids[part] for part in _merges(in_order))
    added = _with_ids(special_tokens, (order[-1] + 1) if order else 0)
    table = dict(tokens)
    for special in added:
        spelled = special.content.encode()
        if table.setdefault(special.id, spelled) != spelled:
            raise ValueError(f"special token {special.content!r} has id {special.id}, which is {table[special.id]!r}")
    checked_tokens(table)
    return assembled(table, left, right, new, added, pattern, rules)


def ranks_of(vocabulary: Vocabulary) -> dict[bytes, int]:
    """Token -> rank of a vocabulary whose ids are in the order in which its merges are done.

    Raises ValueError where they are not, or where encoding needs what ranks cannot say.
    """
    if vocabulary.rules != Rules(
        vocabulary.rules.ignore_merges, begin=vocabulary.rules.begin, end=vocabulary.rules.end
    ):
        raise ValueError(f"a rank file cannot say {vocabulary.rules}")
    ranks = {vocabulary.bytes_of(id): id for id in reversed(vocabulary.ordinary_ids.tolist())}
    again = vocabulary_from_ranks(ranks, {}, vocabulary.pattern)
    same = all(
        np.array_equal(getattr(again, name), getattr(vocabulary, name))
        for name in ("merge_left", "merge_right", "merge_new")
    )
    if not same:
        raise ValueError("the ids are not in order of merge rank, which a rank file takes for granted")
    if not vocabulary.rules.ignore_merges and len(vocabulary.merge_new) + 256 != len(ranks):
        raise ValueError("some tokens are made by no merge, and a rank file would say that they are found as they are")
    return ranks


def _merges(in_order: list[bytes]) -> tuple[UInt32Array, UInt32Array, UInt32Array]:
    """(left, right, new) of the merges that tokens in order of rank stand for, as indices into them."""
    text = np.frombuffer(b"".join(in_order) or b"\0", np.uint8)
    left, right, new = merges_of_ranks(text, np.cumsum([0, *map(len, in_order)], dtype=np.int64))
    if len(new) == sum(len(token) > 1 for token in in_order):
        return left, right, new
    index = {token: k for k, token in enumerate(in_order)}
    made = set(new.tolist())
    unmade = [token for k, token in enumerate(in_order) if len(token) > 1 and k not in made]
    if not any(_last_merge(token, index) for token in unmade):
        return left, right, new
    # a token may be made of one with a higher rank, which the native search takes not to be there yet
    found = [(*pair, index[token]) for token in in_order if (pair := _last_merge(token, index))]
    left, right, new = np.array(found, np.uint32).reshape(-1, 3).T
    return left, right, new


def _last_merge(token: bytes, index: Mapping[bytes, int]) -> tuple[int, int] | None:
    """The two tokens that merging by rank joins last where it makes this token of its bytes, or None."""
    if len(token) < 2 or not all(token[k : k + 1] in index for k in range(len(token))):
        return None
    end_of = list(range(1, len(token) + 1))
    start_before = list(range(-1, len(token) - 1))
    heap = [(index[token[k : k + 2]], k, k + 1, k + 2) for k in range(len(token) - 1) if token[k : k + 2] in index]
    heapq.heapify(heap)
    while heap:
        _, start, middle, end = heapq.heappop(heap)
        if end_of[start] != middle or end_of[middle] != end:
            continue
        if end - start == len(token):
            return index[token[:middle]], index[token[middle:]]
        end_of[start], end_of[middle] = end, -1
        if end < len(token):
            start_before[end] = start
        for first in (start_before[start], start):
            second = end_of[first] if first >= 0 else len(token)
            if second < len(token) and (joined := token[first : end_of[second]]) in index:
                heapq.heappush(heap, (index[joined], first, second, end_of[second]))
    return None


def _with_ids(special_tokens: Mapping[str, int] | Iterable[str], next_id: int) -> list[AddedToken]:
    if isinstance(special_tokens, Mapping):
        checked_special_tokens(special_tokens)
        for token, id in special_tokens.items():
            if not isinstance(id, int) or isinstance(id, bool) or id < 0:
                raise ValueError(f"special token {token!r} has id {id!r}, expected a non-negative integer")
        return [AddedToken(token, id) for token, id in special_tokens.items()]
    return [AddedToken(token, next_id + k) for k, token in enumerate(checked_special_tokens(special_tokens))]
