"""The configuration of a model: sizes and variants. Needs no torch."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, Self, TypedDict, get_args

from fastlm.model.rope_scaling import RopeScaling

RopeLayout = Literal["half", "interleaved"]
Norm = Literal["pre", "post", "none", "output"]
FeedForward = Literal["swiglu", "silu"]
AttentionBias = Literal["none", "qkv", "all"]
QKNormWidth = Literal["head", "projection"]
CHOICES = {
    "rope_layout": get_args(RopeLayout),
    "norm": get_args(Norm),
    "ffn": get_args(FeedForward),
    "attention_bias": get_args(AttentionBias),
    "qk_norm_width": get_args(QKNormWidth),
}
# fields that are written only where they differ from their default, because earlier files and checksums lack them
LATER_FIELDS: dict[str, Any] = {
    "attention_bias": "none",
    "qk_norm_width": "head",
    "rope_scaling": None,
    "layers_without_rope": (),
    "sliding_window": None,
    "sliding_layers": None,
}


class LayerVariants(TypedDict, total=False):
    """The optional fields of `ModelConfig` that describe one layer."""

    rope_layout: RopeLayout
    num_kv_heads: int | None
    d_head: int | None
    norm: Norm
    norm_eps: float
    ffn: FeedForward
    qk_norm: bool
    attention_bias: AttentionBias
    qk_norm_width: QKNormWidth
    rope_scaling: RopeScaling | None
    sliding_window: int | None


class ModelVariants(LayerVariants, total=False):
    """The optional fields of `ModelConfig`, without `rope_theta`."""

    tie_embeddings: bool
    layers_without_rope: tuple[int, ...]
    sliding_layers: tuple[int, ...] | None


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
        norm: Whether RMSNorm comes before each sublayer ("pre"), after its residual sum ("post"), between a sublayer
            and its residual sum ("output", as in OLMo 2), or not at all ("none").
        norm_eps: Value that RMSNorm adds to the mean square.
        ffn: Gated ("swiglu") or plain ("silu") feed-forward network.
        tie_embeddings: Whether the output layer shares the weight of the token embedding.
        qk_norm: Whether RMSNorm is applied to queries and keys before they rotate.
        attention_bias: Which projections of attention have a bias: none, queries, keys and values ("qkv"), or these and
            the output ("all").
        qk_norm_width: Whether qk_norm normalizes each head ("head"), or all heads together ("projection", as in OLMo
            2).
        rope_scaling: Scaling of rotary positions; a mapping of its fields is accepted.
        layers_without_rope: Numbers of the layers without rotary positions, from 0, ascending.
        sliding_window: Number of tokens that a token sees, itself and those before it; None for all.
        sliding_layers: Numbers of the layers with a sliding window, ascending; None for all layers.

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
    attention_bias: AttentionBias = "none"
    qk_norm_width: QKNormWidth = "head"
    rope_scaling: RopeScaling | None = None
    layers_without_rope: tuple[int, ...] = ()
    sliding_window: int | None = None
    sliding_layers: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "rope_scaling", RopeScaling.from_value(self.rope_scaling))
        for name in ("layers_without_rope", "sliding_layers"):
            if isinstance(getattr(self, name), list):
                object.__setattr__(self, name, tuple(getattr(self, name)))
        self._check_types()
        if self.d_head is None and self.d_model % self.num_heads:
            raise ValueError(f"d_model is {self.d_model}, which num_heads {self.num_heads} does not divide")
        if self.num_heads % self.kv_heads:
            raise ValueError(f"num_kv_heads is {self.num_kv_heads}, which does not divide num_heads {self.num_heads}")
        if self.rope_theta is not None:
            _check_number("rope_theta", self.rope_theta)
            if self.head_width % 2:
                raise ValueError(f"the width of a head is {self.head_width}; rotary positions need an even one")
        self._check_layers()
        self._check_scaling()

    def _check_layers(self) -> None:
        for name in ("layers_without_rope", "sliding_layers"):
            layers = getattr(self, name)
            if layers is None and name == "sliding_layers":
                continue
            numbers = layers if isinstance(layers, tuple) else ("",)
            known = all(type(layer) is int and 0 <= layer < self.num_layers for layer in numbers)
            if not known or list(numbers) != sorted(set(numbers)):
                raise ValueError(
                    f"{name} is {layers!r:.80}; expected ascending numbers of layers below num_layers {self.num_layers}"
                )
        if self.sliding_layers is not None and self.sliding_window is None:
            raise ValueError("sliding_layers is given without sliding_window")

    def _check_scaling(self) -> None:
        if self.rope_scaling is None:
            return
        if self.rope_theta is None:
            raise ValueError("rope_scaling is given with rope_theta=None, a model without positions")
        if self.rope_scaling.kind == "dynamic" and self.head_width == 2:
            raise ValueError("the width of a head is 2; dynamic rope_scaling needs at least 4")
        if self.rope_scaling.kind == "yarn" and self.rope_theta == 1:
            raise ValueError("rope_theta is 1; yarn rope_scaling needs another base")

    def _check_types(self) -> None:
        optional = ("num_kv_heads", "d_head", "sliding_window")
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

    def layer_variants(self, layer: int = 0) -> LayerVariants:
        """The optional fields that describe one layer, as keyword arguments."""
        return LayerVariants(
            rope_layout=self.rope_layout,
            num_kv_heads=self.num_kv_heads,
            d_head=self.d_head,
            norm=self.norm,
            norm_eps=self.norm_eps,
            ffn=self.ffn,
            qk_norm=self.qk_norm,
            attention_bias=self.attention_bias,
            qk_norm_width=self.qk_norm_width,
            rope_scaling=None if self.rope_theta_of(layer) is None else self.rope_scaling,
            sliding_window=self.window_of(layer),
        )

    def rope_theta_of(self, layer: int) -> float | None:
        """The base of the position angles of a layer; None for a layer without positions."""
        return None if layer in self.layers_without_rope else self.rope_theta

    def window_of(self, layer: int) -> int | None:
        """The sliding window of a layer; None for a layer that sees all tokens."""
        return self.sliding_window if self.sliding_layers is None or layer in self.sliding_layers else None

    def to_dict(self) -> dict[str, Any]:
        """The fields by name, with values that JSON can represent. Later fields are left out at their default."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        for name, default in LATER_FIELDS.items():
            if values[name] == default:
                del values[name]
        if self.rope_scaling is not None:
            values["rope_scaling"] = self.rope_scaling.to_dict()
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

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
