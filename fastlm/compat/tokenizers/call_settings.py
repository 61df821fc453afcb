"""The settings of one encode call: those that the tokenizer had when the call began."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from fastlm._types import UInt32Array
from fastlm.compat.tokenizers.batch_columns import EncodedBatch
from fastlm.compat.tokenizers.encoding import Encoding, joined
from fastlm.compat.tokenizers.inputs import Words
from fastlm.compat.tokenizers.lengths import Padding, Truncation
from fastlm.compat.tokenizers.pipeline import Pipeline
from fastlm.compat.tokenizers.processors import PostProcessor, default_process
from fastlm.compat.tokenizers.single_text import SingleTextTemplate
from fastlm.compat.tokenizers.spans import NO_COLUMNS, TokenSpan
from fastlm.compat.tokenizers.text_columns import TextColumns


class CallSettings(NamedTuple):
    """The settings of one call. `recognised` are the ids of added tokens that are found in a text."""

    pipeline: Pipeline
    processor: PostProcessor | None
    truncation: Truncation | None
    padding: Padding | None
    recognised: frozenset[int]

    def encode_one(self, given: list[Words], are_words: bool, add_special_tokens: bool) -> Encoding:
        """The encoding of a text or two."""
        (encoding,) = self._encode([given], are_words, add_special_tokens, keep_columns=True)
        return encoding

    def encode_batch(
        self, inputs: list[list[Words]], are_words: bool, add_special_tokens: bool, keep_columns: bool
    ) -> list[Encoding]:
        """Encodes inputs of one or two texts. `keep_columns` keeps strings and offsets."""
        encodings = self._encode(inputs, are_words, add_special_tokens, keep_columns)
        if self.padding:
            self.padding.pad(encodings)
        return encodings

    def encode_texts(self, texts: list[str], add_special_tokens: bool, keep_columns: bool) -> list[Encoding]:
        """`encode_batch` of single texts."""
        template = SingleTextTemplate(self.processor, add_special_tokens)
        if self.truncation or not template.fits:
            return self.encode_batch([[[text]] for text in texts], False, add_special_tokens, keep_columns)
        ids, offsets = self.pipeline.encode_flat(texts, self.recognised)
        batch = EncodedBatch(self.pipeline, texts, ids, offsets, self.recognised, template, keep_columns)
        encodings = batch.encodings()
        for k in np.flatnonzero(offsets[1:] == offsets[:-1]).tolist():
            encodings[k] = post_processed([Encoding()], self.processor, None, add_special_tokens)
        if self.padding:
            for encoding in encodings:
                self.padding.pad([encoding])
            self.padding.pad(encodings)
        return encodings

    def _encode(
        self, inputs: list[list[Words]], are_words: bool, add_special_tokens: bool, keep_columns: bool
    ) -> list[Encoding]:
        pipeline, processor, recognised = self.pipeline, self.processor, self.recognised
        texts = [text for given in inputs for words in given for text in words]
        ids = iter(pipeline.encode(texts, recognised))
        encodings = []
        for given in inputs:
            made = []
            for k, words in enumerate(given):
                # without columns tokenizers numbers no texts either
                type_id = k if keep_columns else 0
                if are_words:
                    made.append(_of_words(pipeline, words, ids, recognised, type_id, keep_columns))
                    continue
                own = next(ids)
                columns = TextColumns(pipeline, words[0], own, recognised) if keep_columns else NO_COLUMNS
                made.append(Encoding.of((TokenSpan(own, columns, 0, type_id),)) if len(own) else Encoding())
            encodings.append(post_processed(made, processor, self.truncation, add_special_tokens))
            if self.padding:
                self.padding.pad(encodings[-1:])
        return encodings


def _of_words(
    pipeline: Pipeline,
    words: Words,
    ids: Iterator[UInt32Array],
    recognised: frozenset[int],
    type_id: int,
    keep_columns: bool,
) -> Encoding:
    parts = []
    for k, word in enumerate(words):
        own = next(ids)
        columns = TextColumns(pipeline, word, own, recognised, k) if keep_columns else NO_COLUMNS
        parts.append(Encoding.of((TokenSpan(own, columns, 0, type_id),)))
    return joined(parts)


def post_processed(
    encodings: list[Encoding], processor: PostProcessor | None, truncation: Truncation | None, add: bool
) -> Encoding:
    """What truncation and the post-processor make of one or two encodings, which may be changed."""
    if truncation:
        added = processor.num_special_tokens_to_add(len(encodings) == 2) if processor and add else 0
        truncation.without(added).cut(encodings[0], encodings[1] if len(encodings) == 2 else None)
    return default_process(encodings) if processor is None else processor.processed(encodings, add)
