"""Normalizers of a tokenizer.json. A normalizer of one step is a step of `fastlm.normalizers` itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, cast

from fastlm.formats.tokenizer_json.components import Component, Parser
from fastlm.formats.tokenizer_json.json_values import Entries
from fastlm.normalizers import ByteLevel, Nmt, Normalizer, Prepend, Replace, Strip, UnicodeForm

UNICODE_FORMS = ("NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents")


class NormalizerComponent(Protocol):
    """A step of normalization, or a sequence of them."""

    @property
    def type_name(self) -> str: ...

    def content(self) -> dict[str, Any]: ...


@dataclass(frozen=True)
class NormalizerSequence(Component):
    """Normalizers, one after the other."""

    type_name = "Sequence"
    parts: tuple[NormalizerComponent, ...]

    def content(self) -> dict[str, Any]:
        return {"type": self.type_name, "normalizers": [part.content() for part in self.parts]}


UNSUPPORTED = ("BertNormalizer", "Precompiled")


def _unicode_form(name: str) -> Callable[[Entries], NormalizerComponent]:
    return lambda _: UnicodeForm(name)


def _sequence(entries: Entries) -> NormalizerComponent:
    return NormalizerSequence(tuple(parse_normalizer(part) for part in entries.list("normalizers")))


def _replace(entries: Entries) -> NormalizerComponent:
    kind, pattern = entries.pattern("pattern")
    return Replace(pattern, entries.string("content"), kind)


parse_normalizer: Parser[NormalizerComponent] = Parser(
    "normalizer",
    "normalizers",
    {
        **{name: _unicode_form(name) for name in UNICODE_FORMS},
        "Strip": lambda entries: Strip(entries.boolean("strip_left"), entries.boolean("strip_right")),
        "Prepend": lambda entries: Prepend(entries.string("prepend")),
        "Replace": _replace,
        "Nmt": lambda _: Nmt(),
        "ByteLevel": lambda _: ByteLevel(),
        "Sequence": _sequence,
    },
    UNSUPPORTED,
    {
        "BertNormalizer": frozenset({"clean_text", "handle_chinese_chars", "lowercase"}),
        "Strip": frozenset({"strip_left", "strip_right"}),
        "Sequence": frozenset({"normalizers"}),
        "Replace": frozenset({"pattern", "content"}),
        "Prepend": frozenset({"prepend"}),
    },
)


def steps_of(normalizer: NormalizerComponent | None) -> tuple[Normalizer, ...]:
    """The steps of a normalizer, in order."""
    if normalizer is None:
        return ()
    if isinstance(normalizer, NormalizerSequence):
        return tuple(step for part in normalizer.parts for step in steps_of(part))
    return (cast(Normalizer, normalizer),)
