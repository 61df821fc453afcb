"""A compiled expression: where it matches in a text."""

from __future__ import annotations

import functools

import numpy as np

from fastlm._types import Int64Array
from fastlm.pretokenize.oniguruma import errors
from fastlm.pretokenize.oniguruma._backtrack import WorkLimitError
from fastlm.pretokenize.oniguruma.parser import parse
from fastlm.pretokenize.oniguruma.program import compiled


class Expression:
    """A regular expression of tokenizer.json. Immutable; threads may share it.

    Args:
        expression: In Oniguruma's syntax.

    Raises:
        ValueError: Oniguruma refuses it too, or it uses syntax that fastlm does not support.
    """

    def __init__(self, expression: str) -> None:
        self.expression = expression
        try:
            self._program = compiled(parse(expression), expression)
        except RecursionError:
            raise ValueError(
                f"expression {errors.shown(expression)} is nested too deeply, which is not supported"
            ) from None

    def find_all(
        self,
        text: bytes,
        ends: Int64Array | None = None,
        notes_from: int | None = None,
        counts: Int64Array | None = None,
    ) -> Int64Array:
        """Where the expression matches.

        Args:
            text: Well-formed UTF-8.
            ends: Where pieces of the text end, each of which is searched as if it were a text; None for one piece.
            notes_from: After how much work the matcher notes where it has been. For tests.
            counts: int64 (pieces,), which gets the number of matches in each piece; or None.

        Returns:
            (matches, 2) int64: byte offsets of the start and end of each match, in order. A match may be empty, but
            not right after another one.

        Raises:
            ValueError: The matcher gave up: the expression takes too much work or memory on this text.
        """
        try:
            return self._program.find_all(text, np.array([len(text)]) if ends is None else ends, notes_from, counts)
        except WorkLimitError as error:
            raise ValueError(
                f"expression {errors.shown(self.expression)} takes too many steps to match the text from byte "
                f"{error.position} on"
            ) from None


@functools.lru_cache(maxsize=256)
def compile_expression(expression: str) -> Expression:
    """The expression, compiled; one that was compiled lately is kept. Raises as `Expression`."""
    return Expression(expression)
