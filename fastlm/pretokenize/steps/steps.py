"""One class a pre-tokenizer. Each takes and gives pieces of a text."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fastlm.pretokenize import _scan
from fastlm.pretokenize.oniguruma.expression import compile_expression
from fastlm.pretokenize.patterns import covering_scanner
from fastlm.pretokenize.steps._split import split_chars, split_matches, split_where_class_changes, utf8_and_offsets
from fastlm.pretokenize.steps.pieces import Pieces
from fastlm.text.byte_level import CHAR_OF_BYTE
from fastlm.text.char_classes import CharClass, members

Behavior: TypeAlias = Literal["removed", "isolated", "merged_with_previous", "merged_with_next", "contiguous"]
"""What a match becomes: nothing; a piece; a part of the piece before or after; or a piece with its neighbours."""
BEHAVIORS: tuple[Behavior, ...] = ("removed", "isolated", "merged_with_previous", "merged_with_next", "contiguous")
BEHAVIOR_OF: dict[str, Behavior] = {"".join(word.capitalize() for word in name.split("_")): name for name in BEHAVIORS}
"""The name of a behavior in tokenizer.json -> its name in Python."""
NAME_OF: dict[Behavior, str] = {name: spelled for spelled, name in BEHAVIOR_OF.items()}
"""The other way round."""

PrependScheme = Literal["always", "never", "first"]
PREPEND_SCHEMES: tuple[PrependScheme, ...] = ("first", "never", "always")
"""Metaspace adds its character before each piece; before none; or before the first piece of a text."""


class Step(Protocol):
    """A pre-tokenizer that is no sequence.

    Attributes:
        type_name: The type in tokenizer.json.
        keeps_text: Whether it only splits.
    """

    type_name: ClassVar[str]

    @property
    def keeps_text(self) -> bool: ...

    def content(self) -> dict[str, Any]:
        """The JSON object of the step in tokenizer.json."""
        ...

    def apply(self, pieces: Pieces) -> Pieces:
        """The pieces after this step."""
        ...


@dataclass(frozen=True)
class ByteLevel:
    """Splits as GPT-2 does, with `use_regex`, and writes each byte as GPT-2's printable character for it."""

    type_name: ClassVar[str] = "ByteLevel"

    add_prefix_space: bool = True
    trim_offsets: bool = True
    use_regex: bool = True

    @property
    def keeps_text(self) -> bool:
        return not self.add_prefix_space

    def content(self) -> dict[str, Any]:
        return {
            "type": self.type_name,
            "add_prefix_space": self.add_prefix_space,
            "trim_offsets": self.trim_offsets,
            "use_regex": self.use_regex,
        }

    def apply(self, pieces: Pieces) -> Pieces:
        if self.add_prefix_space:
            pieces = pieces.prefixed(" ", pieces.chars[pieces.starts] != ord(" "))
        text, offsets = utf8_and_offsets(pieces.chars)
        ends = offsets[pieces.ends]
        if self.use_regex:
            ends = _scan.pretoken_ends_in_pieces(text, ends, "gpt2")
        origins = None if pieces.origins is None else np.repeat(pieces.origins, np.diff(offsets))
        return Pieces(_SPELLED[np.frombuffer(text, np.uint8)], ends, origins)


# the printable character of each byte
_SPELLED = np.array([ord(CHAR_OF_BYTE[byte]) for byte in range(256)], np.uint32)


@dataclass(frozen=True)
class Split:
    """Splits at the matches of a pattern.

    Args:
        pattern_kind: "String" for a text to find, "Regex" for a regular expression in Oniguruma's syntax.
        pattern: The pattern.
        behavior: What a match becomes.
        invert: Whether the text between matches counts as the matches.

    Raises:
        ValueError: The expression is none, or is not supported.
    """

    type_name: ClassVar[str] = "Split"

    pattern_kind: Literal["String", "Regex"]
    pattern: str
    behavior: Behavior = "isolated"
    invert: bool = False

    def __post_init__(self) -> None:
        if self.pattern_kind == "Regex":
            compile_expression(self.pattern)

    @property
    def keeps_text(self) -> bool:
        return self.behavior != "removed" or (self.invert and self.scanner is not None)

    @property
    def scanner(self) -> str | None:
        """The scanner that finds the matches, if there is one that leaves no text unmatched."""
        return covering_scanner(self.pattern) if self.pattern_kind == "Regex" else None

    def content(self) -> dict[str, Any]:
        return {
            "type": self.type_name,
            "pattern": {self.pattern_kind: self.pattern},
            "behavior": NAME_OF[self.behavior],
            "invert": self.invert,
        }

    def apply(self, pieces: Pieces) -> Pieces:
        text, offsets = utf8_and_offsets(pieces.chars)
        ends = offsets[pieces.ends]
        if self.scanner is not None:
            found = _scan.pretoken_ends_in_pieces(text, ends, self.scanner)
            matches = np.stack([np.append(0, found[:-1]), found], axis=1)
            counts = np.diff(np.searchsorted(found, ends, side="right"), prepend=0)
        else:
            counts = np.zeros(len(ends), np.int64)
            expression = self.pattern if self.pattern_kind == "Regex" else re.escape(self.pattern)
            matches = compile_expression(expression).find_all(text, ends, counts=counts)
        return pieces.split(split_matches(offsets, pieces.ends, matches, counts, self.behavior, self.invert))


