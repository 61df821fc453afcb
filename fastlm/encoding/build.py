"""The encoder of a vocabulary."""

from __future__ import annotations

import numpy as np

from fastlm._types import Int64Array
from fastlm.encoding._encoder import Encoder
from fastlm.kernels.merge import merge_kernel
from fastlm.vocabulary.vocabulary import Vocabulary


def encoder_of(vocabulary: Vocabulary, whole_tokens: Int64Array | None = None) -> Encoder:
    """Builds the encoder of a vocabulary.

    Args:
        vocabulary: The vocabulary.
        whole_tokens: int64 (k,): ids that a pretoken of just their bytes becomes, whatever the merges say. By default
            all ids except the ids of added tokens if the vocabulary's rules ignore merges, else none.

    Raises:
        ValueError: The vocabulary's merges or tokens cannot be looked up.
    """
    if whole_tokens is None:
        whole_tokens = vocabulary.ordinary_ids if vocabulary.rules.ignore_merges else np.empty(0, np.int64)
    return Encoder(vocabulary, merge_kernel(), whole_tokens)
