"""Sets in brackets: members, ranges, nested sets, POSIX classes, intersection and negation."""

from __future__ import annotations

import re
from enum import Enum, auto

from fastlm.pretokenize.oniguruma import escapes, properties
from fastlm.pretokenize.oniguruma.code_points import ASCII, Ranges, complement, intersection, union
from fastlm.pretokenize.oniguruma.source import Options, Source

_POSIX = re.compile(r"\[:(\^?)([a-z]+):\]")
_POSIX_ENDS = re.compile(r"\[:(?:\\.|[^\]\\:]|:(?!\]))*:\]", re.DOTALL)
_POSIX_NAMES = (
    *("alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space", "upper"),
    *("word", "xdigit"),
)
_CODE_POINT_RANGES = re.compile(r"\\x\{([0-9A-Fa-f]+(?:[ \n]*-[ \n]*[0-9A-Fa-f]+|[ \n]+[0-9A-Fa-f]+)*)\}")
_CODE_POINT_TOKEN = re.compile(r"[0-9A-Fa-f]+|-")
MOST_NESTED = 50


class _State(Enum):
    """What a hyphen means next: a range, or itself."""

    START = auto()
    VALUE = auto()
    CLASS = auto()
    RANGE = auto()
    COMPLETE = auto()


class _Members:
    """The operands of && that have been read, and the members of the one that is being read."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._before: Ranges | None = None
        self._start()

    def _start(self) -> None:
        self._ranges: list[tuple[int, int]] = []
        self._value = 0
        self.state = _State.START

    def add_value(self, value: int) -> None:
        """Takes a character: a member, or the end of a range."""
        if self.state is _State.RANGE:
            if value < self._value:
                self._source.fail("a range whose end is before its start")
            self._ranges.append((self._value, value))
            self.state = _State.COMPLETE
            return
        self._flush()
        self._value = value
        self.state = _State.VALUE

    def add_class(self, ranges: Ranges) -> None:
        """Takes a class of characters."""
        if self.state is _State.RANGE:
            self._source.fail("a range that ends with a class of characters")
        self._flush()
        self._ranges += ranges
        self.state = _State.CLASS

    def add_set(self, ranges: Ranges) -> None:
        """Takes a nested set. A range that it ends is dropped, as in Oniguruma."""
        self._flush()
        self._ranges += ranges
        self.state = _State.COMPLETE

    def intersect(self) -> None:
        """Ends an operand of &&."""
        self._before = self.ranges()
        self._start()

    def ranges(self) -> Ranges:
        """The set as read so far."""
        self._flush()
        found = union(self._ranges)
        return found if self._before is None else intersection(self._before, found)

    def _flush(self) -> None:
        if self.state is _State.VALUE:
            self._ranges.append((self._value, self._value))


class SetReader:
    """Reads sets from a source."""

    def __init__(self, source: Source, options: Options, depth: int = 0) -> None:
        self._source = source
        self._options = options
        self._depth = depth

    def read(self) -> tuple[Ranges, bool]:
        """(the members, whether the set is all but them), read after the opening bracket."""
        source = self._source
        start = source.position - 1
        if self._depth > MOST_NESTED:
            source.refuse(f"sets nested more than {MOST_NESTED} deep", start)
        is_negated = source.take("^")
        members = _Members(source)
        if source.peek("]"):
            if "]" not in source.expression[source.position + 1 :]:
                source.fail("an empty set", start)
            self._add(members)
        while not source.take("]"):
            if source.is_at_end:
                source.fail("a set without a closing bracket", start)
            self._add(members)
        return members.ranges(), is_negated

    def _add(self, members: _Members) -> None:
        source = self._source
        if source.take("&&"):
            members.intersect()
        elif source.peek("["):
            self._bracket(members)
        elif source.peek("-"):
            self._hyphen(members)
        elif source.take("\\"):
            self._escape(members)
        else:
            members.add_value(ord(source.take_character()))

    def _bracket(self, members: _Members) -> None:
        source = self._source
        found = source.take_match(_POSIX)
        if found and found[2] in _POSIX_NAMES:
            members.add_class(self._posix_class(found[2], bool(found[1])))
            return
        if found or _POSIX_ENDS.match(source.expression, source.position):
            source.fail("a POSIX class of an unknown name")
        source.take("[")
        ranges, is_negated = SetReader(source, self._options, self._depth + 1).read()
        members.add_set(complement(ranges) if is_negated else ranges)

    def _posix_class(self, name: str, is_negated: bool) -> Ranges:
        # the property "punct" is another one
        ranges = properties.find("posixpunct" if name == "punct" else name)
        assert ranges is not None
        if self._options.limits(name):
            ranges = intersection(ranges, ASCII)
        return complement(ranges) if is_negated else ranges

    def _hyphen(self, members: _Members) -> None:
        source = self._source
        source.take("-")
        if members.state not in (_State.VALUE, _State.CLASS) or source.peek("]") or source.peek("&&"):
            members.add_value(ord("-"))
        elif members.state is _State.CLASS:
            source.fail("a range that starts with a class of characters")
        else:
            members.state = _State.RANGE

    def _escape(self, members: _Members) -> None:
        source = self._source
        ranges = escapes.take_class(source, self._options, in_set=True)
        if ranges is not None:
            members.add_class(ranges)
            return
        source.position -= 1
        found = _CODE_POINT_RANGES.match(source.expression, source.position)
        if found and "-" in found[1]:
            source.position = found.end()
            self._code_point_ranges(members, found[1])
            return
        source.take("\\")
        for value in escapes.take_characters(source, in_set=True):
            members.add_value(value)

    def _code_point_ranges(self, members: _Members, listed: str) -> None:
        for token in _CODE_POINT_TOKEN.findall(listed):
            if token == "-":
                members.state = _State.RANGE
            else:
                members.add_value(int(token, 16))
