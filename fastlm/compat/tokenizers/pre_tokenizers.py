"""Pre-tokenizers: how a text is cut into pretokens, and bytes written as characters."""

from __future__ import annotations

import re
from typing import Any, NamedTuple, NoReturn

import numpy as np

from fastlm.compat.tokenizers.arguments import boolean, one_of_kinds, string
from fastlm.compat.tokenizers.component import (
    Component,
    FlatSteps,
    Name,
    Option,
    component_from,
    field,
    refused,
    unsupported,
)
from fastlm.formats.gpt2 import CHAR_OF_BYTE, spell
from fastlm.pretokenize.patterns import DIGITS, GPT2, Pattern, find_pattern

_BEHAVIORS = ("removed", "isolated", "merged_with_previous", "merged_with_next", "contiguous")


class Regex:
    """A regular expression for `Split`. Raises ValueError where it is none."""

    def __init__(self, pattern: str) -> None:
        self.pattern = string(pattern)
        find_pattern((self.pattern,))


class PreTokenizer(Component):
    """What cuts a text."""

    def steps(self) -> list[PreTokenizer]:
        """The pre-tokenizers that it stands for, in order."""
        return [self]

    def expression(self) -> str | None:
        """The regular expression whose matches it sets apart; None where it cuts nothing."""
        return None

    def pre_tokenize_str(self, sequence: str) -> list[tuple[str, tuple[int, int]]]:
        """The pretokens, each with its start and end in characters."""
        text = string(sequence)
        steps = self.steps()
        spells = any(isinstance(step, ByteLevel) for step in steps)
        if any(isinstance(step, ByteLevel) for step in steps[:-1]):
            unsupported("pre-tokenizer after ByteLevel")
        prefix = " " if spells and steps[-1].add_prefix_space and text and not text.startswith(" ") else ""  # type: ignore[attr-defined]
        if prefix and len(steps) > 1:
            unsupported("ByteLevel with add_prefix_space after other pre-tokenizers")
        encoded = (prefix + text).encode()
        ends = splitting(steps).find_ends(encoded) if steps else np.array([len(encoded)] if encoded else [], np.int64)
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
    """Cuts as GPT-2 does, with `use_regex`, and takes the bytes of the text for characters.

    add_prefix_space: each stretch between added tokens gets a blank before it, if it has none.
    """

    type_name = "ByteLevel"
    options = ("add_prefix_space", "trim_offsets", "use_regex")
    add_prefix_space, trim_offsets, use_regex = Option(boolean), Option(boolean), Option(boolean)

    def __init__(
        self, add_prefix_space: bool = True, trim_offsets: bool = True, use_regex: bool = True, **_: Any
    ) -> None:
        self.add_prefix_space, self.trim_offsets, self.use_regex = add_prefix_space, trim_offsets, use_regex

    @classmethod
    def from_content(cls, content: dict[str, Any]) -> ByteLevel:
        return cls(*(field({"use_regex": True, **content}, option) for option in cls.options))

    def expression(self) -> str | None:
        return GPT2 if self.use_regex else None

    @staticmethod
    def alphabet() -> list[str]:
        """The characters that stand for the 256 bytes."""
        return list(CHAR_OF_BYTE.values())


class Split(PreTokenizer):
    """Sets the matches of a pattern apart: a str, or a `Regex`.

    Supported is behavior "isolated", and "removed" with invert where a named pattern leaves nothing unmatched.
    """

    type_name = "Split"
    invert = Option(boolean)

    def __init__(self, pattern: str | Regex, behavior: str, invert: bool = False) -> None:
        if not isinstance(pattern, str | Regex):
            raise TypeError(f"pattern must be a str or a Regex, not {type(pattern).__name__}")
        behavior = string(behavior)
        if behavior not in _BEHAVIORS:
            listed = ", ".join(_BEHAVIORS)
            raise ValueError(f"Wrong value for SplitDelimiterBehavior, expected one of: `{listed}`")
        self._pattern = {"String": one_of_kinds(pattern)} if isinstance(pattern, str) else {"Regex": pattern.pattern}
        self._behavior = behavior
        self.invert = invert
        covers = "Regex" in self._pattern and find_pattern((self._pattern["Regex"],)).scanner
        if behavior != "isolated" and not (behavior == "removed" and self.invert and covers):
            unsupported(f"pre_tokenizers.Split with behavior {behavior!r} and invert {self.invert}")

    @property
    def behavior(self) -> str:
        return self._behavior

    @property
    def pattern(self) -> NoReturn:
        """As in tokenizers it cannot be read: raises ValueError."""
        raise ValueError("Cannot get pattern")

    def expression(self) -> str:
        return self._pattern.get("Regex") or re.escape(self._pattern["String"])

    def content(self) -> dict[str, Any]:
        behavior = "".join(word.capitalize() for word in self._behavior.split("_"))
        return {"type": self.type_name, "pattern": dict(self._pattern), "behavior": behavior, "invert": self.invert}

    @classmethod
    def from_content(cls, content: dict[str, Any]) -> Split:
        pattern, spelled = field(content, "pattern"), field(content, "behavior")
        behavior = {"".join(word.capitalize() for word in name.split("_")): name for name in _BEHAVIORS}.get(spelled)
        if not isinstance(pattern, dict) or len(pattern) != 1 or not pattern.keys() <= {"String", "Regex"}:
            raise ValueError(f"pre_tokenizer Split with pattern {pattern!r:.80}")
        if behavior is None:
            raise ValueError(f"pre_tokenizer Split: unknown variant {spelled!r}")
        given = pattern["String"] if "String" in pattern else Regex(pattern["Regex"])
        return cls(given, behavior, field(content, "invert"))

    def shown_fields(self) -> dict[str, Any]:
        ((kind, pattern),) = self._pattern.items()
        behavior = Name(self.content()["behavior"])
        return {"pattern": _SplitPattern(kind, pattern), "behavior": behavior, "invert": self.invert}


