"""Pre-tokenizers: how a text is split into pretokens, and bytes written as characters."""

from __future__ import annotations

from typing import Any, NoReturn

import numpy as np

from fastlm.compat.tokenizers.arguments import boolean, string, unsigned
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
from fastlm.formats.tokenizer_json import pre_tokenizers as parsed_pre_tokenizers
from fastlm.pretokenize.steps import steps
from fastlm.pretokenize.steps.step_pattern import run_steps
from fastlm.pretokenize.steps.steps import Behavior
from fastlm.text.byte_level import CHAR_OF_BYTE


def _character(value: Any) -> str:
    if len(string(value)) != 1:
        raise ValueError("expected a string of length 1")
    return str(value)


def _behavior(value: Any) -> Behavior:
    found = string(value)
    if found not in steps.BEHAVIORS:
        raise ValueError(f"Wrong value for SplitDelimiterBehavior, expected one of: `{', '.join(steps.BEHAVIORS)}`")
    return found


def _prepend_scheme(value: Any) -> steps.PrependScheme:
    found = string(value)
    if found not in steps.PREPEND_SCHEMES:
        raise ValueError(f"{found} is an unknown variant, should be one of {list(steps.PREPEND_SCHEMES)}")
    return found


def _length(value: Any) -> int:
    return supported(parsed_pre_tokenizers.fixed_length, unsigned(value)).length


class _BehaviorOption(Option):
    """An option that is read without underscores, as in tokenizers."""

    def __get__(self, instance: Any, owner: type) -> Any:
        found = super().__get__(instance, owner)
        return found if instance is None else found.replace("_", "")


class PreTokenizer(Component):
    """A step that splits a text."""

    @classmethod
    def from_content(cls, content: dict[str, Any]) -> PreTokenizer:
        return pre_tokenizer_of(supported(parsed_pre_tokenizers.parse_pre_tokenizer, content))

    def pre_tokenize_str(self, sequence: str) -> list[tuple[str, tuple[int, int]]]:
        """The pretokens, each with its start and end in characters."""
        text = string(sequence)
        pieces = run_steps(parsed_pre_tokenizers.steps_of(self.parsed()), text, np.arange(len(text), dtype=np.int64))
        assert pieces.origins is not None
        made, origins = pieces.text(), pieces.origins.tolist()
        return [
            (made[start:end], (origins[start], origins[end - 1] + 1))
            for start, end in zip(pieces.starts.tolist(), pieces.ends.tolist(), strict=True)
        ]

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
        self.set_parsed(steps.ByteLevel(*flags))

    @staticmethod
    def alphabet() -> list[str]:
        """The characters that spell the 256 bytes."""
        return list(CHAR_OF_BYTE.values())


class Split(PreTokenizer):
    """Splits at the matches of a pattern: a str, or a `Regex`."""

    type_name = "Split"
    behavior, invert = _BehaviorOption(_behavior), Option(boolean)

    def __init__(self, pattern: str | Regex, behavior: str, invert: bool = False) -> None:
        kind, text = pattern_of_argument(pattern)
        self.set_parsed(steps.Split(kind, text, _behavior(behavior), boolean(invert)))

    @property
    def pattern(self) -> NoReturn:
        """Cannot be read, as in tokenizers: raises ValueError."""
        raise ValueError("Cannot get pattern")

    def shown_fields(self) -> dict[str, Any]:
        parsed = self.parsed()
        return {
            "pattern": PatternShown(parsed.pattern_kind, parsed.pattern),
            "behavior": Name(steps.NAME_OF[parsed.behavior]),
            "invert": parsed.invert,
        }


class Digits(PreTokenizer):
    """Isolates spans of digits, or each digit."""

    type_name = "Digits"
    options = ("individual_digits",)
    individual_digits = Option(boolean)

    def __init__(self, individual_digits: bool = False) -> None:
        self.set_parsed(steps.Digits(boolean(individual_digits)))


class Punctuation(PreTokenizer):
    """Splits at punctuation characters."""

    type_name = "Punctuation"
    behavior = _BehaviorOption(_behavior)

    def __init__(self, behavior: str = "isolated") -> None:
        self.set_parsed(steps.Punctuation(_behavior(behavior)))

    def shown_fields(self) -> dict[str, Any]:
        return {"behavior": Name(steps.NAME_OF[self.parsed().behavior])}


class Whitespace(PreTokenizer):
    """Splits between words and other characters, and at whitespace, which is removed."""

    type_name = "Whitespace"

    def __init__(self) -> None:
        self.set_parsed(steps.Whitespace())


class WhitespaceSplit(PreTokenizer):
    """Splits at whitespace, which is removed."""

    type_name = "WhitespaceSplit"

    def __init__(self) -> None:
        self.set_parsed(steps.WhitespaceSplit())


class BertPreTokenizer(PreTokenizer):
    """Splits at whitespace, which is removed, and isolates punctuation characters."""

    type_name = "BertPreTokenizer"

    def __init__(self) -> None:
        self.set_parsed(steps.BertPreTokenizer())


class CharDelimiterSplit(PreTokenizer):
    """Splits at a character, which is removed."""

    type_name = "CharDelimiterSplit"
    options = ("delimiter",)
    delimiter = Option(_character)

    def __init__(self, delimiter: str) -> None:
        self.set_parsed(steps.CharDelimiterSplit(_character(delimiter)))


class FixedLength(PreTokenizer):
    """Splits a text into pieces of a number of characters."""

    type_name = "FixedLength"
    options = ("length",)
    length = Option(_length)

    def __init__(self, length: int = 5) -> None:
        self.set_parsed(steps.FixedLength(_length(length)))


class Metaspace(PreTokenizer):
    """Writes spaces as another character, puts it before pieces, and splits before it."""

    type_name = "Metaspace"
    replacement, prepend_scheme, split = Option(_character), Option(_prepend_scheme), Option(boolean)

    def __init__(self, replacement: str = "▁", prepend_scheme: str = "always", split: bool = True) -> None:
        self.set_parsed(steps.Metaspace(_character(replacement), _prepend_scheme(prepend_scheme), boolean(split)))

    def shown_fields(self) -> dict[str, Any]:
        return {
            "replacement": self.replacement,
            "prepend_scheme": Name(self.prepend_scheme),
            "split": self.split,
        }


class Sequence(FlatSteps, PreTokenizer):
    """Pre-tokenizers, one after the other."""

    key = "pretokenizers"
    sequence_type = parsed_pre_tokenizers.PreTokenizerSequence

    def __init__(self, pretokenizers: list[PreTokenizer]) -> None:
        self._take(pretokenizers, PreTokenizer)

    @classmethod
    def of_parsed(cls, parsed: parsed_pre_tokenizers.PreTokenizerSequence) -> Sequence:
        return cls([pre_tokenizer_of(part) for part in parsed.parts])


UnicodeScripts = refused("pre_tokenizers.UnicodeScripts", PreTokenizer)

_KINDS: tuple[type[PreTokenizer], ...] = (
    *(BertPreTokenizer, ByteLevel, CharDelimiterSplit, Digits, FixedLength, Metaspace, Punctuation, Sequence, Split),
    *(Whitespace, WhitespaceSplit),
)
_CLASSES = {kind.type_name: kind for kind in _KINDS}


def pre_tokenizer_of(parsed: parsed_pre_tokenizers.PreTokenizerComponent) -> PreTokenizer:
    """The pre-tokenizer of a frozen dataclass."""
    made: PreTokenizer = _CLASSES[parsed.type_name].of_parsed(parsed)
    return made
