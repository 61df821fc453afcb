"""One class a normalizer. Each takes and gives UTF-8 and can say from which character each character comes."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from fastlm._types import Int64Array
from fastlm.forks import no_fork
from fastlm.text._normalize import is_normalized, normalized, normalized_with_origins
from fastlm.text._utf8 import utf8_bytes
from fastlm.text.byte_level import CHAR_OF_BYTE
from fastlm.text.whitespace import WHITESPACE

if TYPE_CHECKING:
    from fastlm.pretokenize.oniguruma.expression import Expression

Origins: TypeAlias = Int64Array
"""int64 (characters of a result,): the index of the character of the given text that each comes from."""


class Normalizer(Protocol):
    """A step of normalization.

    Attributes:
        is_local: Whether the result for a text is the results for its parts, joined, if the text is cut at a space or a
            newline between two printable ASCII characters, and the normalized text has a space or a newline there.
        is_idempotent: Whether the step does not change its own results.
    """

    @property
    def type_name(self) -> str:
        """The type in tokenizer.json."""
        ...

    is_local: ClassVar[bool]
    is_idempotent: ClassVar[bool]

    def content(self) -> dict[str, Any]:
        """The JSON object of the step in tokenizer.json."""
        ...

    def keeps(self, text: str | bytes) -> bool:
        """Whether the step changes neither a text nor where its characters come from."""
        ...

    def apply(self, text: bytes) -> bytes:
        """The normalized text, as UTF-8."""
        ...

    def apply_with_origins(self, text: bytes) -> tuple[bytes, Origins]:
        """The normalized text and the origins of its characters."""
        ...


def keeps(steps: Iterable[Normalizer], text: str | bytes) -> bool:
    """Whether no step changes a text, which has no lone surrogates."""
    return all(step.keeps(text) for step in steps)


def normalize(steps: Iterable[Normalizer], text: bytes) -> bytes:
    """A text after all steps. The given object itself is returned where no step changes it."""
    for step in steps:
        text = step.apply(text)
    return text


def normalize_str(steps: Iterable[Normalizer], text: str) -> str:
    """A text without lone surrogates after all steps."""
    given = text.encode()
    found = normalize(steps, given)
    return text if found is given else found.decode()


def simplified(steps: Iterable[Normalizer]) -> tuple[Normalizer, ...]:
    """The steps without those that change no text. Sequences that are simplified to the same steps are equal."""
    kept: list[Normalizer] = []
    for step in steps:
        repeats = step.is_idempotent and kept[-1:] == [step]
        if not repeats and step not in (Strip(False, False), Prepend("")):
            kept.append(step)
    return tuple(kept)


def normalize_with_origins(steps: Sequence[Normalizer], text: bytes) -> tuple[bytes, Origins]:
    """A text after all steps, and for each of its characters the index of a character of the given text."""
    origins: Origins | None = None
    for step in steps:
        text, places = step.apply_with_origins(text)
        origins = places if origins is None else origins[places]
    return text, np.arange(len(text.decode()), dtype=np.int64) if origins is None else origins


class _Step:
    """What most steps have in common."""

    is_local: ClassVar[bool] = False
    is_idempotent: ClassVar[bool] = False

    def content(self) -> dict[str, Any]:
        return {"type": self.type_name}  # type: ignore[attr-defined]

    def apply(self, text: bytes) -> bytes:
        raise NotImplementedError(type(self).__name__)

    def keeps(self, text: str | bytes) -> bool:
        encoded = utf8_bytes(text)
        return self.apply(encoded) == encoded


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
class UnicodeForm(_Step):
    """A Unicode normalization form, lowercase, or the removal of combining marks, by its type in tokenizer.json."""

    is_local = True
    is_idempotent = True

    type_name: str

    def __post_init__(self) -> None:
        if self.type_name not in _FORMS:
            raise ValueError(f"form must be one of {', '.join(_FORMS)}, got {self.type_name!r}")

    def keeps(self, text: str | bytes) -> bool:
        # a str knows whether it is ASCII, which only lowercase changes
        if isinstance(text, str) and str.isascii(text) and self.type_name != "Lowercase":
            return True
        return is_normalized(text, _FORMS[self.type_name])

    def apply(self, text: bytes) -> bytes:
        return cast(bytes, normalized(text, _FORMS[self.type_name]))

    def apply_with_origins(self, text: bytes) -> tuple[bytes, Origins]:
        return normalized_with_origins(text, _FORMS[self.type_name])


@dataclass(frozen=True)
class Strip(_Step):
    """Removes whitespace at the left end, the right end, or both."""

    type_name: ClassVar[str] = "Strip"
    is_idempotent = True

    left: bool = True
    right: bool = True

    def content(self) -> dict[str, Any]:
        return {"type": self.type_name, "strip_left": self.left, "strip_right": self.right}

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
class Prepend(_Step):
    """Puts a string before a text that is not empty."""

    type_name: ClassVar[str] = "Prepend"

    prepend: str

    def content(self) -> dict[str, Any]:
        return {"type": self.type_name, "prepend": self.prepend}

    def apply(self, text: bytes) -> bytes:
        return self.prepend.encode() + text if text else text

    def apply_with_origins(self, text: bytes) -> tuple[bytes, Origins]:
        count = len(text.decode())
        added = np.zeros(len(self.prepend) if text else 0, np.int64)
        return self.apply(text), np.concatenate([added, np.arange(count, dtype=np.int64)])


@dataclass(frozen=True)
class Replace(_Step):
    """Replaces each match of a pattern. The replacement comes from the last character of the match.

    At an empty match the replacement is inserted, and comes from the character before.

    Args:
        pattern: A text to find, or an expression in Oniguruma's syntax.
        replacement: What it puts there.
        pattern_kind: Which of the two the pattern is.

    Raises:
        ValueError: The expression is none, or is not supported.
    """

    type_name: ClassVar[str] = "Replace"

    pattern: str
    replacement: str
    pattern_kind: Literal["String", "Regex"] = "String"

    def __post_init__(self) -> None:
        if self.pattern_kind == "Regex":
            _compiled(self.pattern)

    def content(self) -> dict[str, Any]:
        return {
            "type": self.type_name,
            "pattern": {self.pattern_kind: self.pattern},
            "content": self.replacement,
        }

    def _matches(self, text: bytes) -> Int64Array:
        """Start and end of each match in bytes, int64 (matches, 2). A text without characters has none."""
        if not text:
            return np.empty((0, 2), np.int64)
        expression = self.pattern if self.pattern_kind == "Regex" else re.escape(self.pattern)
        return _compiled(expression).find_all(text)

    def keeps(self, text: str | bytes) -> bool:
        encoded = utf8_bytes(text)
        if self.pattern_kind == "String" and self.pattern:
            return self.pattern.encode() not in encoded
        return not len(self._matches(encoded))

    def apply(self, text: bytes) -> bytes:
        if self.pattern_kind == "String" and self.pattern:
            return text.replace(self.pattern.encode(), self.replacement.encode())
        matches = self._matches(text)
        if not len(matches):
            return text
        starts, ends = [0, *matches[:, 1].tolist()], [*matches[:, 0].tolist(), len(text)]
        between = [text[start:end] for start, end in zip(starts, ends, strict=True)]
        return self.replacement.encode().join(between)

    def apply_with_origins(self, text: bytes) -> tuple[bytes, Origins]:
        is_start = (np.frombuffer(text, np.uint8) & 0xC0) != 0x80
        starts, ends = np.append(0, np.cumsum(is_start))[self._matches(text).T]
        change = np.zeros(int(is_start.sum()) + 1, np.int64)
        np.add.at(change, starts, 1)
        np.add.at(change, ends, -1)
        kept = np.flatnonzero(np.cumsum(change)[:-1] == 0)
        places, count = np.searchsorted(kept, starts), len(self.replacement)
        origins = np.insert(kept, np.repeat(places, count), np.repeat(np.maximum(ends - 1, 0), count))
        return self.apply(text), origins


@dataclass(frozen=True)
class Nmt(_Step):
    """Removes control characters and turns some separators and invisible characters into spaces."""

    type_name: ClassVar[str] = "Nmt"
    is_local = True
    is_idempotent = True

    # code points by which tokenizers 0.23 differs from the identity
    REMOVED = (*range(0x01, 0x09), 0x0B, *range(0x0E, 0x20), 0x7F, 0x8F, 0x9F)
    SPACES = (
        *(0x09, 0x0A, 0x0C, 0x0D, 0x1680, *range(0x200B, 0x2010)),
        *(0x2028, 0x2029, 0x2581, 0xFEFF, 0xFFFD),
    )

    def apply(self, text: bytes) -> bytes:
        return self.apply_with_origins(text)[0]

    def apply_with_origins(self, text: bytes) -> tuple[bytes, Origins]:
        code_points = np.frombuffer(text.decode().encode("utf-32-le"), "<u4")
        mapped = _nmt_table()[code_points]
        kept = mapped != _REMOVED
        if (mapped == code_points).all():
            return text, np.arange(len(code_points), dtype=np.int64)
        made = mapped[kept].astype("<u4", copy=False).tobytes().decode("utf-32-le")
        return made.encode(), np.flatnonzero(kept).astype(np.int64)


# no code point
_REMOVED = 0xFFFFFFFF


@functools.cache
def _nmt_table() -> NDArray[np.uint32]:
    """What each code point becomes, uint32 (0x110000,)."""
    table = np.arange(0x110000, dtype=np.uint32)
    table[list(Nmt.REMOVED)], table[list(Nmt.SPACES)] = _REMOVED, ord(" ")
    return table


@dataclass(frozen=True)
class ByteLevel(_Step):
    """Writes each byte as GPT-2's printable character for it."""

    type_name: ClassVar[str] = "ByteLevel"

    def apply(self, text: bytes) -> bytes:
        return text.decode("latin-1").translate(CHAR_OF_BYTE).encode()

    def apply_with_origins(self, text: bytes) -> tuple[bytes, Origins]:
        is_start = (np.frombuffer(text, np.uint8) & 0xC0) != 0x80
        return self.apply(text), (np.cumsum(is_start) - 1).astype(np.int64)


def _compiled(expression: str) -> Expression:
    """A compiled expression. Its compiler is imported at its first use, because few normalizers have expressions."""
    with no_fork:
        from fastlm.pretokenize.oniguruma.expression import compile_expression
    return compile_expression(expression)
