"""Runs: stretches of tokens of one origin, of which encodings are made.

Ids are there from the start; strings, offsets and words are found when they are asked for.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np

from fastlm._types import UInt32Array
from fastlm.formats.gpt2 import CHAR_OF_BYTE

Offsets = tuple[int, int]

_BLANK = CHAR_OF_BYTE[0x20]


class Columns(Protocol):
    """What is known of the tokens start to stop of an origin."""

    def tokens(self, start: int, stop: int) -> list[str]: ...
    def offsets(self, start: int, stop: int) -> list[Offsets]: ...
    def words(self, start: int, stop: int) -> list[int | None]: ...


class Known(NamedTuple):
    """Columns that are there."""

    all_tokens: list[str]
    all_offsets: list[Offsets]
    all_words: list[int | None]

    def tokens(self, start: int, stop: int) -> list[str]:
        return self.all_tokens[start:stop]

    def offsets(self, start: int, stop: int) -> list[Offsets]:
        return self.all_offsets[start:stop]

    def words(self, start: int, stop: int) -> list[int | None]:
        return self.all_words[start:stop]


class Nowhere(NamedTuple):
    """Columns of tokens that stand nowhere in the text, all alike."""

    name: str

    def tokens(self, start: int, stop: int) -> list[str]:
        return [self.name] * (stop - start)

    def offsets(self, start: int, stop: int) -> list[Offsets]:
        return [(0, 0)] * (stop - start)

    def words(self, start: int, stop: int) -> list[int | None]:
        return [None] * (stop - start)


class Trim(NamedTuple):
    """White space at the ends of tokens is left out of their offsets; not at the start of a text that got a blank."""

    add_prefix_space: bool
    has_first: bool

    def apply(self, offsets: list[Offsets], tokens: list[str]) -> list[Offsets]:
        trimmed = []
        for k, ((start, end), token) in enumerate(zip(offsets, tokens, strict=True)):
            leading = len(token) - len(token.lstrip(_TRIMMED))
            trailing = len(token) - len(token.rstrip(_TRIMMED))
            if leading:
                # one blank may be the one that was put there
                if leading == 1 and self.add_prefix_space and ((k == 0 and self.has_first) or start == 0):
                    leading = 0
                start = min(start + leading, end)
            if trailing and end >= trailing:
                end = max(end - trailing, start)
            trimmed.append((start, end))
        return trimmed


# white space by Rust's rules, and what stands for a blank in a byte-level token
_TRIMMED = _BLANK + (
    "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)


class Shift(NamedTuple):
    """Offsets of a text that follows another."""

    by: int

    def apply(self, offsets: list[Offsets], tokens: list[str]) -> list[Offsets]:
        return [(start + self.by, end + self.by) for start, end in offsets]


class Run(NamedTuple):
    """Tokens first to first + len(ids) of some columns. steps: what is done to their offsets, in order."""

    ids: UInt32Array
    columns: Columns
    first: int = 0
    type_id: int = 0
    special: int = 0
    attention: int = 1
    steps: tuple[Trim | Shift, ...] = ()

    def part(self, start: int, stop: int) -> Run:
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


def special_run(ids: list[int], tokens: list[str], type_id: int) -> Run:
    """Tokens that are put around a text."""
    size = len(ids)
    return Run(np.array(ids, np.uint32), Known(tokens, [(0, 0)] * size, [None] * size), 0, type_id, 1)
