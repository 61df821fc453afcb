"""Vocabularies in tiktoken's form: the rank of each token, which is its ID, and no merges."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from fastlm.pretokenize.patterns import Pattern
from fastlm.vocabulary._rank_merges import merges_of_ranks
from fastlm.vocabulary.vocabulary import (
    AddedToken,
    Rules,
    Vocabulary,
    checked_special_tokens,
    checked_tokens,
    vocabulary_from_ids,
)


def vocabulary_from_ranks(
    ranks: Mapping[bytes, int],
    special_tokens: Mapping[str, int] | Iterable[str],
    pattern: Pattern,
    rules: Rules = Rules(ignore_merges=True),  # noqa: B008 - immutable
) -> Vocabulary:
    """Makes a vocabulary from ranks.

    Args:
        ranks: Token -> rank. A byte without a rank is an error when a text has it.
        special_tokens: Special token -> ID; or special tokens, which get the IDs after the largest rank.
        pattern: How texts are split into pretokens.
        rules: What else decides IDs.

    Raises:
        TypeError: A token, a rank or an ID has the wrong type.
        ValueError: A token, a rank or an ID does not fit the others.
    """
    tokens = checked_tokens({rank: token for token, rank in ranks.items()})
    if len(tokens) < len(ranks):
        seen: dict[int, bytes] = {}
        for token, rank in ranks.items():
            if seen.setdefault(rank, token) != token:
                raise ValueError(f"rank {rank} is given twice, to {seen[rank]!r} and {token!r}")
    order = sorted(tokens)
    ids = np.array(order, np.uint32)
    in_order = [tokens[rank] for rank in order]
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
    return vocabulary_from_ids(table, left, right, new, added, pattern, rules)


def ranks_of(vocabulary: Vocabulary) -> dict[bytes, int]:
    """Returns token -> rank of a vocabulary whose IDs are in the order of its merges.

    Raises:
        ValueError: They are in another order, or IDs depend on something that ranks do not express.
    """
    if vocabulary.rules != Rules(
        vocabulary.rules.ignore_merges, begin=vocabulary.rules.begin, end=vocabulary.rules.end
    ):
        raise ValueError(f"a rank file cannot express {vocabulary.rules}")
    ranks = {vocabulary.bytes_of(token_id): token_id for token_id in reversed(vocabulary.ordinary_ids.tolist())}
    again = vocabulary_from_ranks(ranks, {}, vocabulary.pattern)
    same = all(
        np.array_equal(getattr(again, name), getattr(vocabulary, name))
        for name in ("merge_left", "merge_right", "merge_new")
    )
    if not same:
        raise ValueError("the ids are not in order of merge rank, as a rank file needs")
    if not vocabulary.rules.ignore_merges and len(vocabulary.merge_new) + 256 != len(ranks):
        raise ValueError("some tokens are made by no merge, and a reader of a rank file would find them")
    return ranks


def _with_ids(special_tokens: Mapping[str, int] | Iterable[str], next_id: int) -> list[AddedToken]:
    """Returns special tokens as added tokens. Those without an ID get the IDs from `next_id` on."""
    if isinstance(special_tokens, Mapping):
        checked_special_tokens(special_tokens)
        for token, token_id in special_tokens.items():
            if not isinstance(token_id, int) or isinstance(token_id, bool) or token_id < 0:
                raise ValueError(f"special token {token!r} has id {token_id!r}, expected a non-negative integer")
        return [AddedToken(token, token_id) for token, token_id in special_tokens.items()]
    return [AddedToken(token, next_id + k) for k, token in enumerate(checked_special_tokens(special_tokens))]
