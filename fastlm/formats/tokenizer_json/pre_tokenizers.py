"""Pre-tokenizers of a tokenizer.json, and the pattern that splits a text as they do.

A pre-tokenizer of one step is a step of `fastlm.pretokenize.steps` itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

from fastlm.formats.tokenizer_json.components import Component, Parser, UnsupportedComponentError
from fastlm.formats.tokenizer_json.json_values import Entries
from fastlm.pretokenize.patterns import DIGITS, GPT2, WHOLE_TEXT, Pattern, find_pattern
from fastlm.pretokenize.steps.step_pattern import StepPattern, step_pattern
from fastlm.pretokenize.steps.steps import (
    BEHAVIOR_OF,
    PREPEND_SCHEMES,
    BertPreTokenizer,
    ByteLevel,
    CharDelimiterSplit,
    Digits,
    FixedLength,
    Metaspace,
    Punctuation,
    Split,
    Step,
    Whitespace,
    WhitespaceSplit,
)


class PreTokenizerComponent(Protocol):
    """A step that splits a text, or a sequence of them."""

    @property
    def type_name(self) -> str: ...

    def content(self) -> dict[str, Any]: ...


@dataclass(frozen=True)
class PreTokenizerSequence(Component):
    """Pre-tokenizers, one after the other."""

    type_name = "Sequence"

    parts: tuple[PreTokenizerComponent, ...]

    def content(self) -> dict[str, Any]:
        return {"type": self.type_name, "pretokenizers": [part.content() for part in self.parts]}


UNSUPPORTED = ("UnicodeScripts",)


def _split(entries: Entries) -> Step:
    kind, text = entries.pattern("pattern")
    return Split(kind, text, entries.choice("behavior", BEHAVIOR_OF), entries.boolean("invert"))


def _char_delimiter(entries: Entries) -> Step:
    return CharDelimiterSplit(entries.character("delimiter"))


def _fixed_length(entries: Entries) -> Step:
    return fixed_length(entries.unsigned("length", 64) if "length" in entries.content else FixedLength.length)


def fixed_length(length: int) -> FixedLength:
    """The step of this name. Raises UnsupportedComponentError for pieces of no characters."""
    if not length:
        raise UnsupportedComponentError("pre_tokenizers.FixedLength with length 0")
    return FixedLength(length)


def _metaspace(entries: Entries) -> Step:
    scheme = entries.choice("prepend_scheme", {name: name for name in PREPEND_SCHEMES}, "always")
    if "add_prefix_space" in entries.content and entries.boolean("add_prefix_space") != (scheme != "never"):
        raise ValueError(f"{entries.name}: add_prefix_space does not match declared prepend_scheme")
    return Metaspace(entries.character("replacement"), scheme, entries.boolean("split", True))


def _byte_level(entries: Entries) -> Step:
    return ByteLevel(
        entries.boolean("add_prefix_space"), entries.boolean("trim_offsets"), entries.boolean("use_regex", True)
    )


def _sequence(entries: Entries) -> PreTokenizerComponent:
    return PreTokenizerSequence(tuple(parse_pre_tokenizer(part) for part in entries.list("pretokenizers")))


_PARSERS: dict[str, Callable[[Entries], PreTokenizerComponent]] = {
    "BertPreTokenizer": lambda _: BertPreTokenizer(),
    "ByteLevel": _byte_level,
    "CharDelimiterSplit": _char_delimiter,
    "Digits": lambda entries: Digits(entries.boolean("individual_digits")),
    "FixedLength": _fixed_length,
    "Metaspace": _metaspace,
    "Punctuation": lambda entries: Punctuation(entries.choice("behavior", BEHAVIOR_OF, "isolated")),
    "Sequence": _sequence,
    "Split": _split,
    "Whitespace": lambda _: Whitespace(),
    "WhitespaceSplit": lambda _: WhitespaceSplit(),
}
parse_pre_tokenizer: Parser[PreTokenizerComponent] = Parser("pre_tokenizer", "pre_tokenizers", _PARSERS, UNSUPPORTED)


def steps_of(pre_tokenizer: PreTokenizerComponent | None) -> tuple[Step, ...]:
    """The steps of a pre-tokenizer, in order."""
    if pre_tokenizer is None:
        return ()
    if isinstance(pre_tokenizer, PreTokenizerSequence):
        return tuple(step for part in pre_tokenizer.parts for step in steps_of(part))
    return (cast(Step, pre_tokenizer),)


def splitting_of(pre_tokenizer: PreTokenizerComponent | None) -> tuple[bool, Pattern]:
    """How a pre-tokenizer splits a text.

    Returns:
        Whether a space is put before a text that does not begin with one, and the pattern that splits the result.
    """
    steps = steps_of(pre_tokenizer)
    if len(steps) == 1 and isinstance(steps[0], ByteLevel):
        return steps[0].add_prefix_space, _pattern_of_expressions([GPT2] if steps[0].use_regex else [])
    expressions = [found for step in steps[:-1] if (found := _expression(step)) is not None]
    last = steps[-1] if steps else None
    if isinstance(last, ByteLevel) and not last.add_prefix_space and len(expressions) == len(steps) - 1:
        return False, _pattern_of_expressions([*expressions, *([GPT2] if last.use_regex else [])])
    return False, step_pattern(steps)


def _expression(step: Step) -> str | None:
    """The regular expression whose matches a step isolates, or None."""
    match step:
        case Digits(individual_digits):
            return DIGITS if individual_digits else f"{DIGITS}+"
        case Split("String", text, "isolated"):
            return re.escape(text)
        case Split("Regex", expression, behavior, invert):
            is_covered = behavior == "removed" and invert and step.scanner is not None
            return expression if behavior == "isolated" or is_covered else None
    return None


def _pattern_of_expressions(expressions: Sequence[str]) -> Pattern:
    return find_pattern(expressions, "oniguruma") if expressions else WHOLE_TEXT


def pattern_of_contents(contents: Sequence[Any]) -> StepPattern:
    """The pattern of the JSON objects of steps."""
    return step_pattern([step for content in contents for step in steps_of(parse_pre_tokenizer(content))])
