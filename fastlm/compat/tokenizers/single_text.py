"""Post-processing of many single texts: the post-processor runs once, on a text of one token."""

from __future__ import annotations

import numpy as np

from fastlm._types import UInt32Array
from fastlm.compat.tokenizers.encoding import Encoding
from fastlm.compat.tokenizers.processors import PostProcessor, default_process
from fastlm.compat.tokenizers.spans import Columns, ConstantColumns, TokenSpan


class SingleTextTemplate:
    """The result of a post-processor for one text of any length but 0.

    The post-processor runs on a text of one token. Its result is the template for all texts.
    """

    def __init__(self, processor: PostProcessor | None, add_special_tokens: bool) -> None:
        example = TokenSpan(np.zeros(1, np.uint32), ConstantColumns(""))
        given = [Encoding.of((example,))]
        made = default_process(given) if processor is None else processor.processed(given, add_special_tokens)
        spans, self._ranges = made.spans_and_ranges()
        places = [k for k, span in enumerate(spans) if span.columns is example.columns]
        self.fits = len(places) == 1
        """Whether the result has the text exactly once."""
        if self.fits:
            (at,) = places
            self._before, self._own, self._after = spans[:at], spans[at], spans[at + 1 :]
            self._at = sum(len(span.ids) for span in self._before)

    def filled(self, ids: UInt32Array, columns: Columns) -> Encoding:
        """The encoding of a text with these ids."""
        own = self._own
        span = TokenSpan(ids, columns, 0, own.type_id, own.special, own.attention, own.steps)
        more, at = len(ids) - 1, self._at
        ranges = {
            sequence_id: range(tokens.start + more * (tokens.start > at), tokens.stop + more * (tokens.stop > at))
            for sequence_id, tokens in self._ranges.items()
        }
        return Encoding.of((*self._before, span, *self._after), ranges)
