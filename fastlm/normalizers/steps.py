"""One class a normalizer. Each takes and gives UTF-8 and can say from which character each character comes."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, cast

import numpy as np

from fastlm._types import Int64Array
from fastlm.text._normalize import normalized, normalized_with_origins
from fastlm.text.byte_level import CHAR_OF_BYTE
from fastlm.text.whitespace import WHITESPACE

Origins: TypeAlias = Int64Array
"""int64 (characters of a result,): the index of the character of the given text that each comes from."""


class Normalizer(Protocol):
    """A step of normalization."""

    def apply(self, text: bytes) -> bytes:
        """The normalized text, as UTF-8."""
        ...

    def apply_with_origins(self, text: bytes) -> tuple[bytes, Origins]:
        """The normalized text and the origins of its characters."""
        ...


def normalize(steps: Iterable[Normalizer], text: bytes) -> bytes:
    """A text after all steps. The given object itself is returned where no step changes it."""
    for step in steps:
        text = step.apply(text)
    return text


def normalize_with_origins(steps: Sequence[Normalizer], text: bytes) -> tuple[bytes, Origins]:
    """A text after all steps, and for each of its characters the index of a character of the given text."""
    origins = np.arange(len(text.decode()), dtype=np.int64)
    for step in steps:
        text, places = step.apply_with_origins(text)
        origins = origins[places]
    return text, origins


# the type in tokenizer.json -> the form of text/_normalize
_FORMS = {
    "NFC": "NFC",
    "NFD": "NFD",
    "NFKC": "NFKC",
    "NFKD": "NFKD",
    "Lowercase": "lowercase",
    "StripAccents": "strip-marks",
}


@dataclass(frozen=True)
class UnicodeForm:
    """A Unicode normalization form, lowercase, or the removal of combining marks, by its type in tokenizer.json."""

    type_name: str

    def __post_init__(self) -> None:
        if self.type_name not in _FORMS:
            raise ValueError(f"form must be one of {', '.join(_FORMS)}, got {self.type_name!r}")

    def apply(self, text: bytes) -> bytes:
        return cast(bytes, normalized(text, _FORMS[self.type_name]))

    def apply_with_origins(self, text: bytes) -> tuple[bytes, Origins]:
        return normalized_with_origins(text, _FORMS[self.type_name])


@dataclass(frozen=True)
class Strip:
    """Removes whitespace at the left end, the right end, or both."""

    left: bool = True
    right: bool = True

    def _span(self, text: str) -> tuple[int, int]:
        start = len(text) - len(text.lstrip(WHITESPACE)) if self.left else 0
        stop = len(text.rstrip(WHITESPACE)) if self.right else len(text)
        return start, max(start, stop)

    def apply(self, text: bytes) -> bytes:
        decoded = text.decode()
        start, stop = self._span(decoded)
        return decoded[start:stop].encode()

    def apply_with_origins(self, text: bytes) -> tuple[bytes, Origins]:
        decoded = text.decode()
        start, stop = self._span(decoded)
        return decoded[start:stop].encode(), np.arange(start, stop, dtype=np.int64)


@dataclass(frozen=True)
class Prepend:
    """Puts a string before a text that is not empty."""

    prepend: str

    def apply(self, text: bytes) -> bytes:
        return self.prepend.encode() + text if text else text

    def apply_with_origins(self, text: bytes) -> tuple[bytes, Origins]:
        count = len(text.decode())
        added = np.zeros(len(self.prepend) if text else 0, np.int64)
        return self.apply(text), np.concatenate([added, np.arange(count, dtype=np.int64)])


@dataclass(frozen=True)
class Replace:
    """Replaces each occurrence of a string. The content comes from the last character that it replaces."""

    pattern: str
    content: str

    def apply(self, text: bytes) -> bytes:
        return text.replace(self.pattern.encode(), self.content.encode()) if self.pattern else text

    def apply_with_origins(self, text: bytes) -> tuple[bytes, Origins]:
        decoded = text.decode()
        if not self.pattern:
            return text, np.arange(len(decoded), dtype=np.int64)
        pieces = decoded.split(self.pattern)
        origins, at = [np.arange(len(pieces[0]), dtype=np.int64)], len(pieces[0])
        for piece in pieces[1:]:
            at += len(self.pattern)
            origins += [np.full(len(self.content), at - 1, np.int64), np.arange(at, at + len(piece), dtype=np.int64)]
            at += len(piece)
        return self.content.join(pieces).encode(), np.concatenate(origins)


@dataclass(frozen=True)
class Nmt:
    """Removes control characters and turns some separators and invisible characters into spaces."""

    # code points by which tokenizers 0.23 differs from the identity
    REMOVED = (*range(0x01, 0x09), 0x0B, *range(0x0E, 0x20), 0x7F, 0x8F, 0x9F)
    SPACES = (
        *(0x09, 0x0A, 0x0C, 0x0D, 0x1680, *range(0x200B, 0x2010)),
        *(0x2028, 0x2029, 0x2581, 0xFEFF, 0xFFFD),
    )

    def apply(self, text: bytes) -> bytes:
        return text.decode().translate(_nmt_table()).encode()

    def apply_with_origins(self, text: bytes) -> tuple[bytes, Origins]:
        code_points = np.frombuffer(text.decode().encode("utf-32-le"), "<u4")
        return self.apply(text), np.flatnonzero(~np.isin(code_points, self.REMOVED)).astype(np.int64)


@functools.cache
def _nmt_table() -> dict[int, Any]:
    return dict.fromkeys(Nmt.REMOVED) | dict.fromkeys(Nmt.SPACES, " ")


@dataclass(frozen=True)
class ByteLevel:
    """Writes each byte as GPT-2's printable character for it."""

    def apply(self, text: bytes) -> bytes:
        return text.decode("latin-1").translate(CHAR_OF_BYTE).encode()

    def apply_with_origins(self, text: bytes) -> tuple[bytes, Origins]:
        is_start = (np.frombuffer(text, np.uint8) & 0xC0) != 0x80
        return self.apply(text), (np.cumsum(is_start) - 1).astype(np.int64)
