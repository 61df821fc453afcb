"""What a model is: its shape and the variants of its parts, without torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, Self, get_args

RopeLayout = Literal["half", "interleaved"]
Norm = Literal["pre", "post", "none"]
FeedForward = Literal["swiglu", "silu"]
CHOICES = {"rope_layout": get_args(RopeLayout), "norm": get_args(Norm), "ffn": get_args(FeedForward)}


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The shape of a decoder-only Transformer.

    Args:
        vocab_size: Number of token ids that the model knows.
        context_length: The most tokens that a sequence may have.
        d_model: Width of the residual stream.
        num_layers: Number of blocks.
        num_heads: Number of query heads.
        d_ff: Width within the feed-forward network; about 8/3 d_model for "swiglu", 4 d_model for "silu".
        rope_theta: Base of the angles of rotary positions; None for a model without positions.
        rope_layout: Which features turn together: i and i + d_head/2 ("half", as Llama's published weights), or 2i and
            2i + 1 ("interleaved", as in the paper).
        num_kv_heads: Number of heads of keys and values, which divides num_heads; None for num_heads.
        d_head: Width of a head; None for d_model / num_heads.
        norm: Whether RMSNorm stands before each sublayer ("pre"), after its residual sum ("post"), or nowhere ("none").
        norm_eps: What RMSNorm adds to the mean square.
        ffn: Gated ("swiglu") or plain ("silu") feed-forward network.
        tie_embeddings: Whether the output layer uses the weight of the token embedding.
        qk_norm: Whether queries and keys are normalised, head by head, before they turn.

    Raises ValueError that names the field, its value and what was expected.
    """

    vocab_size: int
    context_length: int
    d_model: int
    num_layers: int
    num_heads: int
    d_ff: int
    rope_theta: float | None = 10_000.0
    rope_layout: RopeLayout = "half"
    num_kv_heads: int | None = None
    d_head: int | None = None
    norm: Norm = "pre"
    norm_eps: float = 1e-5
    ffn: FeedForward = "swiglu"
    tie_embeddings: bool = False
    qk_norm: bool = False

    def __post_init__(self) -> None:
        optional = ("num_kv_heads", "d_head")
        for name in ("vocab_size", "context_length", "d_model", "num_layers", "num_heads", "d_ff", *optional):
            value = getattr(self, name)
            if value is None and name in optional:
                continue
            if type(value) is not int or not 0 < value < 1 << 31:
                raise ValueError(f"{name} is {value!r}; expected an integer from 1 to {(1 << 31) - 1}")
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} is {getattr(self, name)!r}; expected one of {', '.join(choices)}")
        for name in ("tie_embeddings", "qk_norm"):
            if type(getattr(self, name)) is not bool:
                raise ValueError(f"{name} is {getattr(self, name)!r}; expected true or false")
        _check_number("norm_eps", self.norm_eps)
        if self.d_head is None and self.d_model % self.num_heads:
            raise ValueError(f"d_model is {self.d_model}, which num_heads {self.num_heads} does not divide")
        if self.num_heads % self.kv_heads:
            raise ValueError(f"num_kv_heads is {self.num_kv_heads}, which does not divide num_heads {self.num_heads}")
        if self.rope_theta is not None:
            _check_number("rope_theta", self.rope_theta)
            if self.head_width % 2:
                raise ValueError(f"the width of a head is {self.head_width}; rotary positions need an even one")

    @property
    def kv_heads(self) -> int:
        """Number of heads of keys and values."""
        return self.num_heads if self.num_kv_heads is None else self.num_kv_heads

    @property
    def head_width(self) -> int:
        """Width of a head."""
        return self.d_model // self.num_heads if self.d_head is None else self.d_head

    def to_dict(self) -> dict[str, Any]:
        """All fields by name, of types that JSON has."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The configuration of which `values` has the fields; ValueError for a field that is missing or unknown."""
        known = {field.name for field in fields(cls)}
        if unknown := sorted(set(values) - known):
            raise ValueError(f"unknown field {unknown[0]!r} of a model; expected some of {', '.join(sorted(known))}")
        try:
            return cls(**values)
        except TypeError as error:
            raise ValueError(f"incomplete model: {str(error).split(') ')[-1]}") from None


def _check_number(name: str, value: float) -> None:
    if type(value) not in (int, float) or not (math.isfinite(value) and value > 0):
        raise ValueError(f"{name} is {value!r}; expected a positive number")
