"""The base of all components of a tokenizer.json, and the error for a component that fastlm does not follow."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

from fastlm.formats.tokenizer_json.json_values import Entries


class UnsupportedComponentError(ValueError):
    """A tokenizer.json is valid and asks for something that fastlm does not follow exactly. `what` names it."""

    def __init__(self, what: str) -> None:
        super().__init__(f"{what} is not supported")
        self.what = what

    def __reduce__(self) -> tuple[type[UnsupportedComponentError], tuple[str]]:
        return UnsupportedComponentError, (self.what,)


@dataclass(frozen=True)
class Component:
    """One step of a tokenizer, as tokenizer.json describes it. `type_name` is its name there."""

    type_name: ClassVar[str]

    def content(self) -> dict[str, Any]:
        """The JSON object of the component."""
        raise NotImplementedError(type(self).__name__)


@dataclass(frozen=True)
class ByteLevelOptions(Component):
    """The options that ByteLevel has as a pre-tokenizer, as a post-processor and as a decoder."""

    type_name = "ByteLevel"

    add_prefix_space: bool = True
    trim_offsets: bool = True
    use_regex: bool = True

    def content(self) -> dict[str, Any]:
        return {
            "type": self.type_name,
            "add_prefix_space": self.add_prefix_space,
            "trim_offsets": self.trim_offsets,
            "use_regex": self.use_regex,
        }

    @classmethod
    def options_of(cls, entries: Entries) -> tuple[bool, bool, bool]:
        """The three options; only use_regex may be missing."""
        return (
            entries.boolean("add_prefix_space"),
            entries.boolean("trim_offsets"),
            entries.boolean("use_regex", True),
        )


Kind = TypeVar("Kind")


class Parser(Generic[Kind]):
    """Parses the components of one kind, such as pre-tokenizers.

    Args:
        kind: What errors call the kind.
        module: The module of `tokenizers` with these components; errors name a component by it.
        parsers: Type name -> the function that makes a component of its entries.
        unsupported: Type names of `tokenizers` that fastlm does not follow.
        recognized: Type name -> entries by which `tokenizers` recognizes a component whose type it does not know.
    """

    def __init__(
        self,
        kind: str,
        module: str,
        parsers: Mapping[str, Callable[[Entries], Kind]],
        unsupported: tuple[str, ...],
        recognized: Mapping[str, frozenset[str]] | None = None,
    ) -> None:
        self.kind, self.module = kind, module
        self.parsers = dict(parsers)
        self.unsupported = frozenset(unsupported)
        self.recognized = dict(recognized or {})

    def __call__(self, content: Any) -> Kind:
        """The component of a JSON object.

        Raises:
            ValueError: For content that is malformed.
            UnsupportedComponentError: For a component that fastlm does not follow.
        """
        entries = Entries(content, self.kind)
        given = entries.content.get("type")
        known = isinstance(given, str) and (given in self.parsers or given in self.unsupported)
        recognized = [name for name, keys in self.recognized.items() if not known and keys <= entries.content.keys()]
        name = recognized[0] if recognized else entries.string("type")
        if name in self.unsupported:
            raise UnsupportedComponentError(f"{self.module}.{name}")
        if name not in self.parsers:
            raise ValueError(f"no {self.kind} is named {name!r}")
        entries.name = f"{self.kind} {name}"
        return self.parsers[name](entries)
