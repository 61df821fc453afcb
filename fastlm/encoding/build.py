"""The native encoder of a vocabulary."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fastlm._types import Int64Array
from fastlm.pretokenize import _scan
from fastlm.vocabulary.vocabulary import Vocabulary

if TYPE_CHECKING:
    from fastlm.encoding._encoder import Encoder


def encoder_of(vocabulary: Vocabulary, whole: Int64Array | None = None) -> Encoder:
    """An encoder. `whole` are the ids that a pretoken of just their bytes becomes; without it, all but the added
    tokens' where the rules ignore merges.

    Raises ValueError for a vocabulary whose merges or tokens cannot be looked up.
    """
    # numba takes longer to import than everything else together, so only encoding pays for it
    from fastlm.encoding._encoder import Encoder
    from fastlm.kernels import bpe

    v = vocabulary
    if whole is None:
        whole = v.ordinary_ids if v.rules.ignore_merges else np.empty(0, np.int64)
    return Encoder(
        v.token_bytes,
        v.token_offsets,
        v.merge_left,
        v.merge_right,
        v.merge_new,
        v.byte_ids,
        v.rules.unknown_bytes == "drop",
        whole,
        _scan.scanner(v.pattern.scanner) if v.pattern.scanner else None,
        v.pattern.find_ends,
        bpe.compiled(),
    )
