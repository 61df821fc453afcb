"""The vocabulary that training starts with, and the one that it produces."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fastlm._types import Int32Array, Int64Array
from fastlm.merging._merge_list import MergeList
from fastlm.pretokenize.patterns import Pattern
from fastlm.vocabulary.vocabulary import BYTE_ORDER, NO_ID, Vocabulary, vocabulary_from_ids, vocabulary_from_tokens


def new_vocabulary(special_tokens: Sequence[str], pattern: Pattern) -> Vocabulary:
    """A vocabulary of the special tokens and the 256 bytes in GPT-2's order, without merges."""
    tokens = [*(token.encode() for token in special_tokens), *(bytes([byte]) for byte in BYTE_ORDER)]
    return vocabulary_from_tokens(dict(enumerate(tokens)), [], special_tokens, pattern)


def check_can_grow(vocabulary: Vocabulary) -> None:
    """Raises ValueError unless the merges of a vocabulary alone decide the ids of a text."""
    rules = vocabulary.rules
    if rules.normalization or rules.add_prefix_space or vocabulary.pattern.changes_text:
        raise ValueError("a base that normalizes text, changes it or adds a prefix space cannot be trained further")
    if (vocabulary.byte_ids == NO_ID).any():
        raise ValueError("a base must have tokens for all 256 bytes")
    made, times = np.unique(vocabulary.merge_new, return_counts=True)
    if (times > 1).any():
        token_id = int(made[times > 1][0])
        raise ValueError(f"several merges of the base make token {token_id}, {vocabulary.bytes_of(token_id)!r}")
    others = np.setdiff1d(vocabulary.ordinary_ids, np.concatenate([vocabulary.byte_ids, vocabulary.merge_new]))
    if len(others):
        token_id = int(others[0])
        raise ValueError(f"no merge of the base makes token {token_id}, {vocabulary.bytes_of(token_id)!r}")


def byte_symbols(vocabulary: Vocabulary) -> Int32Array:
    """The symbol of each byte in training, int32 (256,); symbols are in the order of the ids of the bytes."""
    symbols = np.empty(256, np.int32)
    symbols[np.argsort(vocabulary.byte_ids)] = np.arange(256, dtype=np.int32)
    return symbols


def merges_of(vocabulary: Vocabulary) -> MergeList:
    """The merges of a vocabulary on symbols. Raises ValueError if a merge needs the result of a later one."""
    symbol_of = np.full(len(vocabulary), -1, np.int32)
    symbol_of[_ids_of_symbols(vocabulary)] = np.arange(256 + len(vocabulary.merge_new), dtype=np.int32)
    return MergeList(symbol_of[vocabulary.merge_left], symbol_of[vocabulary.merge_right])


def grown_vocabulary(vocabulary: Vocabulary, left: Int32Array, right: Int32Array) -> Vocabulary:
    """Adds merges to a vocabulary.

    Args:
        vocabulary: The base.
        left: All merges on symbols, int32 (n,); the first ones are the merges of the base.
        right: The same, int32 (n,).

    Returns:
        A vocabulary with these merges and a new id for the token that each new merge makes.

    Raises:
        ValueError: A merge makes a token that is there already.
    """
    known = len(vocabulary.merge_new)
    added = np.arange(len(vocabulary), len(vocabulary) + len(left) - known, dtype=np.uint32)
    ids = np.concatenate([_ids_of_symbols(vocabulary), added]).astype(np.uint32)
    tokens = dict(vocabulary.tokens)
    lefts, rights, news = ids[left], ids[right], ids[256:]
    reserved = {token.id for token in vocabulary.added_tokens}
    id_of = {token: token_id for token_id, token in tokens.items() if token_id not in reserved}
    for a, b, new in zip(lefts[known:].tolist(), rights[known:].tolist(), added.tolist(), strict=True):
        token = tokens[a] + tokens[b]
        if token in id_of:
            raise ValueError(f"a new merge makes {token!r}, which is already token {id_of[token]}")
        tokens[new] = token
        id_of[token] = new
    return vocabulary_from_ids(
        tokens, lefts, rights, news, vocabulary.added_tokens, vocabulary.pattern, vocabulary.rules
    )


def _ids_of_symbols(vocabulary: Vocabulary) -> Int64Array:
    ids: Int64Array = np.concatenate([np.sort(vocabulary.byte_ids), vocabulary.merge_new]).astype(np.int64)
    return ids
