"""The encoder of a vocabulary."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fastlm._types import Int64Array
from fastlm.vocabulary.vocabulary import Vocabulary

if TYPE_CHECKING:
    from fastlm.encoding._encoder import Encoder


def encoder_of(vocabulary: Vocabulary, whole_tokens: Int64Array | None = None) -> Encoder:
    """Builds the encoder of a vocabulary.

    Args:
        vocabulary: The vocabulary.
        whole_tokens: int64 (k,): ids that a pretoken of just their bytes becomes, whatever the merges say. By default
            all ids but those of added tokens if the vocabulary's rules ignore merges, else none.

    Raises:
        ValueError: The vocabulary's merges or tokens cannot be looked up.
    """
    # importing numba takes longer than importing everything else together, so only encoding pays for it
    from fastlm.encoding._encoder import Encoder
    from fastlm.kernels import bpe

    if whole_tokens is None:
        whole_tokens = vocabulary.ordinary_ids if vocabulary.rules.ignore_merges else np.empty(0, np.int64)
    return Encoder(vocabulary, bpe.compiled(), whole_tokens)
