"""What the components of a tokenizer have in common: options, a JSON state, and a count of their changes."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple, NoReturn

from fastlm.compat.tokenizers.arguments import is_instance, unsigned

_changes = itertools.count()
_latest = next(_changes)


def changed() -> None:
    """Says that a component is not what it was: pipelines built before are to be built anew."""
    global _latest
    _latest = next(_changes)


def component_changes() -> int:
    """A number that differs after any component changed."""
    return _latest


class Option:
    """An attribute that may be set, to what `check` makes of the value."""

    def __init__(self, check: Callable[[Any], Any]) -> None:
        self.check = check

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = f"_{name}"

    def __get__(self, instance: Any, owner: type) -> Any:
        return self if instance is None else getattr(instance, self.name)

    def __set__(self, instance: Any, value: Any) -> None:
        setattr(instance, self.name, self.check(value))
        changed()


class Component:
    """A step of a tokenizer. `type_name` is its name in tokenizer.json."""

    type_name: ClassVar[str]
    options: ClassVar[tuple[str, ...]] = ()

    def __setattr__(self, name: str, value: Any) -> None:
        if not name.startswith("_") and not hasattr(type(self), name):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        super().__setattr__(name, value)

    def content(self) -> dict[str, Any]:
        """What tokenizer.json says of it."""
        return {"type": self.type_name, **{option: getattr(self, option) for option in self.options}}

    @classmethod
    def from_content(cls, content: dict[str, Any]) -> Any:
        """The component that tokenizer.json describes. Raises ValueError or NotImplementedError."""
        return cls(**{option: field(content, option) for option in cls.options})

    def __getstate__(self) -> bytes:
        return to_json(self.content()).encode()

    def __reduce__(self) -> tuple[Callable[[bytes], Any], tuple[bytes]]:
        return type(self)._from_state, (self.__getstate__(),)

    @classmethod
    def _from_state(cls, state: bytes) -> Any:
        return cls.from_content(json.loads(state))

    def __setstate__(self, state: bytes) -> None:
        self.__dict__.update(self._from_state(state).__dict__)
        changed()

    def shown_fields(self) -> dict[str, Any]:
        """What printing shows of it."""
        return {option: getattr(self, option) for option in self.options}

    def __repr__(self) -> str:
        return shown(self, WHOLE)

    def __str__(self) -> str:
        return shown(self, SHORT)


class Steps(Component):
    """Components of one kind, one after the other: the base of each kind's Sequence.

    `_key` is what tokenizer.json and printing call them.
    """

    type_name = "Sequence"
    _key: ClassVar[str]

    def _take(self, parts: list[Any], kind: type[Component]) -> None:
        """Keeps the parts. Raises TypeError for what is no list of this kind."""
        is_instance(parts, list)
        for part in parts:
            is_instance(part, kind)
        self._parts = list(parts)

    def content(self) -> dict[str, Any]:
        return {"type": self.type_name, self._key: [part.content() for part in self._parts]}

    def shown_fields(self) -> dict[str, Any]:
        return {self._key: self._parts}


class FlatSteps(Steps):
    """The same with sequences among them taken apart, and each to be had by its index."""

    def _take(self, parts: list[Any], kind: type[Component]) -> None:
        super()._take(parts, kind)
        self._parts = [step for part in parts for step in (part._parts if isinstance(part, FlatSteps) else [part])]

    def __getitem__(self, index: int) -> Any:
        index = unsigned(index)
        if index >= len(self._parts):
            raise IndexError("Index not found")
        return self._parts[index]


def field(content: dict[str, Any], name: str) -> Any:
    """An entry of a JSON object. Raises ValueError where there is none."""
    if name not in content:
        raise ValueError(f"missing field `{name}`")
    return content[name]


def to_json(content: Any, pretty: bool = False) -> str:
    """JSON as tokenizers spells it."""
    layout: dict[str, Any] = {"indent": 2} if pretty else {"separators": (",", ":")}
    return json.dumps(content, ensure_ascii=False, **layout)


class Limits(NamedTuple):
    """How many elements of what is printed, and how many characters, are shown."""

    elements: int
    characters: int | None


# what tokenizers shows with repr and with str
WHOLE, SHORT = Limits(99, None), Limits(5, 100)


class Name(str):
    """What is printed without quotes."""


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
    return repr(value)


def _listed(parts: list[str], size: int) -> str:
    return ", ".join([*parts, "..."] if len(parts) < size else parts)


def unsupported(what: str) -> NoReturn:
    raise NotImplementedError(f"fastlm.compat.tokenizers does byte-level BPE, and has no {what}")


def refused(name: str, base: type) -> Any:
    """A class of this name that can be imported and asked for with isinstance, but not made."""

    def refuse(cls: type, *args: Any, **options: Any) -> NoReturn:
        unsupported(name)

    def from_content(content: dict[str, Any]) -> NoReturn:
        unsupported(name)

    short = name.rpartition(".")[2]
    body = {"__new__": refuse, "__doc__": f"Not supported: making one raises NotImplementedError naming {name}."}
    return type(short, (base,), {**body, "type_name": short, "from_content": staticmethod(from_content)})


def component_from(kinds: dict[str, type[Component]], content: Any, what: str) -> Any:
    """The component, one of these kinds, that tokenizer.json describes. Raises as `Component.from_content`."""
    if not isinstance(content, dict) or not isinstance(content.get("type"), str):
        raise ValueError(f"{what} must be an object with a type, not {content!r:.80}")
    kind = kinds.get(content["type"])
    if kind is None:
        raise ValueError(f"no {what} is named {content['type']!r}")
    try:
        return kind.from_content(content)
    except (TypeError, OverflowError) as error:
        raise ValueError(f"{what} {content['type']}: {error}") from None
