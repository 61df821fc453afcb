"""Checks values from JSON against the types of dataclasses. Every mistake is a ValueError that names the field."""

from __future__ import annotations

import dataclasses
import functools
import re
import types
import typing
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Range:
    """Limits of a number, both included, in Annotated."""

    least: float
    most: float


@dataclasses.dataclass(frozen=True)
class Matches:
    """A regular expression that a whole str must match, in Annotated."""

    expression: str


Count = Annotated[int, Range(0, 2**63 - 1)]
"""An integer of at least 0 that 64 bits hold."""
Sha256 = Annotated[str, Matches("[0-9a-f]{64}")]
"""A sha256 in hexadecimal."""


def parse(expected: type[T], value: Any, field: str = "") -> T:
    """Converts a value as json.loads gives it to a type.

    Args:
        expected: A dataclass, NamedTuple, str, int, float, bool, None, Literal, union, list, tuple, dict with str keys,
            Annotated with Range or Matches, or Any. A dataclass is a JSON object with exactly its fields. Fields that
            have a default may be missing. A NamedTuple is a JSON array.
        value: The value.
        field: The name of the value, for messages.

    Raises:
        ValueError: names the field, the expected type and the value found.

    Example:
        >>> parse(list[Count], [1, -1], "lengths")
        Traceback (most recent call last):
        ...
        ValueError: lengths[1]: expected an integer from 0 to 9223372036854775807, found -1
    """
    return typing.cast(T, _parse(expected, value, field))


def _parse(expected: Any, value: Any, field: str) -> Any:
    origin, arguments = typing.get_origin(expected), typing.get_args(expected)
    if expected is Any:
        return value
    if origin is Annotated:
        parsed = _parse(arguments[0], value, field)
        _check(arguments[1], parsed, field)
        return parsed
    if origin in (typing.Union, types.UnionType):
        return _parse_union(arguments, value, field)
    if origin is typing.Literal:
        if not any(type(value) is type(known) and value == known for known in arguments):
            _refuse(" or ".join(map(repr, arguments)), value, field)
        return value
    if origin in (list, dict, tuple):
        return _parse_container(origin, arguments, value, field)
    if dataclasses.is_dataclass(expected):
        return _parse_object(expected, value, field)
    if isinstance(expected, type) and issubclass(expected, tuple):
        hints = typing.get_type_hints(expected, include_extras=True)
        return expected(*_parse(tuple[tuple(hints.values())], value, field))  # type: ignore[misc]
    return _parse_scalar(expected, value, field)


def _parse_union(members: tuple[Any, ...], value: Any, field: str) -> Any:
    if value is None and type(None) in members:
        return None
    rest = [member for member in members if member is not type(None)]
    if len(rest) > 1:
        raise TypeError(f"a union of {rest} cannot be parsed")
    return _parse(rest[0], value, field)


def _parse_container(origin: Any, arguments: tuple[Any, ...], value: Any, field: str) -> Any:
    if origin is dict:
        if not isinstance(value, dict):
            _refuse("an object", value, field)
        return {key: _parse(arguments[1], item, _joined(field, key)) for key, item in value.items()}
    if not isinstance(value, list):
        _refuse("an array", value, field)
    if origin is list:
        return [_parse(arguments[0], item, f"{field}[{k}]") for k, item in enumerate(value)]
    if len(value) != len(arguments):
        _refuse(f"an array of {len(arguments)} values", value, field)
    return tuple(_parse(arguments[k], item, f"{field}[{k}]") for k, item in enumerate(value))


def _parse_object(expected: Any, value: Any, field: str) -> Any:
    if not isinstance(value, dict):
        _refuse("an object", value, field)
    fields = {one.name: one for one in dataclasses.fields(expected)}
    for name in value:
        if name not in fields:
            raise ValueError(f"{_joined(field, name)}: unknown field")
    parsed = {}
    for name, hint in _hints(expected).items():
        if name in value:
            parsed[name] = _parse(hint, value[name], _joined(field, name))
        elif fields[name].default is dataclasses.MISSING and fields[name].default_factory is dataclasses.MISSING:
            raise ValueError(f"{_joined(field, name)}: missing field")
    try:
        return expected(**parsed)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{field}: {error}" if field else str(error)) from None


@functools.cache
def _hints(expected: Any) -> Mapping[str, Any]:
    hints = typing.get_type_hints(expected, include_extras=True)
    return {field.name: hints[field.name] for field in dataclasses.fields(expected)}


_SCALARS = {str: "a string", int: "an integer", float: "a number", bool: "true or false", type(None): "null"}


def _parse_scalar(expected: Any, value: Any, field: str) -> Any:
    if expected is float and type(value) is int and abs(value) < 1 << 53:
        return float(value)
    if type(value) is not expected:
        _refuse(_SCALARS[expected], value, field)
    return value


def _check(limit: Range | Matches, value: Any, field: str) -> None:
    if isinstance(limit, Matches):
        if not re.fullmatch(limit.expression, value):
            _refuse(f"a string of the form {limit.expression}", value, field)
    elif not limit.least <= value <= limit.most:
        kind = "an integer" if isinstance(value, int) else "a number"
        _refuse(f"{kind} from {limit.least} to {limit.most}", value, field)


def _joined(field: str, name: str) -> str:
    shown = name if re.fullmatch(r"[\w.<>|-]{1,80}", name) else repr(name[:80])
    return f"{field}.{shown}" if field else shown


def _refuse(expected: str, value: Any, field: str) -> typing.NoReturn:
    found = repr(value)
    raise ValueError(
        f"{field or 'content'}: expected {expected}, found {found if len(found) < 80 else found[:77] + '...'}"
    )
