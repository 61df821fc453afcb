"""The truncation and padding of a tokenizer.json."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from fastlm.formats.tokenizer_json.json_values import Entries, is_unsigned

Direction = Literal["left", "right"]
Strategy = Literal["longest_first", "only_first", "only_second"]

STRATEGIES: dict[str, Strategy] = {
    "LongestFirst": "longest_first",
    "OnlyFirst": "only_first",
    "OnlySecond": "only_second",
}
DIRECTIONS: dict[str, Direction] = {"Left": "left", "Right": "right"}
_NAMES = {value: name for name, value in (STRATEGIES | DIRECTIONS).items()}


@dataclass(frozen=True)
class TruncationEntry:
    """How encodings are cut to a length."""

    max_length: int
    stride: int = 0
    strategy: Strategy = "longest_first"
    direction: Direction = "right"

    def content(self) -> dict[str, Any]:
        """The JSON object."""
        return {
            "direction": _NAMES[self.direction],
            "max_length": self.max_length,
            "strategy": _NAMES[self.strategy],
            "stride": self.stride,
        }


@dataclass(frozen=True)
class PaddingEntry:
    """How encodings are padded. `length` None means that of the longest of a batch."""

    direction: Direction = "right"
    pad_id: int = 0
    pad_type_id: int = 0
    pad_token: str = "[PAD]"
    length: int | None = None
    pad_to_multiple_of: int | None = None

    def content(self) -> dict[str, Any]:
        """The JSON object."""
        return {
            "strategy": "BatchLongest" if self.length is None else {"Fixed": self.length},
            "direction": _NAMES[self.direction],
            "pad_to_multiple_of": self.pad_to_multiple_of,
            "pad_id": self.pad_id,
            "pad_type_id": self.pad_type_id,
            "pad_token": self.pad_token,
        }


def parse_truncation(content: Any) -> TruncationEntry | None:
    """The truncation of a JSON value, None for null. Raises ValueError for malformed content."""
    if content is None:
        return None
    entries = Entries(content, "truncation")
    return TruncationEntry(
        entries.unsigned("max_length", 64),
        entries.unsigned("stride", 64),
        entries.choice("strategy", STRATEGIES),
        entries.choice("direction", DIRECTIONS, "right"),
    )


def parse_padding(content: Any) -> PaddingEntry | None:
    """The padding of a JSON value, None for null. Raises ValueError for malformed content."""
    if content is None:
        return None
    entries = Entries(content, "padding")
    strategy, multiple = entries.value("strategy"), entries.value("pad_to_multiple_of", None)
    fixed = strategy.get("Fixed") if isinstance(strategy, dict) and len(strategy) == 1 else None
    if strategy != "BatchLongest" and not is_unsigned(fixed, 64):
        raise ValueError(f"padding: strategy must be 'BatchLongest' or an object with Fixed, got {strategy!r:.80}")
    if multiple is not None and not is_unsigned(multiple, 64):
        raise ValueError(f"padding: pad_to_multiple_of must be an unsigned integer or null, got {multiple!r:.80}")
    return PaddingEntry(
        entries.choice("direction", DIRECTIONS),
        entries.unsigned("pad_id"),
        entries.unsigned("pad_type_id"),
        entries.string("pad_token"),
        fixed,
        multiple,
    )
