"""A prefix of a trained vocabulary."""

from __future__ import annotations

import numpy as np

from fastlm.vocabulary.vocabulary import Vocabulary, assembled


def truncated_vocabulary(vocabulary: Vocabulary, size: int) -> Vocabulary:
    """The first `size` ids, and the merges that make them: what training to that size gives.

    Raises ValueError where the tokens beyond them are not those of the last merges.
    """
    dropped = len(vocabulary) - size
    kept = len(vocabulary.merge_new) - dropped
    if dropped < 0 or kept < 0:
        least = len(vocabulary) - len(vocabulary.merge_new)
        raise ValueError(f"vocab_size must be from {least} to {len(vocabulary)}, not {size}")
    others = np.setdiff1d(np.arange(size, len(vocabulary)), vocabulary.merge_new[kept:])
    if len(others):
        id = int(others[0])
        raise ValueError(f"token {id}, {vocabulary.bytes_of(id)!r}, is not of the last {dropped} merges")
    tokens = {id: token for id, token in vocabulary.tokens.items() if id < size}
    left, right, new = (ids[:kept] for ids in (vocabulary.merge_left, vocabulary.merge_right, vocabulary.merge_new))
    return assembled(tokens, left, right, new, vocabulary.added_tokens, vocabulary.pattern, vocabulary.rules)
