"""Parentheses: groups, options, lookaround."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

from fastlm.pretokenize.oniguruma.nodes import Atomic, Capture, Look, Node, Scope
from fastlm.pretokenize.oniguruma.references import Groups
from fastlm.pretokenize.oniguruma.source import Options, Source

MOST_NESTED = 50
_OPTIONS = re.compile(r"\(\?((?:[-imxWDSP]|y\{g\})+)([:)])")
_OPTION = re.compile(r"y\{g\}|.")
_NAME_OF_OPTION = {
    "i": "folds",
    "m": "dot_matches_newline",
    "x": "is_extended",
    "W": "ascii_words",
    "D": "ascii_digits",
    "S": "ascii_spaces",
    "P": "ascii_posix",
}
_UNSUPPORTED = {
    "(?~": "(?~ (an absent operator)",
    "(?(": "(?( (a conditional)",
    "(?{": "(?{ (a callout)",
    "(*": "(* (a callout)",
    "(?y{w}": "(?y{w} (words as text segments)",
}
_GLOBAL_OPTIONS = re.compile(r"\(\?[-imxWDSP]*([CIL])")
_LOOKS = (("(?=", False, False), ("(?!", False, True), ("(?<=", True, False), ("(?<!", True, True))


class GroupReader:
    """Reads groups.

    Args:
        source: The expression.
        groups: The groups that capture.
        alternatives: Reads the content of a group, given its options.
    """

    def __init__(self, source: Source, groups: Groups, alternatives: Callable[[Options], Node]) -> None:
        self._source = source
        self._groups = groups
        self._alternatives = alternatives
        self._depth = 0

    def read(self, options: Options) -> Node:
        """The group that starts here. If it has only options, the part of the expression that they apply to."""
        source = self._source
        start = source.position
        changed = source.take_match(_OPTIONS)
        if changed:
            options = _changed(options, changed[1])
            if changed[2] == ")":
                # they hold up to the end of the group that they are in, for later alternatives too
                return Scope(self._nested(options, start))
            return Scope(self._ended(options, start))
        self._refuse_unsupported()
        if source.take("(?:"):
            return self._ended(options, start)
        if source.take("(?>"):
            return Atomic(self._ended(options, start))
        for opening, is_behind, is_negated in _LOOKS:
            if source.take(opening):
                return Look(self._ended(options, start), is_behind, is_negated, start)
        index = self._groups.open_group()
        return Capture(self._ended(options, start), index)

    def _refuse_unsupported(self) -> None:
        source = self._source
        for opening, feature in _UNSUPPORTED.items():
            if source.peek(opening):
                source.refuse(feature, source.position)
        found = _GLOBAL_OPTIONS.match(source.expression, source.position)
        if found:
            source.refuse(f"option {found[1]}", source.position)

    def _nested(self, options: Options, start: int) -> Node:
        self._depth += 1
        if self._depth > MOST_NESTED:
            self._source.refuse(f"groups nested more than {MOST_NESTED} deep", start)
        node = self._alternatives(options)
        self._depth -= 1
        return node

    def _ended(self, options: Options, start: int) -> Node:
        node = self._nested(options, start)
        if not self._source.take(")"):
            self._source.fail("a group without a closing parenthesis", start)
        return node


def _changed(options: Options, letters: str) -> Options:
    value = True
    for letter in _OPTION.findall(letters):
        if letter == "-":
            value = False
        elif letter in _NAME_OF_OPTION:
            options = replace(options, **{_NAME_OF_OPTION[letter]: value})
    return options
