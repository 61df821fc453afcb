"""How the page splits a text into pretokens: the steps of a pattern as expressions of JavaScript."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from fastlm.pretokenize.oniguruma.code_points import Ranges
from fastlm.pretokenize.oniguruma.nodes import CharacterSet, Greed, Node, Repeat
from fastlm.pretokenize.patterns import GPT2, PATTERNS, Pattern
from fastlm.pretokenize.steps.step_pattern import StepPattern
from fastlm.pretokenize.steps.steps import ByteLevel, Digits, Punctuation, Split, Step
from fastlm.text.char_classes import CharClass, members
from fastlm.view.expressions import ClassTable, ScriptWriter, UnsupportedExpressionError, parsed, sets_of

BYTES = "bytes"
"""The step after which characters are GPT-2's printable characters for bytes."""

_Step: TypeAlias = "Node | str"


class UnsupportedTokenizerError(ValueError):
    """The page cannot encode exactly as the tokenizer does."""


class Pretokens(NamedTuple):
    """The steps of a pattern for the page.

    Attributes:
        steps: Expressions of JavaScript that each split what the step before left, and BYTES.
        table: The classes whose letters the expressions match.
    """

    steps: list[str | None]
    table: ClassTable


@functools.lru_cache(maxsize=32)
def pretokens_of(pattern: Pattern) -> Pretokens:
    """The steps of a pattern.

    Raises:
        UnsupportedTokenizerError: The page cannot split exactly as the pattern does.
    """
    try:
        steps = list(_steps(pattern))
        nodes = [step for step in steps if not isinstance(step, str)]
        table = ClassTable(sorted({ranges for node in nodes for ranges in sets_of(node)}))
    except UnsupportedExpressionError as error:
        raise UnsupportedTokenizerError(str(error)) from None
    writer = ScriptWriter(table)
    return Pretokens([step if isinstance(step, str) else writer.expression(step) for step in steps], table)


def _steps(pattern: Pattern) -> list[_Step]:
    if isinstance(pattern, StepPattern):
        if pattern.changes_text:
            names = " then ".join(step.type_name for step in pattern.steps) or "none"
            raise UnsupportedTokenizerError(f"pre-tokenizers that change the text: {names}")
        return [made for step in pattern.steps for made in _of_step(step)]
    if pattern.scanner:
        # the scanner decides, whatever the spelling of the expression
        first = next(named for named in PATTERNS.values() if named.scanner == pattern.scanner)
        return list(map(parsed, first.for_onig))
    if pattern.syntax == "regex" and not pattern.onig_splits:
        raise UnsupportedTokenizerError(f"the regex module, which splits by {pattern.regex!r}")
    return list(map(parsed, pattern.for_onig))


def _of_step(step: Step) -> list[_Step]:
    match step:
        case ByteLevel(add_prefix_space=False, use_regex=use_regex):
            return [*([parsed(GPT2)] if use_regex else []), BYTES]
        case Split(pattern_kind="Regex", behavior="isolated"):
            return [parsed(step.pattern)]
        case Digits(individual_digits=individual):
            return [_set("numeric", 1 if individual else None)]
        case Punctuation(behavior="isolated"):
            return [_set("punctuation", 1)]
        case Punctuation(behavior="contiguous"):
            return [_set("punctuation", None)]
    options: dict[str, Any] = {name: value for name, value in step.content().items() if name != "type"}
    raise UnsupportedTokenizerError(f"the pre-tokenizer {step.type_name} with {options or 'no options'}")


def _set(name: CharClass, most: int | None) -> Node:
    """Characters of a class: one, or a whole sequence."""
    return Repeat(CharacterSet(ranges_of(name)), 1, most, Greed.GREEDY)


def ranges_of(name: CharClass) -> Ranges:
    """A class of characters as ranges."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], members(name).astype(np.int8), [0]])))
    return tuple(zip(edges[::2].tolist(), (edges[1::2] - 1).tolist(), strict=True))
