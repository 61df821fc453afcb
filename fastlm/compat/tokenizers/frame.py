"""What a post-processor makes of many texts, told from what it makes of one."""

from __future__ import annotations

import numpy as np

from fastlm._types import UInt32Array
from fastlm.compat.tokenizers.encoding import Encoding
from fastlm.compat.tokenizers.processors import PostProcessor, default_process
from fastlm.compat.tokenizers.runs import Columns, Nowhere, Run


class Frame:
    """What a post-processor makes of one text of any length but 0, told from what it makes of one token."""

    def __init__(self, processor: PostProcessor | None, add_special_tokens: bool) -> None:
        example = Run(np.zeros(1, np.uint32), Nowhere(""))
        given = [Encoding.of((example,))]
        made = default_process(given) if processor is None else processor.processed(given, add_special_tokens)
        runs, self._ranges = made.runs_and_ranges()
        places = [k for k, run in enumerate(runs) if run.columns is example.columns]
        self.fits = len(places) == 1
        """Whether the text stands once in what is made."""
        if self.fits:
            (at,) = places
            self._before, self._own, self._after = runs[:at], runs[at], runs[at + 1 :]
            self._at = sum(len(run.ids) for run in self._before)

    def around(self, ids: UInt32Array, columns: Columns) -> Encoding:
        """The encoding of a text with these ids."""
        own = self._own
        run = Run(ids, columns, 0, own.type_id, own.special, own.attention, own.steps)
        more, at = len(ids) - 1, self._at
        ranges = {
            id: range(tokens.start + more * (tokens.start > at), tokens.stop + more * (tokens.stop > at))
            for id, tokens in self._ranges.items()
        }
        return Encoding.of((*self._before, run, *self._after), ranges)
