"""Vocabularies given as tiktoken gives them: the rank of each token, which is its id, and no merges."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from fastlm.pretokenize.patterns import Pattern
from fastlm.vocabulary._rank_merges import merges_of_ranks
from fastlm.vocabulary.vocabulary import (
    AddedToken,
    Rules,
    Vocabulary,
    assembled,
    checked_special_tokens,
    checked_tokens,
)


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
    text = np.frombuffer(b"".join(in_order) or b"\0", np.uint8)
    merges = merges_of_ranks(text, np.cumsum([0, *map(len, in_order)], dtype=np.int64))
    left, right, new = (ids[part] for part in merges)
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


def _with_ids(special_tokens: Mapping[str, int] | Iterable[str], next_id: int) -> list[AddedToken]:
    if isinstance(special_tokens, Mapping):
        checked_special_tokens(special_tokens)
        for token, id in special_tokens.items():
            if not isinstance(id, int) or isinstance(id, bool) or id < 0:
                raise ValueError(f"special token {token!r} has id {id!r}, expected a non-negative integer")
        return [AddedToken(token, id) for token, id in special_tokens.items()]
    return [AddedToken(token, next_id + k) for k, token in enumerate(checked_special_tokens(special_tokens))]
