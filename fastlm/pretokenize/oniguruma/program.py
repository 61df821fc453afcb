"""From the nodes of an expression to the program that `_backtrack` runs."""

from __future__ import annotations

import numpy as np

from fastlm.pretokenize.oniguruma import case_folding, errors, properties, tables
from fastlm.pretokenize.oniguruma._backtrack import Program
from fastlm.pretokenize.oniguruma.code_points import ASCII, Ranges, intersection
from fastlm.pretokenize.oniguruma.first_bytes import first_bytes
from fastlm.pretokenize.oniguruma.instructions import ANCHORS, Op
from fastlm.pretokenize.oniguruma.lengths import lengths, one_character
from fastlm.pretokenize.oniguruma.nodes import (
    Alternatives,
    Anchor,
    Atomic,
    Capture,
    CharacterSet,
    Greed,
    Keep,
    Look,
    Node,
    Reference,
    Repeat,
    Scope,
    Sequence,
    Text,
    children,
    walk,
)

MOST_INSTRUCTIONS = 50_000
MOST_WRITTEN_OUT = 200
"""Instructions that the rounds of one repeat may take; with more, a counter counts the rounds."""


def compiled(node: Node, expression: str) -> Program:
    """The program of a parsed expression.

    Raises:
        ValueError: The program would be too large.
    """
    node = case_folding.unfolded(node)
    compiler = _Compiler(node, expression)
    compiler.add(node)
    compiler.emit(Op.MATCH)
    return compiler.program()


