"""From the text of an expression to its nodes."""

from __future__ import annotations

import re

from fastlm.pretokenize.oniguruma import case_folding, escapes, lookarounds
from fastlm.pretokenize.oniguruma.code_points import Ranges, complement
from fastlm.pretokenize.oniguruma.groups import GroupReader
from fastlm.pretokenize.oniguruma.merging import merged
from fastlm.pretokenize.oniguruma.nodes import (
    NEWLINE_SEQUENCE,
    Alternatives,
    Anchor,
    Atomic,
    CharacterSet,
    Greed,
    Keep,
    Kind,
    Look,
    Node,
    Repeat,
    Sequence,
    Text,
)
from fastlm.pretokenize.oniguruma.references import Groups
from fastlm.pretokenize.oniguruma.sets import SetReader
from fastlm.pretokenize.oniguruma.source import Options, Source

MOST_REPETITIONS = 100_000
MOST_STACKED = 50
_BRACES = re.compile(r"\{(?:([0-9]+)(,?)([0-9]*)|,([0-9]+))\}")
_BRACE_NUMBERS = re.compile(r"\{([0-9]*)(?:,([0-9]*))?")
_COMMENT = re.compile(r"\(\?#(?:\\.|[^\\)])*\)", re.DOTALL)
_IGNORED = re.compile(r"[ \t\n\r\f]+|#[^\n]*")
_ANCHORS = {
    "b": Kind.WORD_BOUNDARY,
    "B": Kind.NO_WORD_BOUNDARY,
    "y": Kind.GRAPHEME_BOUNDARY,
    "Y": Kind.NO_GRAPHEME_BOUNDARY,
    "A": Kind.TEXT_START,
    "Z": Kind.LAST_LINE_END,
    "z": Kind.TEXT_END,
    "G": Kind.SEARCH_START,
}
_ANY = CharacterSet(complement(()))
_NO_NEWLINE = CharacterSet(complement(((0x0A, 0x0A),)))
# a grapheme cluster is not given up for a shorter one
_CLUSTER = Atomic(
    Sequence(
        (_ANY, Repeat(Sequence((Anchor(Kind.NO_GRAPHEME_BOUNDARY), _ANY)), 0, None, Greed.GREEDY)),
    )
)


def parse(expression: str) -> Node:
    """The nodes of an expression.

    Raises:
        ValueError: It is not one that Oniguruma reads, or it uses syntax that fastlm does not support.
    """
    parser = Parser(expression)
    node = parser.alternatives(Options())
    if not parser.source.is_at_end:
        parser.source.fail("a closing parenthesis without an opening one")
    parser.groups.check_references()
    node = merged(node, parser.groups.capturing())
    lookarounds.check(node, expression)
    return node


