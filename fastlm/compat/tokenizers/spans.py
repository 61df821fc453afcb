"""Token spans: consecutive tokens of one origin. An encoding is a sequence of them.

Ids are stored. Strings, offsets and word numbers are computed when they are read.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np

from fastlm._types import UInt32Array
from fastlm.text.byte_level import CHAR_OF_BYTE
from fastlm.text.whitespace import WHITESPACE

Offsets = tuple[int, int]

_SPACE = CHAR_OF_BYTE[0x20]


class Columns(Protocol):
    """The strings, offsets and word numbers of the tokens of one origin, from `start` to `stop`."""

    def tokens(self, start: int, stop: int) -> list[str]: ...
    def offsets(self, start: int, stop: int) -> list[Offsets]: ...
    def words(self, start: int, stop: int) -> list[int | None]: ...


class StoredColumns(NamedTuple):
    """Columns that are stored as lists."""

    all_tokens: list[str]
    all_offsets: list[Offsets]
    all_words: list[int | None]

    def tokens(self, start: int, stop: int) -> list[str]:
        return self.all_tokens[start:stop]

    def offsets(self, start: int, stop: int) -> list[Offsets]:
        return self.all_offsets[start:stop]

    def words(self, start: int, stop: int) -> list[int | None]:
        return self.all_words[start:stop]


class ConstantColumns(NamedTuple):
    """Columns of tokens that do not come from a text and all have one string."""

    name: str

    def tokens(self, start: int, stop: int) -> list[str]:
        return [self.name] * (stop - start)

    def offsets(self, start: int, stop: int) -> list[Offsets]:
        return [(0, 0)] * (stop - start)

    def words(self, start: int, stop: int) -> list[int | None]:
        return [None] * (stop - start)


NO_COLUMNS = ConstantColumns("")


class Trim(NamedTuple):
    """Leaves whitespace at the ends of tokens out of their offsets, except a space that was added to the text."""

    add_prefix_space: bool
    has_first: bool

    def apply(self, offsets: list[Offsets], tokens: list[str]) -> list[Offsets]:
        trimmed = []
        for k, ((start, end), token) in enumerate(zip(offsets, tokens, strict=True)):
            leading = len(token) - len(token.lstrip(_TRIMMED))
            trailing = len(token) - len(token.rstrip(_TRIMMED))
            if leading:
                # one space may be the one that was added
                if leading == 1 and self.add_prefix_space and ((k == 0 and self.has_first) or start == 0):
                    leading = 0
                start = min(start + leading, end)
            if trailing and end >= trailing:
                end = max(end - trailing, start)
            trimmed.append((start, end))
        return trimmed


# whitespace by Rust's rules, and the spelling of a space in a byte-level token
_TRIMMED = _SPACE + WHITESPACE


class Shift(NamedTuple):
    """Moves the offsets of a text that follows another."""

    by: int

    def apply(self, offsets: list[Offsets], tokens: list[str]) -> list[Offsets]:
        return [(start + self.by, end + self.by) for start, end in offsets]


class TokenSpan(NamedTuple):
    """The tokens `first` to `first + len(ids)` of some columns. `steps` change their offsets, in order."""

    ids: UInt32Array
    columns: Columns
    first: int = 0
    type_id: int = 0
    special: int = 0
    attention: int = 1
    steps: tuple[Trim | Shift, ...] = ()

    def part(self, start: int, stop: int) -> TokenSpan:
        """The tokens `start` to `stop` of this span."""
        steps = self.steps
        if start:
            steps = tuple([step._replace(has_first=False) if isinstance(step, Trim) else step for step in steps])
        return self._replace(ids=self.ids[start:stop], first=self.first + start, steps=steps)

    def tokens(self) -> list[str]:
        return self.columns.tokens(self.first, self.first + len(self.ids))

    def words(self) -> list[int | None]:
        return self.columns.words(self.first, self.first + len(self.ids))

    def offsets(self) -> list[Offsets]:
        offsets = self.columns.offsets(self.first, self.first + len(self.ids))
        if self.steps:
            tokens = self.tokens()
            for step in self.steps:
                offsets = step.apply(offsets, tokens)
        return offsets


def special_span(ids: Sequence[int], tokens: Sequence[str], type_id: int) -> TokenSpan:
    """Tokens that a post-processor puts around a text."""
    size = len(ids)
    columns = StoredColumns(list(tokens), [(0, 0)] * size, [None] * size)
    return TokenSpan(np.array(ids, np.uint32), columns, 0, type_id, 1)