class _Compiler:
    def __init__(self, node: Node, expression: str) -> None:
        self._root = node
        self._expression = expression
        self._code: list[list[int]] = []
        self._marked: list[bool] = []
        self._literals = b""
        self._sets: dict[Ranges, int] = {}
        self._references: list[int] = []
        self._registers = 0
        found = list(walk(node))
        self._groups = {
            group: self._register(2)
            for group in sorted({index for node in found if isinstance(node, Reference) for index in node.groups})
        }
        # what follows from a branch point depends on more than the position inside of lookarounds and the like
        self._outside = 0 if self._groups else 1

    def program(self) -> Program:
        """The program of what has been added."""
        marked = np.array(self._marked)
        marks = np.where(marked, np.cumsum(marked) - 1, -1).astype(np.int32)
        bitmaps, astral, astral_start = tables.sets(list(self._sets))
        clusters = any(code[0] == Op.CLUSTER_BOUNDARY for code in self._code)
        folds = any(code[0] == Op.REFERENCE and code[3] for code in self._code)
        return Program(
            np.array(self._code, np.int32),
            self._literals,
            bitmaps,
            astral,
            astral_start,
            np.array(self._references, np.int32),
            np.array(case_folding.fold_table() if folds else [], np.int32).reshape(-1, 2),
            marks,
            self._registers,
            first_bytes(self._root),
            properties.cluster_classes() if clusters else None,
        )

    def emit(self, op: Op, a: int = 0, b: int = 0, c: int = 0, d: int = 0) -> int:
        """Adds an instruction; returns its number."""
        if len(self._code) >= MOST_INSTRUCTIONS:
            raise ValueError(
                f"expression {errors.shown(self._expression)} takes more than {MOST_INSTRUCTIONS} instructions, "
                "which is not supported"
            )
        self._code.append([op, a, b, c, d])
        is_branch = op is Op.PUSH or (op in (Op.SPAN, Op.SPAN_POSSESSIVE) and b != c)
        self._marked.append(is_branch and self._outside == 1)
        return len(self._code) - 1

    def _register(self, count: int = 1) -> int:
        self._registers += count
        return self._registers - count

    def _set(self, ranges: Ranges) -> int:
        return self._sets.setdefault(ranges, len(self._sets))

    def _here(self) -> int:
        return len(self._code)

    def _point(self, *instructions: int) -> None:
        """Lets jumps and branches go to the next instruction."""
        for number in instructions:
            operand = 1 if self._code[number][0] in (Op.JUMP, Op.PUSH) else 4
            self._code[number][operand] = self._here()

    def add(self, node: Node) -> None:
        """Adds the instructions of a node."""
        match node:
            case Sequence(parts):
                for part in parts:
                    self.add(part)
            case Alternatives(branches):
                self._alternatives(branches)
            case Repeat():
                self._repeat(node)
            case Scope(body):
                self.add(body)
            case Atomic(body):
                self._atomic(body)
            case Capture(body, index):
                self._capture(body, index)
            case Look():
                self._look(node)
            case _:
                self._leaf(node)

    def _leaf(self, node: Node) -> None:
        match node:
            case Text(characters):
                encoded = characters.encode()
                self.emit(Op.TEXT, self._literal(encoded), len(encoded))
            case CharacterSet(ranges):
                self.emit(Op.SET, self._set(ranges))
            case Anchor():
                self._anchor(node)
            case Keep():
                self.emit(Op.KEEP)
            case Reference(groups, folds):
                self.emit(Op.REFERENCE, len(self._references), len(groups), int(folds))
                self._references += [self._groups[group] for group in groups]

    def _literal(self, encoded: bytes) -> int:
        at = self._literals.find(encoded)
        if at < 0:
            at = len(self._literals)
            self._literals += encoded
        return at

    def _anchor(self, anchor: Anchor) -> None:
        op, is_negated = ANCHORS[anchor.kind]
        words = 0
        if op is Op.WORD_BOUNDARY:
            ranges = properties.word_characters()
            words = self._set(intersection(ranges, ASCII) if anchor.ascii_words else ranges)
        self.emit(op, words, is_negated)

    def _alternatives(self, branches: tuple[Node, ...]) -> None:
        jumps = []
        for branch in branches[:-1]:
            push = self.emit(Op.PUSH)
            self.add(branch)
            jumps.append(self.emit(Op.JUMP))
            self._point(push)
        self.add(branches[-1])
        self._point(*jumps)

    def _capture(self, body: Node, index: int) -> None:
        register = self._groups.get(index)
        if register is None:
            self.add(body)
            return
        # a group that is not finished has no text
        self.emit(Op.SAVE, register, 1)
        self.add(body)
        self.emit(Op.SAVE, register + 1)

    def _atomic(self, body: Node) -> None:
        ranges = one_character(body.body) if isinstance(body, Repeat) and body.greed is Greed.GREEDY else None
        if ranges is not None and isinstance(body, Repeat):
            self._span(Op.SPAN_POSSESSIVE, ranges, body)
            return
        register = self._register()
        self.emit(Op.ATOMIC_START, register)
        self._inside(body)
        self.emit(Op.ATOMIC_END, register)

    def _inside(self, node: Node) -> None:
        self._outside -= 1
        self.add(node)
        self._outside += 1

    def _look(self, look: Look) -> None:
        register = self._register(2)
        start = self.emit(Op.NOT_START if look.is_negated else Op.LOOK_START, register)
        limit = None
        if look.is_behind:
            least, most = lengths(look.body)
            if least != most:
                limit = self._register()
                self.emit(Op.LIMIT, limit)
                self.emit(Op.BACK_RANGE, least, -1 if most is None else most)
            else:
                self.emit(Op.BACK, least)
        self._inside(look.body)
        if limit is not None:
            self.emit(Op.UNLIMIT, limit)
        self.emit(Op.NOT_END if look.is_negated else Op.LOOK_END, register)
        if look.is_negated:
            self._point(start)

    def _span(self, op: Op, ranges: Ranges, repeat: Repeat) -> None:
        self.emit(op, self._set(ranges), repeat.least, -1 if repeat.most is None else repeat.most)

    def _repeat(self, repeat: Repeat) -> None:
        ranges = one_character(repeat.body)
        if ranges is not None and (repeat.greed is Greed.GREEDY or repeat.least == repeat.most):
            self._span(Op.SPAN, ranges, repeat)
            return
        rounds = _rounds(repeat)
        if rounds > 1 and rounds * _size(repeat.body) > MOST_WRITTEN_OUT:
            self._counted(repeat)
            return
        for _ in range(repeat.least):
            self.add(repeat.body)
        if repeat.most is None:
            self._loop(repeat)
        else:
            self._optional(repeat, repeat.most - repeat.least)

    def _branch(self, greed: Greed) -> int:
        """A choice between the next instruction, first where greedy, and the one that the result will be pointed to."""
        push = self.emit(Op.PUSH)
        if greed is Greed.GREEDY:
            return push
        jump = self.emit(Op.JUMP)
        self._point(push)
        return jump

    def _loop(self, repeat: Repeat) -> None:
        top = self._here()
        leaves = [self._branch(repeat.greed)]
        leaves += self._round(repeat)
        self.emit(Op.JUMP, top)
        self._point(*leaves)

    def _round(self, repeat: Repeat) -> list[int]:
        """The body of a repeat; returns the instruction that leaves the repeat after a round of no characters."""
        if lengths(repeat.body)[0]:
            self.add(repeat.body)
            return []
        register = self._register()
        self.emit(Op.SAVE, register)
        self.add(repeat.body)
        return [self.emit(Op.LEAVE_IF_EMPTY, register)]

    def _optional(self, repeat: Repeat, count: int) -> None:
        leaves = []
        for _ in range(count):
            leaves.append(self._branch(repeat.greed))
            self.add(repeat.body)
        self._point(*leaves)

    def _counted(self, repeat: Repeat) -> None:
        counter = self._register()
        self.emit(Op.RESET, counter)
        top = self._here()
        op = Op.COUNT if repeat.greed is Greed.GREEDY else Op.COUNT_LAZY
        count = self.emit(op, counter, repeat.least, -1 if repeat.most is None else repeat.most)
        self.emit(Op.INCREMENT, counter)
        self._outside -= 1
        leaves = self._round(repeat)
        self._outside += 1
        self.emit(Op.JUMP, top)
        self._point(count, *leaves)


def _rounds(repeat: Repeat) -> int:
    """How often the body of a repeat is written out, where no counter counts its rounds."""
    return repeat.least + 1 if repeat.most is None else repeat.most


def _size(node: Node) -> int:
    """About how many instructions a node takes."""
    inner = sum(map(_size, children(node)))
    if isinstance(node, Repeat) and one_character(node.body) is None:
        inner *= max(_rounds(node), 1)
    return min(inner + 2, MOST_INSTRUCTIONS)
