"""Typed values of JSON objects, with the strictness of the `tokenizers` library."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

_REQUIRED: Any = object()


def is_unsigned(value: Any, bits: int = 32) -> bool:
    """Whether a JSON value is an integer of this many bits without sign."""
    return type(value) is int and 0 <= value < 1 << bits


class Entries:
    """The entries of one JSON object. Every error names the object and the entry."""

    def __init__(self, content: Any, name: str) -> None:
        if not isinstance(content, dict):
            raise ValueError(f"{name} must be an object, got {content!r:.80}")
        self.content: dict[str, Any] = content
        self.name = name

    def value(self, key: str, default: Any = _REQUIRED) -> Any:
        """The entry as it is. Raises ValueError if it is missing and there is no default."""
        found = self.content.get(key, default)
        if found is _REQUIRED:
            raise ValueError(f"{self.name}: missing field `{key}`")
        return found

    def _checked(self, key: str, default: Any, expected: str, fits: Callable[[Any], bool]) -> Any:
        found = self.value(key, default)
        if found is not default and not fits(found):
            raise ValueError(f"{self.name}: {key} must be {expected}, got {found!r:.80}")
        return found

    def boolean(self, key: str, default: bool = _REQUIRED) -> bool:
        """A bool entry."""
        return bool(self._checked(key, default, "true or false", lambda value: isinstance(value, bool)))

    def string(self, key: str, default: str = _REQUIRED) -> str:
        """A str entry."""
        return str(self._checked(key, default, "a string", lambda value: isinstance(value, str)))

    def character(self, key: str) -> str:
        """A str entry of one character."""
        return str(
            self._checked(key, _REQUIRED, "a character", lambda value: isinstance(value, str) and len(value) == 1)
        )

    def optional_string(self, key: str) -> str | None:
        """A str entry, or None where it is null or missing."""
        found: str | None = self._checked(key, None, "a string or null", lambda value: isinstance(value, str))
        return found

    def pattern(self, key: str) -> tuple[Literal["String", "Regex"], str]:
        """An entry with a text to find or a regular expression: its kind and its content."""
        found = self.value(key)
        if not isinstance(found, dict) or len(found) != 1 or not found.keys() <= {"String", "Regex"}:
            raise ValueError(f"{self.name}: {key} must be an object with String or Regex, got {found!r:.80}")
        ((kind, text),) = found.items()
        if not isinstance(text, str):
            raise ValueError(f"{self.name}: {key} {kind} must be a string, got {text!r:.80}")
        return kind, text

    def unsigned(self, key: str, bits: int = 32) -> int:
        """An integer entry without sign."""
        return int(
            self._checked(key, _REQUIRED, f"an unsigned {bits}-bit integer", lambda value: is_unsigned(value, bits))
        )

    def list(self, key: str) -> list[Any]:
        """A list entry."""
        found: list[Any] = self._checked(key, _REQUIRED, "a list", lambda value: isinstance(value, list))
        return found

    def choice(self, key: str, names: dict[str, Any], default: Any = _REQUIRED) -> Any:
        """The value that `names` gives for a str entry."""
        found = self.value(key, default)
        if found is default and default is not _REQUIRED:
            return default
        if not isinstance(found, str) or found not in names:
            raise ValueError(f"{self.name}: {key} must be one of {', '.join(names)}, got {found!r:.80}")
        return names[found]
