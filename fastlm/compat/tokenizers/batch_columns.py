"""The encodings of many single texts. Their strings, offsets and words are computed together, when they are read."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from fastlm._types import Int64Array, UInt32Array
from fastlm.compat.tokenizers.encoding import Encoding, Fields, encodings_of
from fastlm.compat.tokenizers.pipeline import Pipeline
from fastlm.compat.tokenizers.single_text import SingleTextTemplate
from fastlm.compat.tokenizers.spans import NO_COLUMNS, Offsets
from fastlm.compat.tokenizers.text_columns import TextColumns, characters_of
from fastlm.pretokenize._scan import pretoken_ends_in_pieces

# The texts whose first ids are in the same range of 2^16 ids are a block. The arrays of a block are computed at once.
_BLOCK_BITS = 16


class _Block(NamedTuple):
    """Columns of the texts of a block: int64, one item for each id.

    Attributes:
        first_id: The index of the block's first id.
        starts: Where the tokens start in their texts.
        ends: Where they end.
    """

    first_id: int
    starts: Int64Array
    ends: Int64Array


class EncodedBatch:
    """The encodings of single texts.

    Args:
        pipeline: The pipeline.
        texts: The texts.
        ids: The ids of all texts.
        offsets: The ids of text k are ids[offsets[k]:offsets[k + 1]].
        recognised: The ids of added tokens that were found in the texts.
        template: What the post-processor makes of a text with ids.
        keep_columns: Whether tokens have strings, offsets and words.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        texts: Sequence[str],
        ids: UInt32Array,
        offsets: Int64Array,
        recognised: frozenset[int],
        template: SingleTextTemplate,
        keep_columns: bool,
    ) -> None:
        self._pipeline, self._texts, self._ids, self._recognised = pipeline, texts, ids, recognised
        self._bounds: list[int] = offsets.tolist()
        self._template, self._parts, self._keep_columns = template, template.parts, keep_columns
        self._blocks: dict[int, _Block] = {}
        self._words: dict[int, tuple[int, Int64Array]] = {}
        self._single: dict[int, TextColumns] = {}

    def encodings(self) -> list[Encoding]:
        """The encoding of each text. That of a text without ids is not the template's."""
        return encodings_of(self, len(self._texts))

    def ids(self, k: int) -> list[int]:
        """The ids of encoding k."""
        before, _, after = self._parts["ids"]
        own: list[int] = self._ids[self._bounds[k] : self._bounds[k + 1]].tolist()
        return [*before, *own, *after] if before or after else own

    def marks(self, k: int, name: str) -> list[Any]:
        """An attribute of encoding k that is the same for all tokens of the text."""
        before, own, after = self._parts[name]
        values = [own] * (self._bounds[k + 1] - self._bounds[k])
        return [*before, *values, *after] if before or after else values

    def tokens(self, k: int) -> list[str]:
        """The strings of the tokens of encoding k."""
        return self._framed(k, "tokens", BatchColumns.tokens)

    def offsets(self, k: int) -> list[Offsets]:
        """Start and end of each token of encoding k."""
        if self._keep_columns and self._template.steps:
            return [offsets for span in self.fields(k).spans for offsets in span.offsets()]
        return self._framed(k, "offsets", BatchColumns.offsets)

    def word_ids(self, k: int) -> list[int | None]:
        """The number of the word of each token of encoding k."""
        return self._framed(k, "word_ids", BatchColumns.words)

    def _framed(self, k: int, name: str, column: Any) -> list[Any]:
        if not self._keep_columns:
            return self.marks(k, name)
        before, _, after = self._parts[name]
        own: list[Any] = column(BatchColumns(self, k), 0, self._bounds[k + 1] - self._bounds[k])
        return [*before, *own, *after] if before or after else own

    def fields(self, k: int) -> Fields:
        """The token spans and ranges of encoding k."""
        columns = BatchColumns(self, k) if self._keep_columns else NO_COLUMNS
        return self._template.filled(self._ids[self._bounds[k] : self._bounds[k + 1]], columns)

    # of the text alone, for the tokens from start to stop

    def own_tokens(self, k: int, start: int, stop: int) -> list[str]:
        if not self._pipeline.names_as_found:
            return self._columns(k).tokens(start, stop)
        first = self._bounds[k]
        return list(map(self._pipeline.names.__getitem__, self._ids[first + start : first + stop].tolist()))

    def own_offsets(self, k: int, start: int, stop: int) -> list[Offsets]:
        if not self._pipeline.lengths_add_up:
            return self._columns(k).offsets(start, stop)
        number = self._bounds[k] >> _BLOCK_BITS
        block = self._blocks.get(number) or self._blocks.setdefault(number, self._block(number))
        at = self._bounds[k] - block.first_id
        part = slice(at + start, at + stop)
        return list(zip(block.starts[part].tolist(), block.ends[part].tolist(), strict=True))

    def own_words(self, k: int, start: int, stop: int) -> list[int | None]:
        if not self._pipeline.lengths_add_up:
            return self._columns(k).words(start, stop)
        number = self._bounds[k] >> _BLOCK_BITS
        first_id, words = self._words.get(number) or self._words.setdefault(number, self._words_of_block(number))
        at = self._bounds[k] - first_id
        return words[at + start : at + stop].tolist()  # type: ignore[no-any-return]

    def _columns(self, k: int) -> TextColumns:
        """The columns of one text, which are computed alone."""
        found = self._single.get(k)
        if found is None:
            ids = self._ids[self._bounds[k] : self._bounds[k + 1]]
            columns = TextColumns(self._pipeline, self._texts[k], ids, self._recognised)
            found = self._single.setdefault(k, columns)
        return found

    def _texts_of_block(self, number: int) -> tuple[int, int]:
        """The first text of a block, and the one after its last."""
        first, stop = (bisect_left(self._bounds, place << _BLOCK_BITS) for place in (number, number + 1))
        return first, min(stop, len(self._texts))

    def _bytes_of_block(self, first: int, stop: int) -> tuple[Int64Array, Int64Array, Int64Array]:
        """Length and end of each token of texts, joined; and where each text ends, after a 0; in bytes."""
        lengths = self._pipeline.token_lengths[self._ids[self._bounds[first] : self._bounds[stop]]]
        ends = lengths.cumsum()
        id_bounds = np.array(self._bounds[first : stop + 1]) - self._bounds[first]
        return lengths, ends, np.append(0, ends)[id_bounds]

    def _block(self, number: int) -> _Block:
        first, stop = self._texts_of_block(number)
        lengths, ends, bases = self._bytes_of_block(first, stop)
        starts, texts = ends - lengths, self._texts[first:stop]
        if sum(map(len, texts)) < bases[-1]:
            character = characters_of("".join(texts).encode())
            starts, ends = character[starts] - 1, character[ends - 1]
            bases = np.append(0, character)[bases]
        bases = np.repeat(bases[:-1], np.diff(self._bounds[first : stop + 1]))
        return _Block(self._bounds[first], starts - bases, ends - bases)

    def _words_of_block(self, number: int) -> tuple[int, Int64Array]:
        """The index of the block's first id, and the number of the pretoken of each token in its text."""
        first, stop = self._texts_of_block(number)
        first_id = self._bounds[first]
        _, ends, bases = self._bytes_of_block(first, stop)
        ends_of_pretokens = self._ends_of_pretokens(self._texts[first:stop], bases)
        earlier = np.searchsorted(ends_of_pretokens, bases[:-1], side="right")
        sizes = np.diff(self._bounds[first : stop + 1])
        words = np.searchsorted(ends_of_pretokens, ends) - np.repeat(earlier, sizes)
        if self._recognised:
            # an added token is a pretoken of its own, and text before and after it is split alone
            places = np.flatnonzero(np.isin(self._ids[first_id : self._bounds[stop]], list(self._recognised)))
            for k in sorted({bisect_right(self._bounds, first_id + at) - 1 for at in places.tolist()}):
                start, end = self._bounds[k] - first_id, self._bounds[k + 1] - first_id
                words[start:end] = np.array(self._columns(k).words(0, end - start), np.int64)
        return first_id, words

    def _ends_of_pretokens(self, texts: Sequence[str], bases: Int64Array) -> Int64Array:
        """The ends of the pretokens of joined texts. `bases`: where each text begins and the last ends, in bytes."""
        pattern = self._pipeline.vocabulary.pattern
        if pattern.scanner:
            # without the empty texts
            return pretoken_ends_in_pieces("".join(texts).encode(), np.unique(bases)[1:], pattern.scanner)
        return np.concatenate(
            [pattern.find_ends(text.encode()) + base for text, base in zip(texts, bases, strict=False)]
        )


class BatchColumns(NamedTuple):
    """The columns of a text of a batch."""

    batch: EncodedBatch
    number: int

    def tokens(self, start: int, stop: int) -> list[str]:
        return self.batch.own_tokens(self.number, start, stop)

    def offsets(self, start: int, stop: int) -> list[Offsets]:
        return self.batch.own_offsets(self.number, start, stop)

    def words(self, start: int, stop: int) -> list[int | None]:
        return self.batch.own_words(self.number, start, stop)
