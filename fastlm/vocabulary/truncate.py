"""A prefix of a trained vocabulary."""

from __future__ import annotations

import numpy as np

from fastlm.vocabulary.vocabulary import Vocabulary, vocabulary_from_ids


def truncated_vocabulary(vocabulary: Vocabulary, size: int) -> Vocabulary:
    """Returns the vocabulary of the first `size` IDs: what training to that size gives.

    Raises:
        ValueError: The other IDs do not belong to the last merges.
    """
    dropped = len(vocabulary) - size
    kept = len(vocabulary.merge_new) - dropped
    if dropped < 0 or kept < 0:
        least = len(vocabulary) - len(vocabulary.merge_new)
        raise ValueError(f"vocab_size must be from {least} to {len(vocabulary)}, got {size}")
    others = np.setdiff1d(np.arange(size, len(vocabulary)), vocabulary.merge_new[kept:])
    if len(others):
        token_id = int(others[0])
        raise ValueError(
            f"token {token_id}, {vocabulary.bytes_of(token_id)!r}, is not made by one of the last {dropped} merges"
        )
    tokens = {token_id: token for token_id, token in vocabulary.tokens.items() if token_id < size}
    left, right, new = (ids[:kept] for ids in (vocabulary.merge_left, vocabulary.merge_right, vocabulary.merge_new))
    return vocabulary_from_ids(tokens, left, right, new, vocabulary.added_tokens, vocabulary.pattern, vocabulary.rules)
