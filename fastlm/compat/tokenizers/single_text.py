"""Post-processing of many single texts: the post-processor runs once, on a text of one token."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastlm._types import UInt32Array
from fastlm.compat.tokenizers.encoding import Encoding, Fields
from fastlm.compat.tokenizers.processors import PostProcessor, default_process
from fastlm.compat.tokenizers.spans import NO_COLUMNS, Columns, TokenSpan


class _Parts(dict[str, tuple[list[Any], Any, list[Any]]]):
    """Attribute of an encoding -> its values before a token, of the token, and after it."""

    def __init__(self, encoding: Encoding, at: int) -> None:
        super().__init__()
        self._encoding, self._at = encoding, at

    def __missing__(self, attribute: str) -> tuple[list[Any], Any, list[Any]]:
        values = getattr(self._encoding, attribute)
        found = self[attribute] = values[: self._at], values[self._at], values[self._at + 1 :]
        return found


class SingleTextTemplate:
    """The result of a post-processor for one text of any length but 0.

    The post-processor runs on a text of one token. Its result is the template for all texts.
    """

    def __init__(self, processor: PostProcessor | None, add_special_tokens: bool) -> None:
        example = TokenSpan(np.zeros(1, np.uint32), NO_COLUMNS)
        given = [Encoding.of((example,))]
        made = default_process(given) if processor is None else processor.processed(given, add_special_tokens)
        spans, self._ranges = made.fields()
        places = [k for k, span in enumerate(spans) if span.columns is example.columns]
        self.fits = len(places) == 1
        """Whether the result has the text exactly once."""
        if self.fits:
            (at,) = places
            self._before, self._own, self._after = spans[:at], spans[at], spans[at + 1 :]
            self._at = sum(len(span.ids) for span in self._before)
            self.steps = self._own.steps
            """What changes the offsets of the text's tokens."""
            self.parts = _Parts(made, self._at)
            """Attribute -> its values before the text, of the text's only token, and after it."""

    def filled(self, ids: UInt32Array, columns: Columns) -> Fields:
        """The fields of the encoding of a text with these ids."""
        own = self._own
        span = TokenSpan(ids, columns, 0, own.type_id, own.special, own.attention, own.steps)
        more, at = len(ids) - 1, self._at
        ranges = {
            sequence_id: range(tokens.start + more * (tokens.start > at), tokens.stop + more * (tokens.stop > at))
            for sequence_id, tokens in self._ranges.items()
        }
        return Fields((*self._before, span, *self._after), ranges)
