"""The nodes of a parsed expression. The parser has resolved names, options and escapes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import TypeAlias

from fastlm.pretokenize.oniguruma.code_points import Ranges


class Kind(Enum):
    """What an anchor asks for at a position."""

    LINE_START = auto()
    LINE_END = auto()
    TEXT_START = auto()
    TEXT_END = auto()
    LAST_LINE_END = auto()
    SEARCH_START = auto()
    WORD_BOUNDARY = auto()
    NO_WORD_BOUNDARY = auto()
    GRAPHEME_BOUNDARY = auto()
    NO_GRAPHEME_BOUNDARY = auto()


class Greed(Enum):
    """Which number of repetitions is tried first."""

    GREEDY = auto()
    LAZY = auto()


@dataclass(frozen=True, slots=True)
class Text:
    """Characters, one after the other. folds: whether their case is ignored."""

    characters: str
    folds: bool = False


@dataclass(frozen=True, slots=True)
class CharacterSet:
    """One character of a set."""

    ranges: Ranges


@dataclass(frozen=True, slots=True)
class Anchor:
    """A condition on a position. ascii_words: whether only ASCII characters count as word characters."""

    kind: Kind
    ascii_words: bool = False


@dataclass(frozen=True, slots=True)
class Keep:
    """The match starts here."""


@dataclass(frozen=True, slots=True)
class Sequence:
    """Nodes, one after the other."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Alternatives:
    """The first of these nodes that leads to a match."""

    branches: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Repeat:
    """A node several times. most: None where there is no limit."""

    body: Node
    least: int
    most: int | None
    greed: Greed


@dataclass(frozen=True, slots=True)
class Scope:
    """A node whose options differ from the options around it. Adjacent texts do not merge across its border."""

    body: Node


@dataclass(frozen=True, slots=True)
class Atomic:
    """A node that is not tried again once it has matched."""

    body: Node


@dataclass(frozen=True, slots=True)
class Capture:
    """A group that references can name."""

    body: Node
    index: int


@dataclass(frozen=True, slots=True)
class Look:
    """A lookahead or a lookbehind. position: where it starts in the expression."""

    body: Node
    is_behind: bool
    is_negated: bool
    position: int


@dataclass(frozen=True, slots=True)
class Reference:
    """The text of the last of these groups that has one and that matches here."""

    groups: tuple[int, ...]
    folds: bool


Node: TypeAlias = (
    Text | CharacterSet | Anchor | Keep | Sequence | Alternatives | Repeat | Scope | Atomic | Capture | Look | Reference
)

# what \R matches; \r\n is not given up for \r
NEWLINE_SEQUENCE = Atomic(Alternatives((Text("\r\n"), CharacterSet(((0x0A, 0x0D), (0x85, 0x85), (0x2028, 0x2029))))))


def children(node: Node) -> tuple[Node, ...]:
    """The nodes directly within a node."""
    if isinstance(node, Sequence):
        return node.parts
    if isinstance(node, Alternatives):
        return node.branches
    if isinstance(node, Repeat | Scope | Atomic | Capture | Look):
        return (node.body,)
    return ()


def walk(node: Node) -> Iterator[Node]:
    """The node and all nodes within it."""
    pending = [node]
    while pending:
        current = pending.pop()
        yield current
        pending += children(current)


def rebuilt(node: Node, change: Callable[[Node, bool], Node]) -> Node:
    """The node with each node directly in it replaced. change: given a node and whether a lookbehind holds it."""
    if isinstance(node, Sequence):
        return Sequence(tuple(change(part, False) for part in node.parts))
    if isinstance(node, Alternatives):
        return Alternatives(tuple(change(branch, False) for branch in node.branches))
    if isinstance(node, Look):
        return replace(node, body=change(node.body, node.is_behind))
    if isinstance(node, Repeat | Scope | Atomic | Capture):
        return replace(node, body=change(node.body, False))
    return node