class Parser:
    """Reads alternatives, repeats and single elements. `GroupReader` reads parentheses."""

    def __init__(self, expression: str) -> None:
        self.source = Source(expression)
        self.groups = Groups(self.source)
        self._group_reader = GroupReader(self.source, self.groups, self.alternatives)

    def alternatives(self, options: Options) -> Node:
        """The nodes up to the parenthesis that ends the group, or to the end of the expression."""
        branches = [self._branch(options)]
        while self.source.take("|"):
            branches.append(self._branch(options))
        return branches[0] if len(branches) == 1 else Alternatives(tuple(branches))

    def _branch(self, options: Options) -> Node:
        parts: list[Node] = []
        source = self.source
        while True:
            self._skip_ignored(options)
            if source.is_at_end or source.peek("|") or source.peek(")"):
                break
            elements = self._elements(options)
            elements[-1] = self._repeated(elements[-1], options)
            parts += elements
        return parts[0] if len(parts) == 1 else Sequence(tuple(parts))

    def _skip_ignored(self, options: Options) -> None:
        source = self.source
        while True:
            start = source.position
            if source.peek("(?#") and not source.take_match(_COMMENT):
                source.fail("a comment without a closing parenthesis")
            if options.is_extended:
                source.take_match(_IGNORED)
            if source.position == start:
                return

    def _repeated(self, node: Node, options: Options) -> Node:
        """The node with the repeat operators that follow it."""
        source = self.source
        for stacked in range(MOST_STACKED + 1):
            self._skip_ignored(options)
            start = source.position
            found = self._repeat_operator()
            if found is None:
                return node
            if stacked == MOST_STACKED:
                source.refuse(f"more than {MOST_STACKED} repeat operators in a row", start)
            if _cannot_repeat(node):
                source.fail("a repeat operator after a condition", start)
            least, most, greed, is_possessive = found
            if (least, most) != (1, 1):
                node = Repeat(node, least, most, greed)
            if is_possessive:
                node = Atomic(node)
        return node

    def _repeat_operator(self) -> tuple[int, int | None, Greed, bool] | None:
        """(least, most, which is tried first, whether none is given back) of the operator that follows, if one does."""
        source = self.source
        if source.peek("{"):
            return self._braces()
        for operator, least, most in (("*", 0, None), ("+", 1, None), ("?", 0, 1)):
            if source.take(operator):
                if source.take("?"):
                    return least, most, Greed.LAZY, False
                return least, most, Greed.GREEDY, source.take("+")
        return None

    def _braces(self) -> tuple[int, int | None, Greed, bool] | None:
        source = self.source
        numbers = _BRACE_NUMBERS.match(source.expression, source.position)
        assert numbers
        if any(
            digits and int(digits[-10:]) + 10**10 * (len(digits) > 10) > MOST_REPETITIONS for digits in numbers.groups()
        ):
            source.fail(f"more than {MOST_REPETITIONS} repetitions")
        found = source.take_match(_BRACES)
        if not found:
            return None  # the brace is a character
        low, comma, high, only_high = found.groups()
        if low and not comma:
            if high:
                source.position = found.start()
                return None
            return int(low), int(low), Greed.GREEDY, False
        least, most = int(low or 0), int(high or only_high) if high or only_high else None
        if most is not None and most < least:
            # with the numbers swapped, Oniguruma gives nothing back
            return most, least, Greed.GREEDY, True
        return least, most, Greed.LAZY if source.take("?") else Greed.GREEDY, False

    def _elements(self, options: Options) -> list[Node]:
        """One element, or the characters of an escape that lists several."""
        source = self.source
        start = source.position
        if source.peek("("):
            return [self._group_reader.read(options)]
        if source.take("["):
            ranges, is_negated = SetReader(source, options).read()
            return [case_folding.set_node(ranges, is_negated) if options.folds else _set(ranges, is_negated)]
        if source.take("\\"):
            return self._escape(options)
        if any(source.peek(operator) for operator in "*+?") or _BRACES.match(source.expression, start):
            source.fail("a repeat operator without anything to repeat")
        character = source.take_character()
        if character == ".":
            return [_ANY if options.dot_matches_newline else _NO_NEWLINE]
        if character == "^":
            return [Anchor(Kind.LINE_START)]
        if character == "$":
            return [Anchor(Kind.LINE_END)]
        return [Text(character, options.folds)]

    def _escape(self, options: Options) -> list[Node]:
        source = self.source
        start = source.position - 1
        ranges = escapes.take_class(source, options, in_set=False)
        if ranges is not None:
            return [CharacterSet(ranges)]
        reference = self.groups.take_reference(options)
        if reference:
            return [reference]
        for letter, kind in _ANCHORS.items():
            if source.take(letter):
                return [Anchor(kind, letter in "bB" and options.limits("word"))]
        for letter, node in (("R", NEWLINE_SEQUENCE), ("X", _CLUSTER), ("N", _NO_NEWLINE), ("O", _ANY), ("K", Keep())):
            if source.take(letter):
                return [node]
        if source.peek("g<") or source.peek("g'"):
            source.refuse(r"\g (a call of a group)", start)
        return [_character(value, options) for value in escapes.take_characters(source, in_set=False)]


def _set(ranges: Ranges, is_negated: bool) -> Node:
    return CharacterSet(complement(ranges) if is_negated else ranges)


def _character(value: int, options: Options) -> Node:
    # no text holds a surrogate, and no string of it can be encoded
    is_surrogate = 0xD800 <= value < 0xE000
    return CharacterSet(((value, value),)) if is_surrogate else Text(chr(value), options.folds)


def _cannot_repeat(node: Node) -> bool:
    if isinstance(node, Alternatives):
        return any(map(_cannot_repeat, node.branches))
    return isinstance(node, Anchor | Look | Keep)
