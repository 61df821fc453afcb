"""The span of each token in the text."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Literal

import numpy as np

from fastlm._types import Int64Array, UInt8Array, UInt32Array
from fastlm.encoding._token_spans import token_spans
from fastlm.encoding.text_pipeline import OnSpecial, Span, TextPipeline, decoded_text
from fastlm.vocabulary.vocabulary import NO_ID, Vocabulary

if TYPE_CHECKING:
    from fastlm.pretokenize.text_splitter import Boundaries

Unit = Literal["character", "byte"]

# tokens whose spans are computed at once: their arrays fit into the second-level cache
_CHUNK_IDS = 1 << 14


def encode_with_spans(
    text: str | bytes,
    vocabulary: Vocabulary,
    pipeline: TextPipeline,
    encode: Callable[[bytes, Boundaries], UInt32Array],
    on_special: OnSpecial = "token",
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
        on_special: How added tokens in the text are handled.
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
    pipeline.check(text, on_special)
    decoded = decoded_text(text)
    if pipeline.tokens_spell_text and pipeline.encodes_as_given(decoded):
        encoded = decoded.encode()
        return _encode_as_given(encoded, pipeline.boundaries(encoded, on_special), vocabulary, encode, unit)
    byte_starts = _byte_starts(np.frombuffer(decoded.encode(), np.uint8)) if unit == "byte" else None
    spans = pipeline.spans(decoded, pipeline.recognised(on_special), with_origins=True)
    if pipeline.has_steps:
        return _encode_each(spans, vocabulary, pipeline, encode, byte_starts)
    return _encode_joined(spans, vocabulary, encode, byte_starts)


def _encode_as_given(
    text: bytes,
    boundaries: Boundaries,
    vocabulary: Vocabulary,
    encode: Callable[[bytes, Boundaries], UInt32Array],
    unit: Unit,
) -> tuple[UInt32Array, Int64Array]:
    """Encodes a text that its tokens spell, so that the lengths of the tokens give the spans."""
    ids = encode(text, boundaries)
    spans = np.empty((len(ids), 2), np.int64)
    in_bytes, in_characters = (spans, None) if unit == "byte" else (None, spans)
    token_spans(text, ids, vocabulary.token_lengths, None, in_bytes, in_characters)
    return ids, spans


def _encode_each(
    spans: Iterable[Span],
    vocabulary: Vocabulary,
    pipeline: TextPipeline,
    encode: Callable[[bytes, Boundaries], UInt32Array],
    byte_starts: Int64Array | None,
) -> tuple[UInt32Array, Int64Array]:
    """Encodes one span after the other, for patterns that change the text."""
    ids: list[UInt32Array] = [np.empty(0, np.uint32)]
    spans_found: list[Int64Array] = [np.empty((0, 2), np.int64)]
    for span in spans:
        if span.token_id is not None:
            ids.append(np.array([span.token_id], np.uint32))
            found = np.array([[span.origins[0], span.origins[-1] + 1]], np.int64)
        else:
            pretokens = pipeline.pretokens(span, with_origins=True)
            assert pretokens is not None
            assert pretokens.first is not None
            assert pretokens.last is not None
            boundaries = np.stack([pretokens.ends, pretokens.ends, np.full(len(pretokens.ends), -1)], axis=1)
            ids.append(encode(pretokens.text, boundaries))
            lengths = vocabulary.token_lengths.take(ids[-1])
            ends = np.cumsum(lengths)
            found = np.stack([pretokens.first[ends - lengths], pretokens.last[ends - 1] + 1], axis=1)
        spans_found.append(found if byte_starts is None else byte_starts[found])
    return np.concatenate(ids), np.concatenate(spans_found)


def _encode_joined(
    spans: Iterable[Span],
    vocabulary: Vocabulary,
    encode: Callable[[bytes, Boundaries], UInt32Array],
    byte_starts: Int64Array | None,
) -> tuple[UInt32Array, Int64Array]:
    """Encodes the text between added tokens in one call, with a boundary where one was, and inserts the added tokens.

    A call for each span would take microseconds, and a text may have an added token every few bytes.
    """
    parts: list[bytes] = []
    part_characters: list[int] = []
    firsts: list[int] = []  # the character of the given text at which a part begins, where it was not normalized
    normalized: dict[int, Int64Array] = {}  # part -> origins
    added: list[tuple[int, int, int, int]] = []  # parts before the token, its id, start and end
    for span in spans:
        origins = span.origins
        if span.token_id is not None:
            added.append((len(parts), span.token_id, origins[0], origins[-1] + 1))
            continue
        if isinstance(origins, range):
            firsts.append(origins.start)
        else:
            firsts.append(0)
            normalized[len(parts)] = np.asarray(origins, np.int64)
        part = span.text
        part_characters.append(len(part))
        parts.append(part.encode())
    encoded = b"".join(parts)
    counts, sizes = np.array(part_characters, np.int64), np.array([*map(len, parts)], np.int64)
    first_characters, first_bytes = np.cumsum(counts) - counts, np.cumsum(sizes) - sizes
    rows = first_bytes[1:]
    ids = encode(encoded, np.stack([rows, rows, np.full(len(rows), -1)], axis=1) if len(rows) else None)

    moved = np.array(firsts, np.int64) - first_characters
    shift = None if byte_starts is None else byte_starts[np.array(firsts, np.int64)] - first_bytes
    origins_of_all = _origins_of_all(normalized, moved, first_characters, counts)
    is_given = np.array([part not in normalized for part in range(len(parts))], bool)
    # the tokens spell only the bytes that have an id
    is_spelled = None
    if vocabulary.rules.unknown_bytes == "drop":
        is_spelled = (vocabulary.byte_ids != NO_ID).astype(np.uint8)
    spans_found = np.empty((len(ids), 2), np.int64)
    in_bytes = np.empty((len(ids), 2), np.int64) if added or byte_starts is not None else None
    token_spans(encoded, ids, vocabulary.token_lengths, is_spelled, in_bytes, spans_found)
    for first_id in range(0, len(ids), _CHUNK_IDS):
        chunk = slice(first_id, first_id + _CHUNK_IDS)
        found = spans_found[chunk]
        # an index of another dtype ends the process where NumPy cannot allocate its buffer; `take` raises
        if origins_of_all is None:
            found += moved.take(np.searchsorted(first_characters, found[:, 0], "right") - 1)[:, None]
        else:
            found[:, 0] = origins_of_all.take(found[:, 0])
            found[:, 1] = origins_of_all.take(found[:, 1] - 1) + 1
        if byte_starts is not None and shift is not None and in_bytes is not None:
            in_text = in_bytes[chunk]
            part_of = np.searchsorted(first_bytes, in_text[:, 0], "right") - 1
            exact = in_text + shift.take(part_of)[:, None]
            found[:] = np.where(is_given.take(part_of)[:, None], exact, byte_starts.take(found))
    if in_bytes is not None and added:
        before, token_ids, first, end = np.array(added, np.int64).T
        numbers = np.searchsorted(in_bytes[:, 0], np.append(first_bytes, len(encoded))[before])
        del in_bytes  # as large as the result
        added_spans = np.stack([first, end], axis=1)
        ids = np.insert(ids, numbers, token_ids)
        spans_found = np.insert(
            spans_found, numbers, added_spans if byte_starts is None else byte_starts[added_spans], axis=0
        )
    return ids, spans_found


def _origins_of_all(
    normalized: dict[int, Int64Array], moved: Int64Array, first_characters: Int64Array, counts: Int64Array
) -> Int64Array | None:
    """For each character of the joined parts the character of the given text that it comes from; None where no part
    was normalized, so that it follows from the part."""
    if not normalized:
        return None
    if len(counts) == 1:
        return normalized[0]
    origins = np.arange(counts.sum())
    origins += np.repeat(moved, counts)
    for part, found in normalized.items():
        origins[first_characters[part] : first_characters[part] + counts[part]] = found
    return origins


def _byte_starts(encoded: UInt8Array) -> Int64Array:
    """The start of each character of UTF-8, and the end of the last one."""
    return np.append(np.flatnonzero((encoded & 0xC0) != 0x80), len(encoded))
