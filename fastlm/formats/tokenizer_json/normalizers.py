"""Normalizers of a tokenizer.json."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from fastlm.formats.tokenizer_json.components import Component, Parser
from fastlm.formats.tokenizer_json.json_values import Entries


@dataclass(frozen=True)
class Normalizer(Component):
    """A step that changes a text before it is split."""

    def steps(self) -> tuple[Normalizer, ...]:
        """The normalizers that change a text, in order."""
        return (self,)


@dataclass(frozen=True)
class NFC(Normalizer):
    """Unicode normalization form C."""

    type_name = "NFC"

    def content(self) -> dict[str, Any]:
        return {"type": self.type_name}


@dataclass(frozen=True)
class NormalizerSequence(Normalizer):
    """Normalizers, one after the other."""

    type_name = "Sequence"
    parts: tuple[Normalizer, ...]

    def steps(self) -> tuple[Normalizer, ...]:
        return tuple(step for part in self.parts for step in part.steps())

    def content(self) -> dict[str, Any]:
        return {"type": self.type_name, "normalizers": [part.content() for part in self.parts]}


UNSUPPORTED = (
    *("BertNormalizer", "ByteLevel", "Lowercase", "NFD", "NFKC", "NFKD", "Nmt", "Precompiled", "Prepend", "Replace"),
    *("Strip", "StripAccents"),
)


def _sequence(entries: Entries) -> Normalizer:
    return NormalizerSequence(tuple(parse_normalizer(part) for part in entries.list("normalizers")))


parse_normalizer: Parser[Normalizer] = Parser(
    "normalizer",
    "normalizers",
    {"NFC": lambda _: NFC(), "Sequence": _sequence},
    UNSUPPORTED,
    {"Sequence": frozenset({"normalizers"})},
)


def normalization_of(normalizer: Normalizer | None) -> Literal["NFC"] | None:
    """The normalization rule of a vocabulary with this normalizer."""
    return "NFC" if normalizer is not None and normalizer.steps() else None
