"""The base of all components of a tokenizer: options, a JSON state, and a stamp that grows with each change."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Callable
from typing import Any, ClassVar, Literal, NamedTuple, NoReturn, TypeVar

from fastlm._arguments import items_of
from fastlm.compat.tokenizers.arguments import is_instance, one_of_kinds, string, unsigned
from fastlm.compat.tokenizers.refused_members import REFUSED_MEMBERS
from fastlm.formats.tokenizer_json.components import UnsupportedComponentError
from fastlm.pretokenize.patterns import find_pattern

_stamps = itertools.count(1)


class Option:
    """An attribute of a component that can be set. `check` converts the value or raises."""

    def __init__(self, check: Callable[[Any], Any]) -> None:
        self.check = check

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, instance: Any, owner: type) -> Any:
        return self if instance is None else getattr(instance.parsed(), self.name)

    def __set__(self, instance: Any, value: Any) -> None:
        instance.set_parsed(dataclasses.replace(instance.parsed(), **{self.name: self.check(value)}))


class Component:
    """A step of a tokenizer: a frozen dataclass of `fastlm.formats.tokenizer_json`, and what `tokenizers` lets one do
    with it. `type_name` is its name in tokenizer.json, `options` are the attributes that printing shows.
    """

    type_name: ClassVar[str]
    options: ClassVar[tuple[str, ...]] = ()
    _parsed: Any
    _stamp: int

    def __setattr__(self, name: str, value: Any) -> None:
        if not name.startswith("_") and not hasattr(type(self), name):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        super().__setattr__(name, value)

    def parsed(self) -> Any:
        """The component as a frozen dataclass."""
        return self._parsed

    def set_parsed(self, parsed: Any) -> None:
        """Replaces the frozen dataclass."""
        self._parsed = parsed
        self._stamp = next(_stamps)

    def stamp(self) -> int:
        """A number that is larger after each change of this component or of one that it is made of."""
        return self._stamp

    @classmethod
    def of_parsed(cls, parsed: Any) -> Any:
        """The component of a frozen dataclass."""
        made = object.__new__(cls)
        made.set_parsed(parsed)
        return made

    def json_value(self) -> dict[str, Any]:
        """The JSON object of the component."""
        found: dict[str, Any] = self.parsed().content()
        return found

    @classmethod
    def from_content(cls, content: dict[str, Any]) -> Any:
        """The component of a JSON object. Raises ValueError or NotImplementedError."""
        raise NotImplementedError(cls.__name__)

    def __getstate__(self) -> bytes:
        return to_json(self.json_value()).encode()

    def __reduce__(self) -> tuple[Callable[[bytes], Any], tuple[bytes]]:
        return type(self)._from_state, (self.__getstate__(),)

    @classmethod
    def _from_state(cls, state: bytes) -> Any:
        return cls.from_content(json.loads(state))

    def __setstate__(self, state: bytes) -> None:
        self.__dict__.update(self._from_state(state).__dict__)
        self._stamp = next(_stamps)

    def shown_fields(self) -> dict[str, Any]:
        """Name -> value of the fields that printing shows."""
        return {option: getattr(self, option) for option in self.options}

    def __repr__(self) -> str:
        return shown(self, WHOLE)

    def __str__(self) -> str:
        return shown(self, SHORT)


class Steps(Component):
    """Components of one kind, one after the other: the base of each kind's Sequence.

    `key` is the name of the list in tokenizer.json and in printing, `sequence_type` the frozen dataclass.
    """

    type_name = "Sequence"
    key: ClassVar[str]
    sequence_type: ClassVar[type]

    def _take(self, parts: list[Any], kind: type[Component]) -> None:
        """Keeps the parts. Raises TypeError if they are not a list of this kind."""
        is_instance(parts, list)
        for part in parts:
            is_instance(part, kind)
        self._kind = kind
        self._parts = items_of(parts)
        self._stamp = next(_stamps)

    def parsed(self) -> Any:
        return self.sequence_type(tuple(part.parsed() for part in self._parts))

    def stamp(self) -> int:
        stamps: list[int] = [self._stamp, *[part.stamp() for part in self._parts]]
        return max(stamps)

    def shown_fields(self) -> dict[str, Any]:
        return {self.key: self._parts}


class FlatSteps(Steps):
    """Steps in which nested sequences are flattened, and each can be had by its index."""

    def _take(self, parts: list[Any], kind: type[Component]) -> None:
        super()._take(parts, kind)
        self._parts = [step for part in parts for step in (part._parts if isinstance(part, FlatSteps) else [part])]

    def __getitem__(self, index: int) -> Any:
        index = unsigned(index)
        if index >= len(self._parts):
            raise IndexError("Index not found")
        return self._parts[index]

    def __setitem__(self, index: int, part: Any) -> None:
        index = unsigned(index)
        is_instance(part, self._kind)
        if isinstance(part, FlatSteps):
            raise ValueError("a step must not be a Sequence")
        if index >= len(self._parts):
            raise IndexError("Index not found")
        self._parts[index] = type(part).of_parsed(part.parsed())
        self._stamp = next(_stamps)

    def __delitem__(self, index: int) -> NoReturn:
        raise NotImplementedError(f"{type(self).__name__}: can't delete item")


def parsed_of(part: Component | None) -> Any:
    """The frozen dataclass of a component, or None."""
    return None if part is None else part.parsed()


Result = TypeVar("Result")


def supported(make: Callable[..., Result], *arguments: Any) -> Result:
    """make(*arguments), with NotImplementedError for an UnsupportedComponentError."""
    try:
        return make(*arguments)
    except UnsupportedComponentError as error:
        unsupported(error.what)


def to_json(content: Any, pretty: bool = False) -> str:
    """JSON as tokenizers spells it."""
    layout: dict[str, Any] = {"indent": 2} if pretty else {"separators": (",", ":")}
    return json.dumps(content, ensure_ascii=False, **layout)


class Regex:
    """A regular expression for `Split` and `Replace`. Raises ValueError for an invalid one."""

    def __init__(self, pattern: str) -> None:
        self.pattern = string(pattern)
        find_pattern((self.pattern,), "oniguruma")


def pattern_of_argument(pattern: Any) -> tuple[Literal["String", "Regex"], str]:
    """The kind and the content of an argument that is a str or a `Regex`. Raises TypeError for another type."""
    if isinstance(pattern, Regex):
        return "Regex", pattern.pattern
    if not isinstance(pattern, str):
        raise TypeError(f"pattern must be a str or a Regex, not {type(pattern).__name__}")
    return "String", one_of_kinds(pattern)


class PatternShown(NamedTuple):
    """A pattern as it is printed."""

    type_name: str
    pattern: str

    def shown_fields(self) -> dict[str, str]:
        return {"": self.pattern}


class Limits(NamedTuple):
    """The numbers of elements and of characters that printing shows."""

    elements: int
    characters: int | None


# the limits of repr and of str in tokenizers
WHOLE, SHORT = Limits(99, None), Limits(5, 100)


class Name(str):
    """A string that is printed without quotes."""


def shown(value: Any, limits: Limits = WHOLE) -> str:
    """A value as tokenizers prints it: strings in double quotes, without escapes."""
    if isinstance(value, Name):
        return value
    if isinstance(value, str):
        cut = limits.characters is not None and len(value) > limits.characters
        return f'"{value[: limits.characters]}..."' if cut else f'"{value}"'
    if isinstance(value, list):
        return f"[{_listed([shown(item, limits) for item in value[: limits.elements]], len(value))}]"
    if isinstance(value, dict):
        entries = itertools.islice(value.items(), limits.elements)
        return f"{{{_listed([f'{shown(key, limits)}:{shown(item, limits)}' for key, item in entries], len(value))}}}"
    if hasattr(value, "shown_fields"):
        fields = [f"{name}={shown(item, limits)}".removeprefix("=") for name, item in value.shown_fields().items()]
        return f"{value.type_name}({', '.join(fields)})"
    if isinstance(value, tuple):
        return f"({', '.join([shown(item, limits) for item in value])})"
    return f"{value:g}" if isinstance(value, float) else repr(value)


def _listed(parts: list[str], size: int) -> str:
    return ", ".join([*parts, "..."] if len(parts) < size else parts)


def unsupported(what: str) -> NoReturn:
    """Raises NotImplementedError with the name of an unsupported feature."""
    raise NotImplementedError(f"fastlm.compat.tokenizers does byte-level BPE: {what} is not supported")


def refused(name: str, base: type) -> Any:
    """A class of this name that can be imported and used with isinstance. Making one raises NotImplementedError.

    Its methods raise NotImplementedError too, with their name. Its attributes are properties, as in `tokenizers`.
    """

    def refuse(cls: type, *args: Any, **options: Any) -> NoReturn:
        unsupported(name)

    short = name.rpartition(".")[2]
    body: dict[str, Any] = {
        "__new__": refuse,
        "__doc__": f"Not supported: making one raises NotImplementedError naming {name}.",
        "__module__": f"fastlm.compat.tokenizers.{name.removesuffix(short)}".removesuffix("."),
        "type_name": short,
    }
    methods, attributes = REFUSED_MEMBERS.get(name, ("", ""))
    body |= {method: staticmethod(_refused_method(f"{name}.{method}")) for method in methods.split()}
    body |= {attribute: property(_refused_method(f"{name}.{attribute}")) for attribute in attributes.split()}
    return type(short, (base,), body)


def _refused_method(name: str) -> Callable[..., NoReturn]:
    def method(*args: Any, **options: Any) -> NoReturn:
        """Not supported: raises NotImplementedError."""
        unsupported(name)

    method.__name__, method.__qualname__ = name.rpartition(".")[2], name
    return method
