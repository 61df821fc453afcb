"""The instructions of programs."""

from __future__ import annotations

from enum import IntEnum

from fastlm.pretokenize.oniguruma.nodes import Kind


class Op(IntEnum):
    """The instructions, in the order of the enum in matcher.h, which says what their operands are."""

    MATCH = 0
    TEXT = 1
    SET = 2
    SPAN = 3
    SPAN_POSSESSIVE = 4
    JUMP = 5
    PUSH = 6
    LINE_START = 7
    LINE_END = 8
    TEXT_START = 9
    TEXT_END = 10
    LAST_LINE_END = 11
    SEARCH_START = 12
    WORD_BOUNDARY = 13
    CLUSTER_BOUNDARY = 14
    KEEP = 15
    SAVE = 16
    REFERENCE = 17
    RESET = 18
    COUNT = 19
    COUNT_LAZY = 20
    INCREMENT = 21
    LEAVE_IF_EMPTY = 22
    ATOMIC_START = 23
    ATOMIC_END = 24
    LOOK_START = 25
    LOOK_END = 26
    NOT_START = 27
    NOT_END = 28
    BACK = 29
    BACK_RANGE = 30
    LIMIT = 31
    UNLIMIT = 32


ANCHORS = {
    Kind.LINE_START: (Op.LINE_START, 0),
    Kind.LINE_END: (Op.LINE_END, 0),
    Kind.TEXT_START: (Op.TEXT_START, 0),
    Kind.TEXT_END: (Op.TEXT_END, 0),
    Kind.LAST_LINE_END: (Op.LAST_LINE_END, 0),
    Kind.SEARCH_START: (Op.SEARCH_START, 0),
    Kind.WORD_BOUNDARY: (Op.WORD_BOUNDARY, 0),
    Kind.NO_WORD_BOUNDARY: (Op.WORD_BOUNDARY, 1),
    Kind.GRAPHEME_BOUNDARY: (Op.CLUSTER_BOUNDARY, 0),
    Kind.NO_GRAPHEME_BOUNDARY: (Op.CLUSTER_BOUNDARY, 1),
}
"""Kind of anchor -> its instruction, and whether the instruction is negated."""
