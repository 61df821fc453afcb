"""Values of configurations: from TOML and to it, and checks of their types."""

from __future__ import annotations

import json
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal

# names that were used before, and are still accepted
ALIASES = {"valid_data": "validation_data", "data": "train_data"}
# the aliases that are no deprecated names
SHORT_NAMES = ("data",)
# the spellings of no value, which TOML and command lines lack
NO_VALUE = ("none", "None")


def may_be_none(hint: Any) -> bool:
    """Whether a field of this type may be None."""
    return types.NoneType in typing.get_args(hint)


def field_types(cls: type) -> dict[str, Any]:
    """The types of the fields of a dataclass, by name."""
    return typing.get_type_hints(cls)


def renamed(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values with the full, current names of fields."""
    found = dict(values)
    for other, name in ALIASES.items():
        if other in found:
            if name in found:
                raise ValueError(f"{other} and {name} are given; expected only {name}")
            found[name] = found.pop(other)
    return found


def python_values(values: Mapping[str, Any], hints: Mapping[str, Any]) -> dict[str, Any]:
    """The values with lists as tuples, one text as a list of it, and None for "none" in fields that may be None."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        hint = hints.get(name)
        if isinstance(value, str) and may_be_none(hint) and value in NO_VALUE:
            found[name] = None
        elif isinstance(value, str) and typing.get_origin(hint) is tuple:
            found[name] = (value,)
        else:
            found[name] = tuple(value) if isinstance(value, list) else value
    return found


def to_toml(value: Any) -> str:
    """Formats a value as TOML; None is "none"."""
    if isinstance(value, tuple):
        return f"[{', '.join(map(to_toml, value))}]"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{name} = {to_toml(item)}' for name, item in value.items())}}}"
    # JSON's strings, numbers and booleans are TOML too, if non-ASCII characters are not escaped
    return '"none"' if value is None else json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def check(name: str, value: Any, holds: bool, expected: str) -> None:
    """Raises ValueError that names the field, the value and the expected values unless `holds`."""
    if not holds:
        raise ValueError(f"{name} is {value!r}; expected {expected}")


def check_type(name: str, value: Any, hint: Any) -> None:
    """Raises ValueError unless a value has the type of its field, and TOML can represent it."""
    if not _is_of(value, hint):
        raise ValueError(f"{name} is {value!r}; expected {_described(hint)}")
    for text in value if isinstance(value, tuple) else [value]:
        if isinstance(text, str):
            plain = "\0" not in text and not any("\ud800" <= character <= "\udfff" for character in text)
            check(name, value, plain, "text without NUL and surrogates, which TOML lacks")
    if may_be_none(hint) and value in NO_VALUE:
        raise ValueError(
            f"{name} is {value!r}, which means no value in a file; expected another name, such as './none'"
        )


def _is_of(value: Any, hint: Any) -> bool:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return isinstance(value, str) and value in arguments
    if origin in (types.UnionType, typing.Union):
        return any(_is_of(value, argument) for argument in arguments)
    if origin is tuple:
        return isinstance(value, tuple) and all(isinstance(item, arguments[0]) for item in value)
    return type(value) is hint or (hint is float and type(value) is int)


def _described(hint: Any) -> str:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return f"one of {', '.join(arguments)}" if len(arguments) > 1 else repr(arguments[0])
    if origin in (types.UnionType, typing.Union):
        return " or ".join(map(_described, arguments))
    names = {int: "an integer", float: "a number", bool: "true or false", str: "text", types.NoneType: "none"}
    return "a list of texts" if origin is tuple else names.get(hint, hint.__name__)
