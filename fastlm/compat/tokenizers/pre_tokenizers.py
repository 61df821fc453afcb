"""Pre-tokenizers: how a text is split into pretokens, and bytes written as characters."""

from __future__ import annotations

from typing import Any, NoReturn

import numpy as np

from fastlm.compat.tokenizers.arguments import boolean, string
from fastlm.compat.tokenizers.component import (
    Component,
    FlatSteps,
    Name,
    Option,
    PatternShown,
    Regex,
    pattern_of_argument,
    refused,
    supported,
    unsupported,
)
from fastlm.formats.gpt2 import spell
from fastlm.formats.tokenizer_json import pre_tokenizers as parsed_pre_tokenizers
from fastlm.formats.tokenizer_json.pre_tokenizers import BEHAVIORS, behavior_name, pattern_of
from fastlm.text.byte_level import CHAR_OF_BYTE


class PreTokenizer(Component):
    """A step that splits a text."""

    @classmethod
    def from_content(cls, content: dict[str, Any]) -> PreTokenizer:
        return pre_tokenizer_of(supported(parsed_pre_tokenizers.parse_pre_tokenizer, content))

    def pre_tokenize_str(self, sequence: str) -> list[tuple[str, tuple[int, int]]]:
        """The pretokens, each with its start and end in characters."""
        text = string(sequence)
        steps = self.parsed().steps()
        byte_levels = [isinstance(step, parsed_pre_tokenizers.ByteLevel) for step in steps]
        spells = any(byte_levels)
        if any(byte_levels[:-1]):
            unsupported("pre-tokenizer after ByteLevel")
        prefix = " " if spells and steps[-1].add_prefix_space and text and not text.startswith(" ") else ""
        if prefix and len(steps) > 1:
            unsupported("ByteLevel with add_prefix_space after other pre-tokenizers")
        encoded = (prefix + text).encode()
        ends = pattern_of(steps).find_ends(encoded) if steps else np.array([len(encoded)] if encoded else [], np.int64)
        pieces, start, at = [], 0, -len(prefix)
        for end in ends.tolist():
            piece = encoded[start:end]
            length = len(piece.decode())
            pieces.append((spell(piece) if spells else piece.decode(), (max(at, 0), at + length)))
            start, at = end, at + length
        return pieces

    def pre_tokenize(self, pretok: Any) -> NoReturn:
        """Not supported: raises NotImplementedError."""
        unsupported("PreTokenizedString")

    @staticmethod
    def custom(pretok: Any) -> NoReturn:
        """Not supported: raises NotImplementedError."""
        unsupported("pre-tokenizers written in Python")


class ByteLevel(PreTokenizer):
    """Splits as GPT-2 does, with `use_regex`, and writes the bytes of the text as characters.

    add_prefix_space: each part of a text between added tokens gets a space before it, if it has none.
    """

    type_name = "ByteLevel"
    options = ("add_prefix_space", "trim_offsets", "use_regex")
    add_prefix_space, trim_offsets, use_regex = Option(boolean), Option(boolean), Option(boolean)

    def __init__(
        self, add_prefix_space: bool = True, trim_offsets: bool = True, use_regex: bool = True, **_: Any
    ) -> None:
        flags = (boolean(flag) for flag in (add_prefix_space, trim_offsets, use_regex))
        self.set_parsed(parsed_pre_tokenizers.ByteLevel(*flags))

    @staticmethod
    def alphabet() -> list[str]:
        """The characters that spell the 256 bytes."""
        return list(CHAR_OF_BYTE.values())


class Split(PreTokenizer):
    """Isolates the matches of a pattern: a str, or a `Regex`.

    Supported is behavior "isolated", and "removed" with invert where a named pattern leaves no text unmatched.
    """

    type_name = "Split"
    invert = Option(boolean)

    def __init__(self, pattern: str | Regex, behavior: str, invert: bool = False) -> None:
        given = pattern_of_argument(pattern)
        behavior = string(behavior)
        if behavior not in BEHAVIORS:
            listed = ", ".join(BEHAVIORS)
            raise ValueError(f"Wrong value for SplitDelimiterBehavior, expected one of: `{listed}`")
        self.set_parsed(supported(parsed_pre_tokenizers.Split, *given, behavior, boolean(invert)))

    @property
    def behavior(self) -> str:
        return str(self.parsed().behavior)

    @property
    def pattern(self) -> NoReturn:
        """Cannot be read, as in tokenizers: raises ValueError."""
        raise ValueError("Cannot get pattern")

    def shown_fields(self) -> dict[str, Any]:
        parsed = self.parsed()
        behavior = Name(behavior_name(parsed.behavior))
        return {
            "pattern": PatternShown(parsed.pattern_kind, parsed.pattern),
            "behavior": behavior,
            "invert": parsed.invert,
        }


class Digits(PreTokenizer):
    """Isolates runs of digits, or each digit."""

    type_name = "Digits"
    options = ("individual_digits",)
    individual_digits = Option(boolean)

    def __init__(self, individual_digits: bool = False) -> None:
        self.set_parsed(parsed_pre_tokenizers.Digits(boolean(individual_digits)))


class Sequence(FlatSteps, PreTokenizer):
    """Pre-tokenizers, one after the other."""

    key = "pretokenizers"
    sequence_type = parsed_pre_tokenizers.PreTokenizerSequence

    def __init__(self, pretokenizers: list[PreTokenizer]) -> None:
        self._take(pretokenizers, PreTokenizer)

    @classmethod
    def of_parsed(cls, parsed: parsed_pre_tokenizers.PreTokenizerSequence) -> Sequence:
        return cls([pre_tokenizer_of(part) for part in parsed.parts])


BertPreTokenizer = refused("pre_tokenizers.BertPreTokenizer", PreTokenizer)
CharDelimiterSplit = refused("pre_tokenizers.CharDelimiterSplit", PreTokenizer)
FixedLength = refused("pre_tokenizers.FixedLength", PreTokenizer)
Metaspace = refused("pre_tokenizers.Metaspace", PreTokenizer)
Punctuation = refused("pre_tokenizers.Punctuation", PreTokenizer)
UnicodeScripts = refused("pre_tokenizers.UnicodeScripts", PreTokenizer)
Whitespace = refused("pre_tokenizers.Whitespace", PreTokenizer)
WhitespaceSplit = refused("pre_tokenizers.WhitespaceSplit", PreTokenizer)

_CLASSES: dict[type, type[PreTokenizer]] = {
    parsed_pre_tokenizers.ByteLevel: ByteLevel,
    parsed_pre_tokenizers.Split: Split,
    parsed_pre_tokenizers.Digits: Digits,
    parsed_pre_tokenizers.PreTokenizerSequence: Sequence,
}


def pre_tokenizer_of(parsed: parsed_pre_tokenizers.PreTokenizer) -> PreTokenizer:
    """The pre-tokenizer of a frozen dataclass."""
    made: PreTokenizer = _CLASSES[type(parsed)].of_parsed(parsed)
    return made
