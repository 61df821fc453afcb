"""Normalizers in the form that tokenizer.json has for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from fastlm.normalizers.steps import ByteLevel, Nmt, Normalizer, Prepend, Replace, Strip, UnicodeForm


def normalizers_from_content(content: Any) -> tuple[Normalizer, ...]:
    """The steps that a `normalizer` of tokenizer.json describes; none for null.

    Raises ValueError for an entry that is missing or has the wrong type, NotImplementedError for a normalizer that
    fastlm does not have.
    """
    if content is None:
        return ()
    kind = _entry(content, "type", str)
    if kind == "Sequence":
        parts = _entry(content, "normalizers", list)
        return tuple(step for part in parts for step in normalizers_from_content(part))
    if kind not in _READERS:
        raise NotImplementedError(
            f"the normalizer {kind!r} is not supported; supported: Sequence, {', '.join(_READERS)}"
        )
    return (_READERS[kind](content),)


def normalizers_to_content(steps: Sequence[Normalizer]) -> dict[str, Any] | None:
    """The `normalizer` of tokenizer.json that describes some steps."""
    contents = [_content(step) for step in steps]
    if len(contents) > 1:
        return {"type": "Sequence", "normalizers": contents}
    return contents[0] if contents else None


def _content(step: Normalizer) -> dict[str, Any]:
    match step:
        case UnicodeForm(type_name):
            return {"type": type_name}
        case Strip(left, right):
            return {"type": "Strip", "strip_left": left, "strip_right": right}
        case Prepend(prepend):
            return {"type": "Prepend", "prepend": prepend}
        case Replace(pattern, replacement):
            return {"type": "Replace", "pattern": {"String": pattern}, "content": replacement}
        case Nmt():
            return {"type": "Nmt"}
        case ByteLevel():
            return {"type": "ByteLevel"}
    raise TypeError(f"expected a normalizer, got {step!r}")


def _entry(content: Any, name: str, kind: type) -> Any:
    if not isinstance(content, dict):
        raise ValueError(f"a normalizer must be a JSON object, got {content!r}")
    if not isinstance(content.get(name), kind):
        raise ValueError(f"entry {name!r} of a normalizer must be a {kind.__name__}, got {content.get(name)!r}")
    return content[name]


def _replace(content: dict[str, Any]) -> Normalizer:
    pattern = _entry(content, "pattern", dict)
    if set(pattern) == {"String"}:
        return Replace(_entry(pattern, "String", str), _entry(content, "content", str))
    if set(pattern) == {"Regex"}:
        raise NotImplementedError("the normalizer 'Replace' with a regular expression is not supported")
    raise ValueError(f"the pattern of a Replace normalizer must have one entry, String or Regex, got {pattern!r}")


_READERS: dict[str, Callable[[dict[str, Any]], Normalizer]] = {
    **dict.fromkeys(
        ("NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents"), lambda content: UnicodeForm(content["type"])
    ),
    "Strip": lambda content: Strip(_entry(content, "strip_left", bool), _entry(content, "strip_right", bool)),
    "Prepend": lambda content: Prepend(_entry(content, "prepend", str)),
    "Replace": _replace,
    "Nmt": lambda content: Nmt(),
    "ByteLevel": lambda content: ByteLevel(),
}
