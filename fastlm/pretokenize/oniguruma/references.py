"""Groups that capture, their names, and references to them."""

from __future__ import annotations

import re

from fastlm.pretokenize.oniguruma.nodes import Reference
from fastlm.pretokenize.oniguruma.source import Options, Source

MOST_REFERENCES = 1000
_NAME = re.compile(r"\(\?(?:<([^>)]*)>|'([^')]*)')", re.DOTALL)
_NAMED_REFERENCE = re.compile(r"k(?:<([^>)]*)>|'([^')]*)')", re.DOTALL)
_NUMBER = re.compile(r"([-+]?)([0-9]+)\Z")
_LEVEL = re.compile(r"[-+][0-9]+\Z")
_DIGITS = re.compile(r"[1-9][0-9]*")


class Groups:
    """The groups of an expression as far as it has been read."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._names: dict[str, list[int]] = {}
        self._count = 0
        self._numbered: list[tuple[int, int]] = []  # group and position of the references by number

    def capturing(self) -> frozenset[int]:
        """The groups that capture: where a group has a name, only those with one."""
        named = frozenset(index for indices in self._names.values() for index in indices)
        return named or frozenset(range(1, self._count + 1))

    def open_group(self) -> int:
        """Reads the opening of a group that captures; returns its number."""
        source = self._source
        start = source.position
        name = None
        found = source.take_match(_NAME)
        if found:
            name = found[1] if found[1] is not None else found[2]
            if not name or name[0].isdecimal() or not (name[0] == "_" or name[0].isalnum()):
                source.fail(f"{name!r} is not a name of a group", start)
        elif source.peek("(?"):
            source.fail(f"{source.expression[start : start + 4]!r} opens no group", start)
        else:
            source.take("(")
        self._count += 1
        if name:
            self._names.setdefault(name, []).append(self._count)
        return self._count

    def take_reference(self, options: Options) -> Reference | None:
        """Reads a reference after the backslash; None where another escape follows."""
        source = self._source
        start = source.position - 1
        found = source.take_match(_NAMED_REFERENCE)
        if found:
            return self._named(found[1] if found[1] is not None else found[2], options, start)
        if source.peek("k<") or source.peek("k'"):
            source.fail("a reference without a closing bracket", start)
        digits = _DIGITS.match(source.expression, source.position)
        if digits is None:
            return None
        number = int(digits[0][:5])
        if number > MOST_REFERENCES or number > max(9, self._count):
            return None
        source.position = digits.end()
        return self._by_number(number, options, start)

    def _named(self, name: str, options: Options, start: int) -> Reference:
        source = self._source
        number = _NUMBER.match(name)
        if number:
            value = int(number[2][:9])
            if number[1]:
                value = self._count + value if number[1] == "+" else self._count + 1 - value
            if value <= 0:
                source.fail(f"no group has the number {name}", start)
            return self._by_number(value, options, start)
        if _LEVEL.search(name):
            source.refuse(r"\k with a nesting level", start)
        if name not in self._names:
            source.fail(f"no group before it is named {name!r}", start)
        return Reference(tuple(self._names[name]), options.folds)

    def _by_number(self, number: int, options: Options, start: int) -> Reference:
        self._numbered.append((number, start))
        return Reference((number,), options.folds)

    def check_references(self) -> None:
        """Raises ValueError for a reference to a group that does not exist, once all has been read."""
        for number, position in self._numbered:
            if self._names:
                self._source.fail("a reference by number where groups have names", position)
            if number > self._count:
                self._source.fail(f"no group has the number {number}", position)
