"""Normalizers: NFC, and sequences of it."""

from __future__ import annotations

from typing import Any, NoReturn

from fastlm.compat.tokenizers.arguments import string
from fastlm.compat.tokenizers.component import Component, FlatSteps, refused, supported, unsupported
from fastlm.formats.tokenizer_json import normalizers as parsed_normalizers
from fastlm.text import normalization


class Normalizer(Component):
    """A step that changes a text before it is split."""

    @classmethod
    def from_content(cls, content: dict[str, Any]) -> Normalizer:
        return normalizer_of(supported(parsed_normalizers.parse_normalizer, content))

    def normalize_str(self, sequence: str) -> str:
        """The normalized text."""
        text = string(sequence)
        return text if parsed_normalizers.normalization_of(self.parsed()) is None else normalization.nfc(text)

    def normalize(self, normalized: Any) -> NoReturn:
        """Not supported: raises NotImplementedError."""
        unsupported("NormalizedString")

    @staticmethod
    def custom(normalizer: Any) -> NoReturn:
        """Not supported: raises NotImplementedError."""
        unsupported("normalizers written in Python")


class NFC(Normalizer):
    """Unicode normalization form C."""

    type_name = "NFC"

    def __init__(self) -> None:
        self.set_parsed(parsed_normalizers.NFC())


class Sequence(FlatSteps, Normalizer):
    """Normalizers, one after the other."""

    key = "normalizers"
    sequence_type = parsed_normalizers.NormalizerSequence

    def __init__(self, normalizers: list[Normalizer]) -> None:
        self._take(normalizers, Normalizer)

    @classmethod
    def of_parsed(cls, parsed: parsed_normalizers.NormalizerSequence) -> Sequence:
        return cls([normalizer_of(part) for part in parsed.parts])

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


_CLASSES: dict[type, type[Normalizer]] = {
    parsed_normalizers.NFC: NFC,
    parsed_normalizers.NormalizerSequence: Sequence,
}


def normalizer_of(parsed: parsed_normalizers.Normalizer) -> Normalizer:
    """The normalizer of a frozen dataclass."""
    made: Normalizer = _CLASSES[type(parsed)].of_parsed(parsed)
    return made
