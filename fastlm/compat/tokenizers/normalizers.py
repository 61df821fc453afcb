"""Normalizers: NFC, and sequences of it."""

from __future__ import annotations

from typing import Any, NoReturn

from fastlm.compat.tokenizers.arguments import string
from fastlm.compat.tokenizers.component import Component, FlatSteps, component_from, field, refused, unsupported
from fastlm.text import normalization


class Normalizer(Component):
    """What becomes of a text before it is split."""

    def steps(self) -> list[Normalizer]:
        """The normalizers that do something, in order."""
        return [self]

    def normalize_str(self, sequence: str) -> str:
        """The normalized text."""
        text = string(sequence)
        return normalization.nfc(text) if self.steps() else text

    def normalize(self, normalized: Any) -> NoReturn:
        """Not supported: raises NotImplementedError."""
        unsupported("NormalizedString")

    @staticmethod
    def custom(normalizer: Any) -> NoReturn:
        """Not supported: raises NotImplementedError."""
        unsupported("normalizers written in Python")


class NFC(Normalizer):
    """Unicode's normalisation form C."""

    type_name = "NFC"


class Sequence(FlatSteps, Normalizer):
    """Normalizers, one after the other."""

    _key = "normalizers"

    def __init__(self, normalizers: list[Normalizer]) -> None:
        self._take(normalizers, Normalizer)

    @classmethod
    def from_content(cls, content: dict[str, Any]) -> Sequence:
        return cls([normalizer_from(item) for item in field(content, cls._key)])

    def steps(self) -> list[Normalizer]:
        return [step for normalizer in self._parts for step in normalizer.steps()]

    def __len__(self) -> int:
        return len(self._parts)


BertNormalizer = refused("normalizers.BertNormalizer", Normalizer)
ByteLevel = refused("normalizers.ByteLevel", Normalizer)
Lowercase = refused("normalizers.Lowercase", Normalizer)
NFD = refused("normalizers.NFD", Normalizer)
NFKC = refused("normalizers.NFKC", Normalizer)
NFKD = refused("normalizers.NFKD", Normalizer)
Nmt = refused("normalizers.Nmt", Normalizer)
Precompiled = refused("normalizers.Precompiled", Normalizer)
Prepend = refused("normalizers.Prepend", Normalizer)
Replace = refused("normalizers.Replace", Normalizer)
Strip = refused("normalizers.Strip", Normalizer)
StripAccents = refused("normalizers.StripAccents", Normalizer)

NORMALIZERS = {"nfc": NFC, "nfd": NFD, "nfkc": NFKC, "nfkd": NFKD}


def unicode_normalizer_from_str(normalizer: str) -> Normalizer:
    """The normalizer of this name, such as "nfc". Raises ValueError, or NotImplementedError for one we lack."""
    if normalizer not in NORMALIZERS:
        raise ValueError(f"{normalizer!r} is not a known unicode normalizer; there are {', '.join(NORMALIZERS)}")
    made: Normalizer = NORMALIZERS[normalizer]()
    return made


_KINDS: dict[str, type[Component]] = {
    kind.type_name: kind
    for kind in (
        *(NFC, Sequence, BertNormalizer, ByteLevel, Lowercase, NFD, NFKC, NFKD, Nmt),
        *(Precompiled, Prepend, Replace, Strip, StripAccents),
    )
}


def normalizer_from(content: Any) -> Normalizer:
    """The normalizer that tokenizer.json describes. Raises ValueError or NotImplementedError."""
    made: Normalizer = component_from(_KINDS, content, "normalizer")
    return made
