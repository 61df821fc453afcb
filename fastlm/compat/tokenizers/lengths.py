"""Truncation and padding of encodings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from fastlm.compat.tokenizers.arguments import known_options, optional_unsigned, string, unsigned
from fastlm.compat.tokenizers.component import Name
from fastlm.compat.tokenizers.encoding import Encoding, padding_direction
from fastlm.formats.tokenizer_json.lengths import DIRECTIONS, STRATEGIES, PaddingEntry, TruncationEntry

_WRAP = 1 << 64


@dataclass(frozen=True)
class Truncation(TruncationEntry):
    """How encodings are cut to a length."""

    @classmethod
    def of(cls, entry: TruncationEntry | None) -> Truncation | None:
        """The entry of a file as an object of this class."""
        return None if entry is None else cls(**asdict(entry))

    @classmethod
    def given(cls, max_length: int, options: dict[str, Any]) -> Truncation:
        """The truncation of the arguments of enable_truncation. Raises TypeError, OverflowError or ValueError."""
        options = known_options(options, "stride", "strategy", "direction")
        strategy: Any = string(options.get("strategy", "longest_first"))
        direction: Any = string(options.get("direction", "right"))
        if strategy not in STRATEGIES.values():
            listed = "`longest_first`, `only_first`, or `only_second`"
            raise ValueError(f"Unknown `strategy`: `{strategy}`. Use one of {listed}")
        if direction not in DIRECTIONS.values():
            raise ValueError(f"Unknown `direction`: `{direction}`. Use one of `left` or `right`.")
        return cls(unsigned(max_length), unsigned(options.get("stride", 0)), strategy, direction)

    def without(self, added: int) -> Truncation:
        """The truncation before `added` tokens are added; as in tokenizers no limit if these alone exceed it."""
        return Truncation((self.max_length - added) % _WRAP, self.stride, self.strategy, self.direction)

    def check(self, added: int) -> None:
        """Raises ValueError if the stride is larger than the length without the added tokens."""
        if (self.max_length - added) % _WRAP < self.stride:
            raise ValueError(
                f"stride {self.stride} is not smaller than max_length {self.max_length} less {added} special tokens"
            )

    def cut(self, encoding: Encoding, pair: Encoding | None) -> None:
        """Cuts encodings in place. Raises ValueError if the strategy cannot cut them."""
        sizes = [len(encoding), 0 if pair is None else len(pair)]
        to_remove = sum(sizes) - self.max_length
        if self.max_length == 0:
            for one in (encoding, pair):
                if one is not None:
                    one.truncate_to(0, self.stride, self.direction)
        elif to_remove <= 0:
            return
        elif self.strategy == "longest_first":
            if pair is None:
                encoding.truncate_to(self.max_length, self.stride, self.direction)
                return
            kept = _shared(self.max_length, *sizes)
            encoding.truncate_to(kept[0], self.stride, self.direction)
            pair.truncate_to(kept[1], self.stride, self.direction)
        else:
            target = encoding if self.strategy == "only_first" else pair
            if target is None:
                raise ValueError("Truncation error: Second sequence not provided")
            if len(target) <= to_remove:
                raise ValueError("Truncation error: Sequence to truncate too short to respect the provided max_length")
            target.truncate_to(len(target) - to_remove, self.stride, self.direction)

    def settings(self) -> dict[str, Any]:
        """The value of `Tokenizer.truncation`."""
        return {
            "max_length": self.max_length,
            "stride": self.stride,
            "strategy": self.strategy,
            "direction": self.direction,
        }

    type_name = "TruncationParams"

    def shown_fields(self) -> dict[str, Any]:
        content = self.content()
        return {**content, **{name: Name(content[name]) for name in ("direction", "strategy")}}


def _shared(max_length: int, first: int, second: int) -> tuple[int, int]:
    """The lengths that a pair keeps if the longer one is cut first."""
    short, long = sorted((first, second))
    long = short if short > max_length else max(short, max_length - short)
    if short + long > max_length:
        short, long = max_length // 2, max_length - max_length // 2
    return (long, short) if first > second else (short, long)


@dataclass(frozen=True)
class Padding(PaddingEntry):
    """How encodings are padded. Length None means that of the longest of a batch."""

    @classmethod
    def of(cls, entry: PaddingEntry | None) -> Padding | None:
        """The entry of a file as an object of this class."""
        return None if entry is None else cls(**asdict(entry))

    @classmethod
    def given(cls, options: dict[str, Any]) -> Padding:
        """The padding of the arguments of enable_padding. Raises TypeError, OverflowError or ValueError."""
        names = ("direction", "pad_id", "pad_type_id", "pad_token", "length", "pad_to_multiple_of")
        options = known_options(options, *names, "max_length")
        return cls(
            padding_direction(options.get("direction", "right")),
            unsigned(options.get("pad_id", 0), 32),
            unsigned(options.get("pad_type_id", 0), 32),
            string(options.get("pad_token", "[PAD]")),
            optional_unsigned(options.get("length")),
            optional_unsigned(options.get("pad_to_multiple_of")),
        )

    def pad(self, encodings: Sequence[Encoding]) -> None:
        """Pads encodings in place."""
        length = max(map(len, encodings), default=0) if self.length is None else self.length
        if self.pad_to_multiple_of:
            length += -length % self.pad_to_multiple_of
        for encoding in encodings:
            encoding.pad_to(length, self.direction, self.pad_id, self.pad_type_id, self.pad_token)

    def settings(self) -> dict[str, Any]:
        """The value of `Tokenizer.padding`."""
        return {
            "length": self.length,
            "pad_to_multiple_of": self.pad_to_multiple_of,
            "pad_id": self.pad_id,
            "pad_token": self.pad_token,
            "pad_type_id": self.pad_type_id,
            "direction": self.direction,
        }

    type_name = "PaddingParams"

    def shown_fields(self) -> dict[str, Any]:
        strategy = Name("BatchLongest" if self.length is None else f"Fixed({self.length})")
        return {**self.content(), "strategy": strategy, "direction": Name(self.direction.capitalize())}
