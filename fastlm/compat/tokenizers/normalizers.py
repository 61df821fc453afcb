"""Normalizers: NFC, and sequences of it."""

from __future__ import annotations

from typing import Any, NoReturn

from fastlm import normalization
from fastlm.compat.tokenizers.arguments import is_instance, string, unsigned
from fastlm.compat.tokenizers.component import Component, component_from, field, refused, unsupported


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


class Sequence(Normalizer):
    """Normalizers, one after the other."""

    type_name = "Sequence"

    def __init__(self, normalizers: list[Normalizer]) -> None:
        is_instance(normalizers, list)
        for normalizer in normalizers:
            is_instance(normalizer, Normalizer)
        # sequences in it are taken apart
        self._normalizers: list[Normalizer] = []
        for normalizer in normalizers:
            self._normalizers += normalizer._normalizers if isinstance(normalizer, Sequence) else [normalizer]

    def steps(self) -> list[Normalizer]:
        return [step for normalizer in self._normalizers for step in normalizer.steps()]

    def content(self) -> dict[str, Any]:
        return {"type": self.type_name, "normalizers": [normalizer.content() for normalizer in self._normalizers]}

    @classmethod
    def from_content(cls, content: dict[str, Any]) -> Sequence:
        return cls([normalizer_from(item) for item in field(content, "normalizers")])

    def __len__(self) -> int:
        return len(self._normalizers)

    def __getitem__(self, index: int) -> Normalizer:
        index = unsigned(index)
        if index >= len(self._normalizers):
            raise IndexError("Index not found")
        return self._normalizers[index]

    def shown_fields(self) -> dict[str, Any]:
        return {"normalizers": self._normalizers}


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
