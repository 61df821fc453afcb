"""The vocabulary that training starts from, and the one that it produces."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fastlm._types import Int32Array, Int64Array
from fastlm.merging._merge_list import MergeList
from fastlm.pretokenize.patterns import Pattern
from fastlm.vocabulary.vocabulary import BYTE_ORDER, NO_ID, Vocabulary, assembled, vocabulary_from_tokens


def new_vocabulary(special_tokens: Sequence[str], pattern: Pattern) -> Vocabulary:
    """The special tokens, the 256 bytes in GPT-2's order, and no merges."""
    tokens = [*(token.encode() for token in special_tokens), *(bytes([byte]) for byte in BYTE_ORDER)]
    return vocabulary_from_tokens(dict(enumerate(tokens)), [], special_tokens, pattern)


def check_can_grow(vocabulary: Vocabulary) -> None:
    """Raises ValueError for a vocabulary in which the ids of a text are not those that its merges alone make."""
    rules = vocabulary.rules
    if rules.normalization or rules.add_prefix_space:
        raise ValueError("a base that normalizes text, or puts a blank before it, cannot be trained on")
    if (vocabulary.byte_ids == NO_ID).any():
        raise ValueError("a base must have all 256 bytes")
    made, times = np.unique(vocabulary.merge_new, return_counts=True)
    if (times > 1).any():
        id = int(made[times > 1][0])
        raise ValueError(f"several merges of the base make token {id}, {vocabulary.bytes_of(id)!r}")
    others = np.setdiff1d(vocabulary.ordinary_ids, np.concatenate([vocabulary.byte_ids, vocabulary.merge_new]))
    if len(others):
        id = int(others[0])
        raise ValueError(f"no merge of the base makes token {id}, {vocabulary.bytes_of(id)!r}")


def byte_symbols(vocabulary: Vocabulary) -> Int32Array:
    """Byte -> symbol in training, so that symbols of bytes are in the order of ids."""
    symbols = np.empty(256, np.int32)
    symbols[np.argsort(vocabulary.byte_ids)] = np.arange(256, dtype=np.int32)
    return symbols


def known_merges(vocabulary: Vocabulary) -> MergeList:
    """The merges of the vocabulary on symbols. Raises ValueError where one needs what only a later one makes."""
    symbol_of = np.full(len(vocabulary), -1, np.int32)
    symbol_of[_ids_of_symbols(vocabulary)] = np.arange(256 + len(vocabulary.merge_new), dtype=np.int32)
    return MergeList(symbol_of[vocabulary.merge_left], symbol_of[vocabulary.merge_right])


def grown_vocabulary(vocabulary: Vocabulary, left: Int32Array, right: Int32Array) -> Vocabulary:
    """The vocabulary with all these merges, the first of which it has, and a new id for what each other makes."""
    known = len(vocabulary.merge_new)
    added = np.arange(len(vocabulary), len(vocabulary) + len(left) - known, dtype=np.uint32)
    ids = np.concatenate([_ids_of_symbols(vocabulary), added]).astype(np.uint32)
    tokens = dict(vocabulary.tokens)
    lefts, rights, news = ids[left], ids[right], ids[256:]
    reserved = {token.id for token in vocabulary.added_tokens}
    id_of = {token: id for id, token in tokens.items() if id not in reserved}
    for a, b, new in zip(lefts[known:].tolist(), rights[known:].tolist(), added.tolist(), strict=True):
        token = tokens[a] + tokens[b]
        if token in id_of:
            raise ValueError(f"the base has a token {id_of[token]}, {token!r}, which its own merges do not make")
        tokens[new] = token
    return assembled(tokens, lefts, rights, news, vocabulary.added_tokens, vocabulary.pattern, vocabulary.rules)


def _ids_of_symbols(vocabulary: Vocabulary) -> Int64Array:
    ids: Int64Array = np.concatenate([np.sort(vocabulary.byte_ids), vocabulary.merge_new]).astype(np.int64)
    return ids
