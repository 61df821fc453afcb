"""What the components of a tokenizer have in common: options, a JSON state, and a count of their changes."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from typing import Any, ClassVar, NoReturn

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

    def content(self) -> dict[str, Any]:
        """What tokenizer.json says of it."""
        return {"type": self.type_name, **{option: getattr(self, option) for option in self.options}}

    @classmethod
    def from_content(cls, content: dict[str, Any]) -> Any:
        """The component that tokenizer.json describes. Raises ValueError, or NotImplementedError naming what we lack."""
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

    def __repr__(self) -> str:
        return f"{self.type_name}({', '.join(f'{option}={shown(getattr(self, option))}' for option in self.options)})"


def field(content: dict[str, Any], name: str) -> Any:
    """An entry of a JSON object. Raises ValueError where there is none."""
    if name not in content:
        raise ValueError(f"missing field `{name}`")
    return content[name]


def to_json(content: Any, pretty: bool = False) -> str:
    """JSON as tokenizers spells it."""
    layout: dict[str, Any] = {"indent": 2} if pretty else {"separators": (",", ":")}
    return json.dumps(content, ensure_ascii=False, **layout)


def shown(value: Any) -> str:
    """A value as tokenizers prints it: strings in double quotes, without escapes."""
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, list):
        return f"[{', '.join(map(shown, value))}]"
    if isinstance(value, tuple):
        return f"({', '.join(map(shown, value))})"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{shown(key)}:{shown(item)}' for key, item in value.items())}}}"
    return repr(value)


def unsupported(what: str) -> NoReturn:
    raise NotImplementedError(f"fastlm.compat.tokenizers does byte-level BPE, and has no {what}")


def refused(name: str, base: type) -> Any:
    """A class of this name that can be imported and asked for with isinstance, but not made."""

    def __new__(cls: type, *args: Any, **options: Any) -> NoReturn:
        unsupported(name)

    def from_content(content: dict[str, Any]) -> NoReturn:
        unsupported(name)

    short = name.rpartition(".")[2]
    body = {"__new__": __new__, "__doc__": f"Not supported: making one raises NotImplementedError naming {name}."}
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
