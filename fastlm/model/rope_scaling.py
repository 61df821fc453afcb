"""Scaling of rotary positions for contexts longer than the one a model was trained on. Needs no torch."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self, get_args

ScalingKind = Literal["linear", "dynamic", "yarn", "llama3"]
# the fields of a kind beyond those that all kinds have
_FIELDS: dict[str, tuple[str, ...]] = {
    "linear": (),
    "dynamic": (),
    "yarn": ("attention_factor", "beta_fast", "beta_slow", "truncate"),
    "llama3": ("low_freq_factor", "high_freq_factor"),
}
_COMMON = ("kind", "factor", "original_context")
_NUMBERS = ("factor", "low_freq_factor", "high_freq_factor", "attention_factor", "beta_fast", "beta_slow")


@dataclass(frozen=True, kw_only=True)
class RopeScaling:
    """A scaling of the frequencies of rotary positions, with the formulas of transformers.

    Args:
        kind: "linear" divides all frequencies by the factor. "dynamic" raises the base with the length of a sequence
            beyond the original context. "yarn" (Peng et al. 2023, https://arxiv.org/abs/2309.00071) and "llama3"
            divide low frequencies and keep high ones.
        factor: Ratio of the scaled context to the original one.
        original_context: Context length before scaling.
        low_freq_factor: llama3 divides wavelengths above original_context / low_freq_factor.
        high_freq_factor: llama3 keeps wavelengths below original_context / high_freq_factor.
        attention_factor: yarn multiplies cosines and sines by it; None for 0.1 ln(factor) + 1.
        beta_fast: yarn keeps frequencies with more rotations in the original context.
        beta_slow: yarn divides frequencies with fewer rotations in the original context.
        truncate: Whether yarn rounds the bounds of the range between the two to whole features.

    Raises:
        ValueError: A field has a wrong value, or the kind does not have it.

    >>> RopeScaling(kind="linear", factor=4.0, original_context=2048).to_dict()
    {'kind': 'linear', 'factor': 4.0, 'original_context': 2048}
    """

    kind: ScalingKind
    factor: float
    original_context: int
    low_freq_factor: float | None = None
    high_freq_factor: float | None = None
    attention_factor: float | None = None
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    truncate: bool = True

    def __post_init__(self) -> None:
        if self.kind not in get_args(ScalingKind):
            raise ValueError(f"rope_scaling.kind is {self.kind!r}; expected one of {', '.join(get_args(ScalingKind))}")
        if type(self.original_context) is not int or not 0 < self.original_context < 1 << 31:
            raise ValueError(
                f"rope_scaling.original_context is {self.original_context!r}; "
                f"expected an integer from 1 to {(1 << 31) - 1}"
            )
        _check("factor", self.factor)
        for name in ("beta_fast", "beta_slow"):
            _check(name, getattr(self, name))
        if self.attention_factor is not None:
            _check("attention_factor", self.attention_factor)
        if type(self.truncate) is not bool:
            raise ValueError(f"rope_scaling.truncate is {self.truncate!r}; expected true or false")
        self._check_fields_of_kind()
        for name in _NUMBERS:
            if getattr(self, name) is not None:  # equal scalings have equal checksums
                object.__setattr__(self, name, float(getattr(self, name)))

    def _check_fields_of_kind(self) -> None:
        for kind, names in _FIELDS.items():
            for name in names:
                if kind != self.kind and getattr(self, name) != type(self).__dataclass_fields__[name].default:
                    raise ValueError(f"rope_scaling.{name} is {getattr(self, name)!r}; only {kind} has this field")
        if self.kind != "llama3":
            return
        for name in _FIELDS["llama3"]:
            _check(name, getattr(self, name))
        if not self.low_freq_factor < self.high_freq_factor:  # type: ignore[operator]
            raise ValueError(
                f"rope_scaling.high_freq_factor is {self.high_freq_factor!r}; "
                f"expected more than low_freq_factor, {self.low_freq_factor!r}"
            )

    def extended_context(self, context_length: int) -> int:
        """The context length of a model that transformers describes with this context length.

        transformers' field of linear and dynamic scaling is the original context, and that of yarn either one.
        """
        if self.kind == "llama3":
            return context_length
        scaled = int(min(self.factor * self.original_context, 1 << 31))
        return max(context_length, scaled) if self.kind == "yarn" else max(1, scaled)

    @property
    def depends_on_length(self) -> bool:
        """Whether the frequencies depend on the length of a sequence."""
        return self.kind == "dynamic"

    def to_dict(self) -> dict[str, Any]:
        """The fields of this kind by name, with values that JSON can represent, without those that are None."""
        values = {name: getattr(self, name) for name in (*_COMMON, *_FIELDS[self.kind])}
        return {name: value for name, value in values.items() if value is not None}

    @classmethod
    def from_value(cls, value: Any) -> Self | None:
        """Makes the scaling of a mapping of its fields; a scaling and None stay as they are.

        Raises:
            ValueError: A field is missing, unknown or wrong.
        """
        if value is None or isinstance(value, cls):
            return value
        if not isinstance(value, Mapping):
            raise ValueError(f"rope_scaling is {value!r:.80}; expected a mapping of {', '.join(_COMMON)}")
        if missing := [name for name in _COMMON if name not in value]:
            raise ValueError(f"rope_scaling.{missing[0]} is missing")
        if unknown := sorted(set(value) - set(cls.__dataclass_fields__)):
            raise ValueError(f"rope_scaling has the unknown field {unknown[0]!r:.80}")
        return cls(**value)


def _check(name: str, value: Any) -> None:
    if type(value) not in (int, float) or not 0 < value <= sys.float_info.max:
        raise ValueError(f"rope_scaling.{name} is {value!r:.80}; expected a positive number")
