"""Where in a text each token stands."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np

from fastlm._types import Int64Array, UInt32Array
from fastlm.encoding.text_pipeline import Piece, Preparation, text_of
from fastlm.vocabulary.vocabulary import NO_ID, Vocabulary

Unit = Literal["character", "byte"]


def encode_with_spans(
    text: str | bytes,
    vocabulary: Vocabulary,
    preparation: Preparation,
    encode: Callable[[bytes], UInt32Array],
    recognised: frozenset[int],
    unit: Unit = "character",
) -> tuple[UInt32Array, Int64Array]:
    """(ids, spans), uint32 (n,) and int64 (n, 2): the start and end in `text` of each token; added tokens only with a
    `recognised` id. `encode` gives the ids of text without added tokens.

    A token whose bytes are part of a character has that whole character, as in tokenizers; in bytes it has its own,
    where the text is encoded as it is.
    """
    if unit not in ("character", "byte"):
        raise ValueError(f"unit must be 'character' or 'byte', not {unit!r}")
    decoded = text_of(text)
    ids: list[UInt32Array] = [np.empty(0, np.uint32)]
    spans: list[Int64Array] = [np.empty((0, 2), np.int64)]
    lengths = vocabulary.token_lengths
    byte_starts = _byte_starts(decoded) if unit == "byte" else None
    for piece in preparation.pieces(decoded, recognised):
        if piece.id is not None:
            ids.append(np.array([piece.id], np.uint32))
            found = np.array([[piece.origins[0], piece.origins[-1] + 1]], np.int64)
            spans.append(found if byte_starts is None else byte_starts[found])
            continue
        encoded = piece.text.encode()
        own = encode(encoded)
        ids.append(own)
        spans.append(_spans(piece, encoded, lengths[own], vocabulary, byte_starts))
    return np.concatenate(ids), np.concatenate(spans)


def _spans(
    piece: Piece, encoded: bytes, lengths: Int64Array, vocabulary: Vocabulary, byte_starts: Int64Array | None
) -> Int64Array:
    """Start and end in the text of the tokens, of these lengths in bytes, that a piece was encoded to."""
    text = np.frombuffer(encoded, np.uint8)
    ends = np.cumsum(lengths)
    starts = ends - lengths
    last = ends - 1
    if vocabulary.rules.unknown_bytes == "drop":
        # tokens are made of the bytes that were kept
        kept = np.flatnonzero(vocabulary.byte_ids[text] != NO_ID)
        starts, last = kept[starts], kept[last]
    if byte_starts is not None and isinstance(piece.origins, range):
        offset = byte_starts[piece.origins.start]
        return np.stack([starts + offset, last + 1 + offset], axis=1)
    character = np.cumsum((text & 0xC0) != 0x80) - 1
    origins = np.asarray(piece.origins, np.int64)
    spans = np.stack([origins[character[starts]], origins[character[last]] + 1], axis=1)
    return spans if byte_starts is None else byte_starts[spans]


def _byte_starts(text: str) -> Int64Array:
    """Where each character starts in UTF-8, and where the last one ends."""
    encoded = np.frombuffer(text.encode(), np.uint8)
    return np.append(np.flatnonzero((encoded & 0xC0) != 0x80), len(encoded))
