"""The configuration of a model: sizes and variants. Needs no torch."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, Self, TypedDict, get_args

RopeLayout = Literal["half", "interleaved"]
Norm = Literal["pre", "post", "none"]
FeedForward = Literal["swiglu", "silu"]
CHOICES = {"rope_layout": get_args(RopeLayout), "norm": get_args(Norm), "ffn": get_args(FeedForward)}


class LayerVariants(TypedDict, total=False):
    """The optional fields of `ModelConfig` that describe one layer."""

    rope_layout: RopeLayout
    num_kv_heads: int | None
    d_head: int | None
    norm: Norm
    norm_eps: float
    ffn: FeedForward
    qk_norm: bool


class ModelVariants(LayerVariants, total=False):
    """The optional fields of `ModelConfig`, without `rope_theta`."""

    tie_embeddings: bool


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The configuration of a decoder-only Transformer.

    Args:
        vocab_size: Number of token ids.
        context_length: Maximum number of tokens in a sequence.
        d_model: Width of the residual stream.
        num_layers: Number of Transformer layers.
        num_heads: Number of query heads.
        d_ff: Width of the feed-forward network's hidden layer; about 8/3 d_model for "swiglu", 4 d_model for "silu".
        rope_theta: Base of the rotary position angles; None for a model without positions.
        rope_layout: Which features rotate together: i and i + d_head/2 ("half", as Llama's published weights), or 2i
            and 2i + 1 ("interleaved", as in the paper).
        num_kv_heads: Number of key and value heads, a divisor of num_heads; None for num_heads.
        d_head: Width of a head; None for d_model / num_heads.
        norm: Whether RMSNorm comes before each sublayer ("pre"), after its residual sum ("post"), or not at all
            ("none").
        norm_eps: Value that RMSNorm adds to the mean square.
        ffn: Gated ("swiglu") or plain ("silu") feed-forward network.
        tie_embeddings: Whether the output layer shares the weight of the token embedding.
        qk_norm: Whether RMSNorm is applied to queries and keys, head by head, before they rotate.

    Raises:
        ValueError: A field has a wrong value. The message names the field, the value and the expected values.

    >>> ModelConfig(vocab_size=100, context_length=8, d_model=16, num_layers=1, num_heads=2, d_ff=32).head_width
    8
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
        self._check_types()
        if self.d_head is None and self.d_model % self.num_heads:
            raise ValueError(f"d_model is {self.d_model}, which num_heads {self.num_heads} does not divide")
        if self.num_heads % self.kv_heads:
            raise ValueError(f"num_kv_heads is {self.num_kv_heads}, which does not divide num_heads {self.num_heads}")
        if self.rope_theta is not None:
            _check_number("rope_theta", self.rope_theta)
            if self.head_width % 2:
                raise ValueError(f"the width of a head is {self.head_width}; rotary positions need an even one")

    def _check_types(self) -> None:
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

    @property
    def kv_heads(self) -> int:
        """Number of key and value heads."""
        return self.num_heads if self.num_kv_heads is None else self.num_kv_heads

    @property
    def head_width(self) -> int:
        """Width of a head."""
        return self.d_model // self.num_heads if self.d_head is None else self.d_head

    def layer_variants(self) -> LayerVariants:
        """The optional fields that describe one layer, as keyword arguments."""
        return LayerVariants(
            rope_layout=self.rope_layout,
            num_kv_heads=self.num_kv_heads,
            d_head=self.d_head,
            norm=self.norm,
            norm_eps=self.norm_eps,
            ffn=self.ffn,
            qk_norm=self.qk_norm,
        )

    def to_dict(self) -> dict[str, Any]:
        """All fields by name, with values that JSON can represent."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Makes a configuration from a mapping of its fields.

        Raises:
            ValueError: A field is missing, unknown or wrong.
        """
        known = {field.name for field in fields(cls)}
        if unknown := sorted(set(values) - known):
            raise ValueError(f"unknown field {unknown[0]!r} of a model; expected some of {', '.join(sorted(known))}")
        try:
            return cls(**values)
        except TypeError as error:
            raise ValueError(f"incomplete model: {str(error).split(') ')[-1]}") from None


@dataclass(frozen=True)
class SpecialTokenIds:
    """The ids that begin a text, end one, and pad a batch, as far as a model knows them.

    Attributes:
        bos: Id that begins a text.
        eos: Ids that end a text. Generation stops at any of them.
        pad: Id that pads a batch.
    """

    bos: int | None = None
    eos: tuple[int, ...] = ()
    pad: int | None = None

    def __bool__(self) -> bool:
        return self != SpecialTokenIds()

    def to_dict(self) -> dict[str, Any]:
        """The ids with values that JSON can represent."""
        return {"bos": self.bos, "eos": list(self.eos), "pad": self.pad}

    @classmethod
    def from_dict(cls, values: Any, vocab_size: int) -> Self:
        """Makes the ids from the result of `to_dict`.

        Raises:
            ValueError: A field is missing, unknown, or not an id below `vocab_size`.
        """
        if not isinstance(values, Mapping) or values.keys() != {"bos", "eos", "pad"}:
            raise ValueError(f"special token ids are {values!r:.80}; expected an object of bos, eos and pad")
        eos = values["eos"]
        ids = [values[name] for name in ("bos", "pad") if values[name] is not None]
        ids += list(eos) if isinstance(eos, Sequence) else [eos]
        for token_id in ids:
            if type(token_id) is not int or not 0 <= token_id < vocab_size:
                raise ValueError(f"special token id is {token_id!r:.80}; expected an id below {vocab_size}")
        return cls(values["bos"], tuple(eos), values["pad"])


NO_IDS = SpecialTokenIds()


def _check_number(name: str, value: float) -> None:
    if type(value) not in (int, float) or not 0 < value <= sys.float_info.max:
        raise ValueError(f"{name} is {value!r}; expected a positive number")