class _SplitPattern(NamedTuple):
    type_name: str
    pattern: str

    def shown_fields(self) -> dict[str, str]:
        return {"": self.pattern}


class Digits(PreTokenizer):
    """Sets runs of digits apart, or each digit."""

    type_name = "Digits"
    options = ("individual_digits",)
    individual_digits = Option(boolean)

    def __init__(self, individual_digits: bool = False) -> None:
        self.individual_digits = individual_digits

    def expression(self) -> str:
        return DIGITS if self.individual_digits else f"{DIGITS}+"


class Sequence(FlatSteps, PreTokenizer):
    """Pre-tokenizers, one after the other."""

    _key = "pretokenizers"

    def __init__(self, pretokenizers: list[PreTokenizer]) -> None:
        self._take(pretokenizers, PreTokenizer)

    @classmethod
    def from_content(cls, content: dict[str, Any]) -> Sequence:
        return cls([pre_tokenizer_from(item) for item in field(content, cls._key)])

    def steps(self) -> list[PreTokenizer]:
        return [step for pre_tokenizer in self._parts for step in pre_tokenizer.steps()]


BertPreTokenizer = refused("pre_tokenizers.BertPreTokenizer", PreTokenizer)
CharDelimiterSplit = refused("pre_tokenizers.CharDelimiterSplit", PreTokenizer)
FixedLength = refused("pre_tokenizers.FixedLength", PreTokenizer)
Metaspace = refused("pre_tokenizers.Metaspace", PreTokenizer)
Punctuation = refused("pre_tokenizers.Punctuation", PreTokenizer)
UnicodeScripts = refused("pre_tokenizers.UnicodeScripts", PreTokenizer)
Whitespace = refused("pre_tokenizers.Whitespace", PreTokenizer)
WhitespaceSplit = refused("pre_tokenizers.WhitespaceSplit", PreTokenizer)

_KINDS: dict[str, type[Component]] = {
    kind.type_name: kind
    for kind in (
        *(ByteLevel, Split, Digits, Sequence, BertPreTokenizer, CharDelimiterSplit, FixedLength, Metaspace),
        *(Punctuation, UnicodeScripts, Whitespace, WhitespaceSplit),
    )
}


def pre_tokenizer_from(content: Any) -> PreTokenizer:
    """The pre-tokenizer that tokenizer.json describes. Raises ValueError or NotImplementedError."""
    made: PreTokenizer = component_from(_KINDS, content, "pre_tokenizer")
    return made


def byte_level_and_pattern(pre_tokenizer: PreTokenizer | None) -> tuple[ByteLevel, Pattern]:
    """The ByteLevel that ends a pre-tokenizer, and the pattern that cuts as it all does.

    Raises NotImplementedError for one that does not end so, or whose ByteLevel puts blanks into what others cut.
    """
    steps = pre_tokenizer.steps() if pre_tokenizer else []
    byte_level = steps[-1] if steps else None
    if not isinstance(byte_level, ByteLevel) or any(isinstance(step, ByteLevel) for step in steps[:-1]):
        unsupported(f"pre-tokenizer {pre_tokenizer!r}: ByteLevel must be the last one")
    if byte_level.add_prefix_space and len(steps) > 1:
        unsupported("ByteLevel with add_prefix_space after other pre-tokenizers")
    return byte_level, splitting(steps)


def splitting(steps: list[PreTokenizer]) -> Pattern:
    """The pattern that cuts as these pre-tokenizers do."""
    expressions = [expression for step in steps if (expression := step.expression()) is not None]
    # where nothing cuts, a text is one pretoken
    return find_pattern(tuple(expressions) or (r"(?s:.+)",))
