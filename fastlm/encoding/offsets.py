"""The span of each token in the text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np

from fastlm._types import Int64Array, UInt32Array
from fastlm.encoding.text_pipeline import Span, TextPipeline, decoded_text
from fastlm.vocabulary.vocabulary import NO_ID, Vocabulary

Unit = Literal["character", "byte"]


def encode_with_spans(
    text: str | bytes,
    vocabulary: Vocabulary,
    pipeline: TextPipeline,
    encode: Callable[[bytes, Int64Array | None], UInt32Array],
    recognised: frozenset[int],
    unit: Unit = "character",
) -> tuple[UInt32Array, Int64Array]:
    """Encodes a text and finds the span of each token.

    A token whose bytes are a part of a character has the span of the character, as in tokenizers. In bytes it has its
    own span if the text is encoded as it is.

    Args:
        text: A str or UTF-8 bytes.
        vocabulary: The vocabulary.
        pipeline: The vocabulary's pipeline.
        encode: Returns the ids, uint32 (n,), of text without added tokens, and with the boundaries that it is given.
        recognised: Ids of the added tokens that become ids.
        unit: The unit of the spans.

    Returns:
        ids: uint32 (n_ids,).
        spans: int64 (n_ids, 2): start and end of each token in `text`.

    Raises:
        ValueError: The unit is unknown, or as TextPipeline.prepare.
        TypeError: As TextPipeline.prepare.
    """
    if unit not in ("character", "byte"):
        raise ValueError(f"unit must be 'character' or 'byte', got {unit!r}")
    decoded = decoded_text(text)
    ids: list[UInt32Array] = [np.empty(0, np.uint32)]
    token_spans: list[Int64Array] = [np.empty((0, 2), np.int64)]
    lengths = vocabulary.token_lengths
    byte_starts = _byte_starts(decoded) if unit == "byte" else None
    for span in pipeline.spans(decoded, recognised, with_origins=True):
        if span.token_id is not None:
            ids.append(np.array([span.token_id], np.uint32))
            found = np.array([[span.origins[0], span.origins[-1] + 1]], np.int64)
            token_spans.append(found if byte_starts is None else byte_starts[found])
            continue
        pretokens = pipeline.pretokens(span, with_origins=True)
        if pretokens is not None:
            boundaries = np.stack([pretokens.ends, pretokens.ends, np.full(len(pretokens.ends), -1)], axis=1)
            ids.append(encode(pretokens.text, boundaries))
            assert pretokens.first is not None
            assert pretokens.last is not None
            sizes = lengths.take(ids[-1])
            ends = np.cumsum(sizes)
            found = np.stack([pretokens.first[ends - sizes], pretokens.last[ends - 1] + 1], axis=1)
            token_spans.append(found if byte_starts is None else byte_starts[found])
            continue
        encoded = span.text.encode()
        ids.append(encode(encoded, None))
        # an index of another dtype ends the process where NumPy cannot allocate its buffer; `take` raises
        token_spans.append(_token_spans(span, encoded, lengths.take(ids[-1]), vocabulary, byte_starts))
    return np.concatenate(ids), np.concatenate(token_spans)


def _token_spans(
    span: Span, encoded: bytes, lengths: Int64Array, vocabulary: Vocabulary, byte_starts: Int64Array | None
) -> Int64Array:
    """Start and end in the text of the tokens of a span, which have these lengths in bytes."""
    text = np.frombuffer(encoded, np.uint8)
    ends = np.cumsum(lengths)
    starts = ends - lengths
    last = ends - 1
    if vocabulary.rules.unknown_bytes == "drop":
        # the tokens spell only the bytes that have an id
        kept = np.flatnonzero(vocabulary.byte_ids[text] != NO_ID)
        starts, last = kept[starts], kept[last]
    if byte_starts is not None and isinstance(span.origins, range):
        offset = byte_starts[span.origins.start]
        return np.stack([starts + offset, last + 1 + offset], axis=1)
    character = np.cumsum((text & 0xC0) != 0x80) - 1
    origins = np.asarray(span.origins, np.int64)
    spans = np.stack([origins[character[starts]], origins[character[last]] + 1], axis=1)
    return spans if byte_starts is None else byte_starts[spans]


def _byte_starts(text: str) -> Int64Array:
    """The start of each character in UTF-8, and the end of the last one."""
    encoded = np.frombuffer(text.encode(), np.uint8)
    return np.append(np.flatnonzero((encoded & 0xC0) != 0x80), len(encoded))
