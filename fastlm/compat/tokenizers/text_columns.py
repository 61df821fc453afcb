"""The strings, offsets and words of the tokens of one text. They are computed when they are read."""

from __future__ import annotations

import bisect
from typing import NamedTuple

import numpy as np

from fastlm._types import Int64Array, UInt32Array
from fastlm.compat.tokenizers.pipeline import Pipeline
from fastlm.compat.tokenizers.spans import Offsets
from fastlm.encoding.text_pipeline import Span
from fastlm.forks import cached_property
from fastlm.pretokenize.steps.step_pattern import Pretokens
from fastlm.vocabulary.vocabulary import NO_ID


class _Piece(NamedTuple):
    """A span of a text: an added token, or text.

    Attributes:
        span: The span.
        encoded: The bytes that its tokens spell, and the bytes that have no token.
        first: The index of its first id.
        stop: The index after its last id.
        pretokens: Its pretokens if the pattern changes texts, else None.
    """

    span: Span
    encoded: bytes
    first: int
    stop: int
    pretokens: Pretokens | None


class TextColumns:
    """Columns of the ids that a pipeline gave for a text.

    Args:
        pipeline: The pipeline.
        text: The text.
        ids: Its ids.
        recognised: The ids of added tokens that were found in the text.
        word: The number of the text if it is one word, or None if its pretokens are the words.
    """

    __slots__ = ("__dict__", "_ids", "_pipeline", "_recognised", "_text", "_word")

    def __init__(
        self, pipeline: Pipeline, text: str, ids: UInt32Array, recognised: frozenset[int], word: int | None = None
    ) -> None:
        self._pipeline, self._text, self._ids, self._recognised = pipeline, text, ids, recognised
        self._word = word

    def tokens(self, start: int, stop: int) -> list[str]:
        found = list(map(self._pipeline.names.__getitem__, self._ids[start:stop].tolist()))
        if not self._pipeline.names_as_found:
            places, texts = self._found_tokens
            for k in range(bisect.bisect_left(places, start), bisect.bisect_left(places, stop)):
                found[places[k] - start] = texts[k]
        return found

    def offsets(self, start: int, stop: int) -> list[Offsets]:
        starts, ends = self._spans
        return list(zip(starts[start:stop].tolist(), ends[start:stop].tolist(), strict=True))

    def words(self, start: int, stop: int) -> list[int | None]:
        if self._word is not None:
            return [self._word] * (stop - start)
        return self._words[start:stop].tolist()  # type: ignore[no-any-return]

    @cached_property
    def _pieces(self) -> list[_Piece]:
        """Each span of the text, in order."""
        pipeline, at = self._pipeline, 0
        lengths, byte_ids = pipeline.token_lengths, pipeline.vocabulary.byte_ids
        # tokens spell only the bytes that have an id
        drops = pipeline.vocabulary.rules.unknown_bytes == "drop"
        sizes = np.cumsum(lengths[self._ids])
        found = []
        for span in pipeline.preparation.spans(self._text, self._recognised, with_origins=True):
            if span.token_id is not None:
                found.append(_Piece(span, b"", at, at + 1, None))
                at += 1
                continue
            pretokens = pipeline.preparation.pretokens(span, with_origins=True)
            encoded = span.text.encode() if pretokens is None else pretokens.text
            size = len(encoded)
            if drops and pretokens is None:
                size = int(np.count_nonzero(byte_ids[np.frombuffer(encoded, np.uint8)] != NO_ID))
            before = int(sizes[at - 1]) if at else 0
            stop = int(np.searchsorted(sizes, before + size, side="right")) if size else at
            found.append(_Piece(span, encoded, at, stop, pretokens))
            at = stop
        return found

    @cached_property
    def _found_tokens(self) -> tuple[list[int], list[str]]:
        """The index of each added token, and its text."""
        found = [(piece.first, piece.span.text) for piece in self._pieces if piece.span.token_id is not None]
        return [start for start, _ in found], [text for _, text in found]

    @cached_property
    def _spans(self) -> tuple[Int64Array, Int64Array]:
        """Start and end of each token."""
        if self._pipeline.lengths_add_up:
            return self._spans_of_lengths()
        starts, ends = np.zeros(len(self._ids), np.int64), np.zeros(len(self._ids), np.int64)
        for piece, encoded, first, stop, pretokens in self._pieces:
            if piece.token_id is not None:
                starts[first], ends[first] = piece.origins[0], piece.origins[-1] + 1
                continue
            if first == stop:
                continue
            if pretokens is not None:
                own_ends = np.cumsum(self._pipeline.token_lengths[self._ids[first:stop]])
                assert pretokens.first is not None
                assert pretokens.last is not None
                starts[first:stop] = pretokens.first[np.append(0, own_ends[:-1])]
                ends[first:stop] = pretokens.last[own_ends - 1] + 1
                continue
            low, last = self._places(encoded, self._ids[first:stop])
            if isinstance(piece.origins, range) and len(encoded) == len(piece.text):
                starts[first:stop] = low + piece.origins.start
                ends[first:stop] = last + (piece.origins.start + 1)
                continue
            character = characters_of(encoded) - 1
            origins = np.asarray(piece.origins, np.int64)
            starts[first:stop] = origins[character[low]]
            ends[first:stop] = origins[character[last]] + 1
        return starts, ends

    def _spans_of_lengths(self) -> tuple[Int64Array, Int64Array]:
        lengths = self._pipeline.token_lengths[self._ids]
        ends = lengths.cumsum()
        starts = ends - lengths
        if self._text.isascii():
            return starts, ends
        character = characters_of(self._text.encode())
        return character[starts] - 1, character[ends - 1]

    def _places(self, encoded: bytes, ids: UInt32Array) -> tuple[Int64Array, Int64Array]:
        """The first and the last byte of each token of a piece, as tokenizers computes them."""
        pipeline = self._pipeline
        lengths = pipeline.token_lengths[ids]
        ends = np.cumsum(lengths)
        if pipeline.vocabulary.rules.unknown_bytes == "refuse":
            return ends - lengths, ends - 1
        # tokenizers counts the UTF-8 length of the characters that spell kept bytes, from the start of the pretoken
        text = np.frombuffer(encoded, np.uint8)
        kept = pipeline.vocabulary.byte_ids[text] != NO_ID
        widths = _WIDTHS[text]
        starts, lasts, at = [], [], 0
        before = 0
        bounds = pipeline.vocabulary.pattern.find_ends(encoded).tolist()
        for pretoken_end in bounds:
            byte_of = np.repeat(np.arange(before, pretoken_end), widths[before:pretoken_end])
            own = np.flatnonzero(kept[before:pretoken_end]) + before
            spelled_ends = np.cumsum(widths[own])
            done = 0
            while done < len(own):
                token_end = done + int(lengths[at])
                starts.append(byte_of[spelled_ends[done - 1] if done else 0])
                lasts.append(byte_of[spelled_ends[token_end - 1] - 1])
                done, at = token_end, at + 1
            before = pretoken_end
        return np.array(starts, np.int64), np.array(lasts, np.int64)

    @cached_property
    def _words(self) -> Int64Array:
        """The number of the pretoken of each token. An added token is a pretoken."""
        words = np.zeros(len(self._ids), np.int64)
        pipeline, word = self._pipeline, 0
        for piece, encoded, first, stop, pretokens in self._pieces:
            if piece.token_id is not None:
                words[first] = word
                word += 1
                continue
            own = np.cumsum(pipeline.token_lengths[self._ids[first:stop]])
            pattern = pipeline.vocabulary.pattern
            pretoken_ends = pattern.find_ends(encoded) if pretokens is None else pretokens.ends
            if pipeline.vocabulary.rules.unknown_bytes == "drop" and pretokens is None:
                kept = pipeline.vocabulary.byte_ids[np.frombuffer(encoded, np.uint8)] != NO_ID
                pretoken_ends = np.append(0, np.cumsum(kept))[pretoken_ends]
            words[first:stop] = word + np.searchsorted(pretoken_ends, own, side="left")
            word += len(pretoken_ends)
        return words


def characters_of(encoded: bytes) -> Int64Array:
    """The number of characters that have begun up to each byte of UTF-8."""
    begun: Int64Array = np.cumsum((np.frombuffer(encoded, np.uint8) & 0xC0) != 0x80, dtype=np.int64)
    return begun


# the UTF-8 length of the character that spells a byte
_WIDTHS = np.array([1 if 0x21 <= byte < 0x7F else 2 for byte in range(256)], np.int64)
