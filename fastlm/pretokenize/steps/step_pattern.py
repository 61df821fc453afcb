"""A pattern that is a sequence of steps."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastlm._types import Int64Array
from fastlm.pretokenize import _scan
from fastlm.pretokenize.patterns import Pattern
from fastlm.pretokenize.steps._split import known_bytes, utf8_and_offsets
from fastlm.pretokenize.steps.pieces import Pieces
from fastlm.pretokenize.steps.steps import ByteLevel, Metaspace, Split, Step
from fastlm.text.byte_level import CHAR_OF_BYTE


class Pretokens(NamedTuple):
    """The bytes of the pretokens of a text.

    Attributes:
        text: The bytes of all pretokens, one after the other.
        ends: int64 (pretokens,): the end of each pretoken. A pretoken may be empty.
        first: int64 (bytes,): the index of the character of the given text from which a token comes that starts with
            the byte; or None if origins were not requested.
        last: int64 (bytes,): the same for a token that ends with the byte.
    """

    text: bytes
    ends: Int64Array
    first: Int64Array | None
    last: Int64Array | None


def run_steps(steps: Sequence[Step], text: str, origins: Int64Array | None) -> Pieces:
    """The pieces of a text after all steps."""
    pieces = Pieces.of_text(text, origins)
    for step in steps:
        if not len(pieces.ends):
            break
        pieces = step.apply(pieces)
    return pieces


def bytes_of(pieces: Pieces, known: NDArray[np.bool_] | None = None) -> Pretokens:
    """The bytes that the characters of pieces spell. Other characters are left out.

    Args:
        pieces: The pieces.
        known: bool (256,): whether a byte has a token. Other bytes are left out.
    """
    text, ends, all_kept = known_bytes(pieces.chars, pieces.ends, _BYTES, known)
    if pieces.origins is None or all_kept:
        return Pretokens(text, ends, pieces.origins, pieces.origins)
    found = _BYTES[np.minimum(pieces.chars, len(_BYTES) - 1)]
    kept = (found >= 0) & (True if known is None else known[found])
    # tokenizers adds up the UTF-8 of the kept characters from the start of the pretoken, as if none were left out
    _, edges = utf8_and_offsets(pieces.chars)
    widths = np.diff(edges)
    kept_edges = np.append(0, np.cumsum(np.where(kept, widths, 0)))
    of_piece = np.searchsorted(pieces.ends, np.flatnonzero(kept), side="right")
    start = pieces.starts[of_piece]
    place = edges[start] + kept_edges[np.flatnonzero(kept)] - kept_edges[start]
    first = np.searchsorted(edges, place, side="right") - 1
    last = np.searchsorted(edges, place + widths[kept] - 1, side="right") - 1
    return Pretokens(text, ends, pieces.origins[first], pieces.origins[last])


# the byte that each character spells, or -1
_BYTES = np.full(max(map(ord, CHAR_OF_BYTE.values())) + 2, -1, np.int16)
for _byte, _char in CHAR_OF_BYTE.items():
    _BYTES[ord(_char)] = _byte


@dataclass(frozen=True)
class StepPattern(Pattern):
    """The steps of a pre-tokenizer of tokenizer.json as a pattern. `step_pattern` makes one."""

    steps: tuple[Step, ...] = ()

    @property
    def spells_bytes(self) -> bool:
        """Whether all characters after the steps spell bytes, whatever the text."""
        spelled = False
        for step in self.steps:
            if isinstance(step, ByteLevel):
                spelled = True
            elif isinstance(step, Metaspace) and step.replacement not in CHAR_OF_BYTE.values():
                spelled = False
        return spelled

    @property
    def changes_text(self) -> bool:
        """Whether pretokens, joined, may differ from the text."""
        byte_levels = sum(isinstance(step, ByteLevel) for step in self.steps)
        return byte_levels != 1 or not all(step.keeps_text for step in self.steps)

    @property
    def needs_position(self) -> bool:
        """Whether pretokens depend on where in a text they are."""
        return any(isinstance(step, Metaspace) and step.prepend_scheme == "first" for step in self.steps)

    @property
    def canonical_regex(self) -> str:
        return self.regex

    @property
    def specification(self) -> str:
        self.check_is_text()
        raise AssertionError

    def check_is_text(self) -> None:
        names = " then ".join(step.type_name for step in self.steps) or "null"
        raise ValueError(f"the format cannot hold the pre-tokenizer {names}; tokenizer.fastlm and tokenizer.json can")

    def pretokens(
        self, text: str, origins: Int64Array | None = None, known: NDArray[np.bool_] | None = None
    ) -> Pretokens:
        """The pretokens of a text without lone surrogates.

        Args:
            text: The text.
            origins: int64 (characters,): where each character of the text comes from. Needed for `first` and `last`,
                and if pretokens depend on their position.
            known: bool (256,): whether a byte has a token. Other bytes are left out.
        """
        return bytes_of(run_steps(self.steps, text, origins), known)

    def find_ends(self, text: bytes) -> Int64Array:
        """The end of each pretoken in the text. Only for a pattern that does not change texts."""
        _scan.check_utf8(text)
        return self.pretokens(text.decode()).ends


def step_pattern(steps: Sequence[Step]) -> StepPattern:
    """The pattern of some steps. Options of a step that change no pretoken get their default values."""
    canonical = tuple(map(_canonical, steps))
    contents = [step.content() for step in canonical]
    return StepPattern((json.dumps(contents, ensure_ascii=False, sort_keys=True),), steps=canonical)


def _canonical(step: Step) -> Step:
    if isinstance(step, ByteLevel):
        return replace(step, trim_offsets=True)
    if isinstance(step, Split) and step.behavior in ("isolated", "contiguous"):
        return replace(step, invert=False)
    return step
