"""Pre-tokenizers of a tokenizer.json, and the pattern that splits a text as they do."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from fastlm.formats.tokenizer_json.components import ByteLevelOptions, Component, Parser, UnsupportedComponentError
from fastlm.formats.tokenizer_json.json_values import Entries
from fastlm.pretokenize.patterns import DIGITS, GPT2, WHOLE_TEXT, Pattern, find_pattern

Behavior = Literal["removed", "isolated", "merged_with_previous", "merged_with_next", "contiguous"]
BEHAVIORS: tuple[Behavior, ...] = ("removed", "isolated", "merged_with_previous", "merged_with_next", "contiguous")
_BEHAVIOR_OF = {"".join(word.capitalize() for word in name.split("_")): name for name in BEHAVIORS}
_NAME_OF = {name: spelled for spelled, name in _BEHAVIOR_OF.items()}


def behavior_name(behavior: Behavior) -> str:
    """The name of a behavior in tokenizer.json."""
    return _NAME_OF[behavior]


@dataclass(frozen=True)
class PreTokenizer(Component):
    """A step that splits a text."""

    def steps(self) -> tuple[PreTokenizer, ...]:
        """The pre-tokenizers that it is made of, in order."""
        return (self,)

    def expression(self) -> str | None:
        """The regular expression whose matches it isolates, or None where it splits nothing."""
        return None


@dataclass(frozen=True)
class ByteLevel(ByteLevelOptions, PreTokenizer):
    """Splits as GPT-2 does, with `use_regex`, and writes the bytes of the text as characters."""

    def expression(self) -> str | None:
        return GPT2 if self.use_regex else None


@dataclass(frozen=True)
class Split(PreTokenizer):
    """Splits at the matches of a pattern.

    `pattern_kind` is "String" for a literal text, "Regex" for a regular expression. Raises UnsupportedComponentError
    for a behavior other than "isolated", unless it is "removed" with `invert` for a named pattern, which leaves no
    text unmatched.
    """

    type_name = "Split"

    pattern_kind: Literal["String", "Regex"]
    pattern: str
    behavior: Behavior = "isolated"
    invert: bool = False

    def __post_init__(self) -> None:
        covers = self.pattern_kind == "Regex" and find_pattern((self.pattern,), "oniguruma").scanner is not None
        if self.behavior != "isolated" and not (self.behavior == "removed" and self.invert and covers):
            raise UnsupportedComponentError(
                f"pre_tokenizers.Split with behavior {self.behavior!r} and invert {self.invert}"
            )

    def expression(self) -> str:
        return self.pattern if self.pattern_kind == "Regex" else re.escape(self.pattern)

    def content(self) -> dict[str, Any]:
        return {
            "type": self.type_name,
            "pattern": {self.pattern_kind: self.pattern},
            "behavior": behavior_name(self.behavior),
            "invert": self.invert,
        }


@dataclass(frozen=True)
class Digits(PreTokenizer):
    """Isolates runs of digits, or each digit."""

    type_name = "Digits"

    individual_digits: bool = False

    def expression(self) -> str:
        return DIGITS if self.individual_digits else f"{DIGITS}+"

    def content(self) -> dict[str, Any]:
        return {"type": self.type_name, "individual_digits": self.individual_digits}


@dataclass(frozen=True)
class PreTokenizerSequence(PreTokenizer):
    """Pre-tokenizers, one after the other."""

    type_name = "Sequence"

    parts: tuple[PreTokenizer, ...]

    def steps(self) -> tuple[PreTokenizer, ...]:
        return tuple(step for part in self.parts for step in part.steps())

    def content(self) -> dict[str, Any]:
        return {"type": self.type_name, "pretokenizers": [part.content() for part in self.parts]}


UNSUPPORTED = (
    *("BertPreTokenizer", "CharDelimiterSplit", "FixedLength", "Metaspace", "Punctuation", "UnicodeScripts"),
    *("Whitespace", "WhitespaceSplit"),
)


def _split(entries: Entries) -> PreTokenizer:
    kind, text = entries.pattern("pattern")
    if kind == "Regex":
        find_pattern((text,), "oniguruma")
    return Split(kind, text, entries.choice("behavior", _BEHAVIOR_OF), entries.boolean("invert"))


def _digits(entries: Entries) -> PreTokenizer:
    return Digits(entries.boolean("individual_digits"))


def _byte_level(entries: Entries) -> PreTokenizer:
    return ByteLevel(*ByteLevel.options_of(entries))


def _sequence(entries: Entries) -> PreTokenizer:
    return PreTokenizerSequence(tuple(parse_pre_tokenizer(part) for part in entries.list("pretokenizers")))


parse_pre_tokenizer: Parser[PreTokenizer] = Parser(
    "pre_tokenizer",
    "pre_tokenizers",
    {"ByteLevel": _byte_level, "Split": _split, "Digits": _digits, "Sequence": _sequence},
    UNSUPPORTED,
)


def byte_level_and_pattern(pre_tokenizer: PreTokenizer | None) -> tuple[ByteLevel, Pattern]:
    """The ByteLevel that ends a pre-tokenizer, and the pattern of all its steps.

    Raises:
        UnsupportedComponentError: For a pre-tokenizer that does not end with its only ByteLevel, or whose ByteLevel
            adds spaces to what other steps split.
    """
    steps = pre_tokenizer.steps() if pre_tokenizer is not None else ()
    byte_level = steps[-1] if steps else None
    if not isinstance(byte_level, ByteLevel) or any(isinstance(step, ByteLevel) for step in steps[:-1]):
        names = " then ".join(step.type_name for step in steps) or "None"
        raise UnsupportedComponentError(f"pre_tokenizer {names}, which does not end with its only ByteLevel,")
    if byte_level.add_prefix_space and len(steps) > 1:
        raise UnsupportedComponentError("pre_tokenizer ByteLevel with add_prefix_space after other steps")
    return byte_level, pattern_of(steps)


def pattern_of(steps: Iterable[PreTokenizer]) -> Pattern:
    """The pattern that splits a text as these steps do, one after the other."""
    expressions = [expression for step in steps if (expression := step.expression()) is not None]
    return find_pattern(expressions, "oniguruma") if expressions else WHOLE_TEXT
