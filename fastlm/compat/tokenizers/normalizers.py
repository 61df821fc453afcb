"""Normalizers: steps that change a text before it is split."""

from __future__ import annotations

import dataclasses
from typing import Any, NoReturn

from fastlm import normalizers as steps
from fastlm.compat.tokenizers.arguments import boolean, string
from fastlm.compat.tokenizers.component import (
    Component,
    FlatSteps,
    PatternShown,
    pattern_of_argument,
    refused,
    supported,
    unsupported,
)
from fastlm.formats.tokenizer_json import normalizers as parsed_normalizers


class Normalizer(Component):
    """A step that changes a text before it is split."""

    @classmethod
    def from_content(cls, content: dict[str, Any]) -> Normalizer:
        return normalizer_of(supported(parsed_normalizers.parse_normalizer, content))

    def normalize_str(self, sequence: str) -> str:
        """The normalized text."""
        return steps.normalize_str(parsed_normalizers.steps_of(self.parsed()), string(sequence))

    def normalize(self, normalized: Any) -> NoReturn:
        """Not supported: raises NotImplementedError."""
        unsupported("NormalizedString")

    @staticmethod
    def custom(normalizer: Any) -> NoReturn:
        """Not supported: raises NotImplementedError."""
        unsupported("normalizers written in Python")


class _UnicodeForm(Normalizer):
    """A normalizer without options: one of the forms of `fastlm.normalizers.UnicodeForm`."""

    def __init__(self) -> None:
        self.set_parsed(steps.UnicodeForm(self.type_name))


class NFC(_UnicodeForm):
    """Unicode normalization form C."""

    type_name = "NFC"


class NFD(_UnicodeForm):
    """Unicode normalization form D."""

    type_name = "NFD"


class NFKC(_UnicodeForm):
    """Unicode normalization form KC."""

    type_name = "NFKC"


class NFKD(_UnicodeForm):
    """Unicode normalization form KD."""

    type_name = "NFKD"


class Lowercase(_UnicodeForm):
    """Each character in lower case."""

    type_name = "Lowercase"


class StripAccents(_UnicodeForm):
    """The text without combining marks. Accents of composed characters are marks only after NFD or NFKD."""

    type_name = "StripAccents"


class Nmt(Normalizer):
    """Removes control characters and turns some separators and invisible characters into spaces."""

    type_name = "Nmt"

    def __init__(self) -> None:
        self.set_parsed(steps.Nmt())


class ByteLevel(Normalizer):
    """Writes each byte as GPT-2's printable character for it."""

    type_name = "ByteLevel"

    def __init__(self) -> None:
        self.set_parsed(steps.ByteLevel())


class Strip(Normalizer):
    """Removes whitespace at the left end, the right end, or both."""

    type_name = "Strip"

    def __init__(self, left: bool = True, right: bool = True) -> None:
        self.set_parsed(steps.Strip(boolean(left), boolean(right)))

    @property
    def left(self) -> bool:
        return bool(self.parsed().left)

    @left.setter
    def left(self, left: bool) -> None:
        self.set_parsed(dataclasses.replace(self.parsed(), left=boolean(left)))

    @property
    def right(self) -> bool:
        return bool(self.parsed().right)

    @right.setter
    def right(self, right: bool) -> None:
        self.set_parsed(dataclasses.replace(self.parsed(), right=boolean(right)))

    def shown_fields(self) -> dict[str, Any]:
        return {"strip_left": self.left, "strip_right": self.right}


class Prepend(Normalizer):
    """Puts a string before a text that is not empty."""

    type_name = "Prepend"
    options = ("prepend",)

    def __init__(self, prepend: str) -> None:
        self.set_parsed(steps.Prepend(string(prepend)))

    @property
    def prepend(self) -> str:
        return str(self.parsed().prepend)

    @prepend.setter
    def prepend(self, prepend: str) -> None:
        self.set_parsed(steps.Prepend(string(prepend)))


class Replace(Normalizer):
    """Replaces each match of a pattern: a str, or a `Regex`."""

    type_name = "Replace"

    def __init__(self, pattern: Any, content: str) -> None:
        kind, text = pattern_of_argument(pattern)
        self.set_parsed(steps.Replace(text, string(content), kind))

    @property
    def content(self) -> str:
        return str(self.parsed().replacement)

    @content.setter
    def content(self, content: str) -> None:
        self.set_parsed(dataclasses.replace(self.parsed(), replacement=string(content)))

    @property
    def pattern(self) -> NoReturn:
        """Cannot be read, as in tokenizers: raises ValueError."""
        raise ValueError("Cannot get pattern")

    @pattern.setter
    def pattern(self, pattern: Any) -> NoReturn:
        pattern_of_argument(pattern)
        raise ValueError("Cannot set pattern, please instantiate a new replace pattern instead")

    def shown_fields(self) -> dict[str, Any]:
        parsed = self.parsed()
        return {"pattern": PatternShown(parsed.pattern_kind, parsed.pattern), "content": parsed.replacement}


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
Precompiled = refused("normalizers.Precompiled", Normalizer)

NORMALIZERS = {"nfc": NFC, "nfd": NFD, "nfkc": NFKC, "nfkd": NFKD}


def unicode_normalizer_from_str(normalizer: str) -> Normalizer:
    """The normalizer of this name, such as "nfc". Raises ValueError for another name."""
    if normalizer not in NORMALIZERS:
        raise ValueError(f"{normalizer!r} is not a known unicode normalizer; there are {', '.join(NORMALIZERS)}")
    return NORMALIZERS[normalizer]()


_CLASSES: dict[str, type[Normalizer]] = {
    kind.type_name: kind
    for kind in (NFC, NFD, NFKC, NFKD, Lowercase, StripAccents, Nmt, ByteLevel, Strip, Prepend, Replace, Sequence)
}


def normalizer_of(parsed: parsed_normalizers.NormalizerComponent) -> Normalizer:
    """The normalizer of a frozen dataclass."""
    made: Normalizer = _CLASSES[parsed.type_name].of_parsed(parsed)
    return made
