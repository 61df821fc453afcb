"""Expressions of Oniguruma's syntax as regular expressions of JavaScript, over classes of characters.

The Unicode version of a browser is not the pinned one, and JavaScript lacks some syntax. So the page maps each
character of a text to the letter of its class, and matches expressions over these letters. Two characters have the same
class if each set and each literal of the expressions has both or neither.
"""

from __future__ import annotations

from collections.abc import Sequence as AnySequence

import numpy as np
from numpy.typing import NDArray

from fastlm.pretokenize.oniguruma import case_folding
from fastlm.pretokenize.oniguruma.code_points import LAST, Ranges, union
from fastlm.pretokenize.oniguruma.lengths import lengths
from fastlm.pretokenize.oniguruma.nodes import (
    Alternatives,
    Anchor,
    Atomic,
    Capture,
    CharacterSet,
    Greed,
    Kind,
    Look,
    Node,
    Repeat,
    Scope,
    Sequence,
    Text,
    walk,
)
from fastlm.pretokenize.oniguruma.parser import parse

FIRST_LETTER = 0x100
"""The code point of the letter of class 0. No letter has a meaning in an expression."""
MOST_CLASSES = 0x1000

_ANCHORS = {Kind.TEXT_START: "^", Kind.TEXT_END: "$"}


class UnsupportedExpressionError(ValueError):
    """The page cannot match an expression exactly."""


class ClassTable:
    """The classes of characters that some sets tell apart.

    Attributes:
        class_of: uint16 (0x110000,): the class of each code point.
    """

    def __init__(self, sets: AnySequence[Ranges]) -> None:
        self.class_of = np.zeros(LAST + 1, np.uint16)
        count = 1
        for ranges in sets:
            # a class is divided where a set has a part of it
            divided = self.class_of.astype(np.int64) + count * members_of(ranges)
            kept, self.class_of = _renumbered(divided)
            count = kept
        if count > MOST_CLASSES:
            raise UnsupportedExpressionError(f"the expressions tell {count} classes of characters apart")

    def letters(self, ranges: Ranges) -> str:
        """The letters of the classes of a set, which must be one of the sets of this table."""
        found = np.unique(self.class_of[members_of(ranges).astype(bool)])
        return "".join(f"\\u{FIRST_LETTER + int(number):04x}" for number in found)

    def runs(self) -> tuple[NDArray[np.uint32], NDArray[np.uint16]]:
        """The code points at which the class changes, 0 first, and the class from there on."""
        starts = np.append(0, np.flatnonzero(np.diff(self.class_of.astype(np.int32))) + 1)
        return starts.astype(np.uint32), self.class_of[starts]


def members_of(ranges: Ranges) -> NDArray[np.int64]:
    """1 for each code point of a set, and 0 for the others, int64 (0x110000,)."""
    found = np.zeros(LAST + 2, np.int64)
    for first, last in ranges:
        found[first] += 1
        found[last + 1] -= 1
    return np.cumsum(found)[:-1]


def _renumbered(classes: NDArray[np.int64]) -> tuple[int, NDArray[np.uint16]]:
    """The number of classes, and the classes with numbers from 0 on."""
    used = np.flatnonzero(np.bincount(classes))
    numbers = np.zeros(int(used[-1]) + 1, np.uint16)
    numbers[used] = np.arange(len(used))
    return len(used), numbers[classes]


def parsed(expression: str) -> Node:
    """The nodes of an expression, with ignored case written out.

    Raises:
        UnsupportedExpressionError: The page cannot match it exactly.
    """
    node = case_folding.unfolded(parse(expression))
    if lengths(node)[0] == 0:
        raise UnsupportedExpressionError(f"the expression {expression!r} can match an empty text")
    for inner in walk(node):
        reason = _unsupported(inner)
        if reason:
            raise UnsupportedExpressionError(f"the expression {expression!r} has {reason}")
    return node


def _unsupported(node: Node) -> str | None:
    if isinstance(node, Anchor):
        return None if node.kind in _ANCHORS else f"the anchor {node.kind.name}"
    if isinstance(node, Repeat):
        return "a repeat of what can be empty" if lengths(node.body)[0] == 0 and node.most != 1 else None
    if isinstance(node, Look):
        return "a lookbehind" if node.is_behind else None
    if isinstance(node, Text | CharacterSet | Sequence | Alternatives | Scope | Atomic | Capture):
        return None
    return f"a node of type {type(node).__name__}"


def sets_of(node: Node) -> set[Ranges]:
    """The sets of characters that a node tells apart."""
    found: set[Ranges] = set()
    for inner in walk(node):
        if isinstance(inner, CharacterSet):
            found.add(inner.ranges)
        elif isinstance(inner, Text):
            found.update(union([(ord(character), ord(character))]) for character in inner.characters)
    return found


class ScriptWriter:
    """Writes nodes as an expression of JavaScript over the letters of a table."""

    def __init__(self, table: ClassTable) -> None:
        self._table = table
        self._groups = 0

    def expression(self, node: Node) -> str:
        """The expression of a node that `parsed` returned."""
        self._groups = 0
        return self._write(node)

    def _write(self, node: Node) -> str:
        match node:
            case Text(characters):
                return "".join(self._set(((ord(character), ord(character)),)) for character in characters)
            case CharacterSet(ranges):
                return self._set(ranges)
            case Anchor(kind):
                return _ANCHORS[kind]
            case Sequence(parts):
                return "".join(map(self._write, parts))
            case Alternatives(branches):
                return f"(?:{'|'.join(map(self._write, branches))})"
            case Repeat():
                return self._repeat(node)
            case Scope(body) | Capture(body):
                return self._write(body)
            case Atomic(body):
                return self._atomic(body)
            case Look(body, _, is_negated):
                return f"(?{'!' if is_negated else '='}{self._write(body)})"
        raise AssertionError(node)

    def _set(self, ranges: Ranges) -> str:
        # an empty set of JavaScript matches no character
        return f"[{self._table.letters(ranges)}]"

    def _repeat(self, repeat: Repeat) -> str:
        most = "" if repeat.most is None else str(repeat.most)
        lazy = "?" if repeat.greed is Greed.LAZY else ""
        return f"(?:{self._write(repeat.body)}){{{repeat.least},{most}}}{lazy}"

    def _atomic(self, body: Node) -> str:
        # JavaScript does not try a lookahead again, and the reference takes what it matched
        self._groups += 1
        group = self._groups
        return f"(?=({self._write(body)}))\\{group}(?:)"