@functools.cache
def _members(name: CharClass) -> NDArray[np.uint8]:
    """Whether each code point is in a class, uint8 (0x110000,)."""
    return members(name).view(np.uint8)


@functools.lru_cache(maxsize=8)
def _only(char: str) -> NDArray[np.uint8]:
    """The same for a class of one character."""
    found = np.zeros(0x110000, np.uint8)
    found[ord(char)] = 1
    return found


@dataclass(frozen=True)
class _OfClass:
    """The base of steps without options."""

    type_name: ClassVar[str]
    keeps_text: ClassVar[bool] = False

    def content(self) -> dict[str, Any]:
        return {"type": self.type_name}


@dataclass(frozen=True)
class Digits:
    """Isolates spans of digits, or each digit."""

    type_name: ClassVar[str] = "Digits"
    keeps_text: ClassVar[bool] = True

    individual_digits: bool = False

    def content(self) -> dict[str, Any]:
        return {"type": self.type_name, "individual_digits": self.individual_digits}

    def apply(self, pieces: Pieces) -> Pieces:
        behavior = "isolated" if self.individual_digits else "contiguous"
        return pieces.split(split_chars(pieces.chars, pieces.ends, _members("numeric"), behavior))


@dataclass(frozen=True)
class Punctuation:
    """Splits at punctuation characters."""

    type_name: ClassVar[str] = "Punctuation"

    behavior: Behavior = "isolated"

    @property
    def keeps_text(self) -> bool:
        return self.behavior != "removed"

    def content(self) -> dict[str, Any]:
        return {"type": self.type_name, "behavior": NAME_OF[self.behavior]}

    def apply(self, pieces: Pieces) -> Pieces:
        return pieces.split(split_chars(pieces.chars, pieces.ends, _members("punctuation"), self.behavior))


@dataclass(frozen=True)
class WhitespaceSplit(_OfClass):
    """Splits at whitespace, which is removed."""

    type_name: ClassVar[str] = "WhitespaceSplit"

    def apply(self, pieces: Pieces) -> Pieces:
        return pieces.split(split_chars(pieces.chars, pieces.ends, _members("whitespace"), "removed"))


@dataclass(frozen=True)
class Whitespace(_OfClass):
    """Splits between words and other characters, and at whitespace, which is removed."""

    type_name: ClassVar[str] = "Whitespace"

    def apply(self, pieces: Pieces) -> Pieces:
        ends = split_where_class_changes(pieces.chars, pieces.ends, _members("word"))
        return WhitespaceSplit().apply(pieces.split((ends, None)))


@dataclass(frozen=True)
class BertPreTokenizer(_OfClass):
    """Splits at whitespace, which is removed, and isolates punctuation characters."""

    type_name: ClassVar[str] = "BertPreTokenizer"

    def apply(self, pieces: Pieces) -> Pieces:
        return Punctuation().apply(WhitespaceSplit().apply(pieces))


@dataclass(frozen=True)
class CharDelimiterSplit:
    """Splits at a character, which is removed."""

    type_name: ClassVar[str] = "CharDelimiterSplit"
    keeps_text: ClassVar[bool] = False

    delimiter: str

    def content(self) -> dict[str, Any]:
        return {"type": self.type_name, "delimiter": self.delimiter}

    def apply(self, pieces: Pieces) -> Pieces:
        return pieces.split(split_chars(pieces.chars, pieces.ends, _only(self.delimiter), "removed"))


@dataclass(frozen=True)
class FixedLength:
    """Splits each piece into pieces of a number of characters. The last one may be shorter."""

    type_name: ClassVar[str] = "FixedLength"
    keeps_text: ClassVar[bool] = True

    length: int = 5

    def content(self) -> dict[str, Any]:
        return {"type": self.type_name, "length": self.length}

    def apply(self, pieces: Pieces) -> Pieces:
        sizes = np.diff(pieces.ends, prepend=0)
        place = np.arange(len(pieces.chars)) - np.repeat(pieces.starts, sizes)
        is_last = (place + 1) % self.length == 0
        is_last[pieces.ends - 1] = True
        return pieces.split((np.flatnonzero(is_last) + 1, None))


@dataclass(frozen=True)
class Metaspace:
    """Writes spaces as another character, puts it before pieces, and splits before it."""

    type_name: ClassVar[str] = "Metaspace"
    keeps_text: ClassVar[bool] = False

    replacement: str = "▁"
    prepend_scheme: PrependScheme = "always"
    split: bool = True

    def content(self) -> dict[str, Any]:
        return {
            "type": self.type_name,
            "replacement": self.replacement,
            "prepend_scheme": self.prepend_scheme,
            "split": self.split,
        }

    def apply(self, pieces: Pieces) -> Pieces:
        code_point = ord(self.replacement)
        pieces = pieces._replace(chars=np.where(pieces.chars == ord(" "), np.uint32(code_point), pieces.chars))
        wanted = pieces.chars[pieces.starts] != code_point
        if self.prepend_scheme == "first":
            assert pieces.origins is not None
            wanted &= pieces.origins[pieces.starts] == 0
        if self.prepend_scheme != "never":
            pieces = pieces.prefixed(self.replacement, wanted)
        if not self.split:
            return pieces
        return pieces.split(split_chars(pieces.chars, pieces.ends, _only(self.replacement), "merged_with_next"))
