"""Splits texts by the expressions of a tokenizer.json that have no scanner."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fastlm._types import Int64Array
from fastlm.pretokenize import _scan
from fastlm.pretokenize.oniguruma.expression import compile_expression


class OnigurumaSplitter:
    """Splits texts by one or more expressions, each of which splits the pieces that the one before left.

    Args:
        expressions: In Oniguruma's syntax.

    Raises:
        ValueError: As `Expression`.
    """

    def __init__(self, expressions: Sequence[str]) -> None:
        self._expressions = [compile_expression(expression) for expression in expressions]

    def ends(self, text: bytes) -> Int64Array:
        """Returns the end of each pretoken, int64 (pretokens,), in bytes. Text that nothing matches becomes pretokens.

        Raises:
            InvalidUTF8Error: The text is not UTF-8.
            ValueError: An expression takes too much work on this text.
        """
        _scan.check_utf8(text)
        ends = np.array([len(text)] if text else [], np.int64)
        for expression in self._expressions:
            matches = expression.find_all(text, ends)
            found = _distinct(matches.ravel())
            del matches  # it may take 16 bytes for each byte of the text
            both = np.concatenate((found, ends))
            both.sort(kind="stable")  # two ascending runs take linear time
            ends = _distinct(both)
        return ends


def _distinct(positions: Int64Array) -> Int64Array:
    """Leaves out 0 and repetitions of ascending positions. np.unique would fill a hash table."""
    is_new = positions > 0
    is_new[1:] &= positions[1:] != positions[:-1]
    return positions[is_new]
