"""Names, shapes and number of a model's parameters, computed from its configuration."""

from __future__ import annotations

import math
from collections.abc import Mapping

from fastlm.model.config import ModelConfig

ATTENTION_PROJECTIONS = ("q_proj", "k_proj", "v_proj", "output_proj")


def renamed(name: str, parts: Mapping[str, str]) -> str:
    """The name of a weight in another program.

    Args:
        name: The name in the state dict.
        parts: Part of a name -> the other program's. A part that does not begin with a dot is replaced at the beginning
            of a name only.
    """
    for ours, theirs in parts.items():
        if name.startswith(ours) or ours.startswith("."):
            name = name.replace(ours, theirs)
    return name


def parameter_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """The shape of each parameter of a `TransformerLM` by its name in the state dict, without a tied output layer."""
    width, head = config.d_model, config.head_width
    queries, keys = config.num_heads * head, config.kv_heads * head
    shapes: dict[str, tuple[int, ...]] = {"token_embeddings.weight": (config.vocab_size, width)}
    for layer in range(config.num_layers):
        block: dict[str, tuple[int, ...]] = {
            "attn.q_proj": (queries, width),
            "attn.k_proj": (keys, width),
            "attn.v_proj": (keys, width),
            "attn.output_proj": (width, queries),
        }
        if config.qk_norm:
            joint = config.qk_norm_width == "projection"
            block |= {"attn.q_norm": (queries if joint else head,), "attn.k_norm": (keys if joint else head,)}
        block |= {"ffn.w1": (config.d_ff, width), "ffn.w2": (width, config.d_ff)}
        if config.ffn == "swiglu":
            block["ffn.w3"] = (config.d_ff, width)
        if config.norm != "none":
            block |= {"ln1": (width,), "ln2": (width,)}
        shapes |= {f"layers.{layer}.{name}.weight": shape for name, shape in block.items()}
        biases = {"none": (), "qkv": ("q_proj", "k_proj", "v_proj")}.get(config.attention_bias, ATTENTION_PROJECTIONS)
        for name in biases:
            shapes[f"layers.{layer}.attn.{name}.bias"] = block[f"attn.{name}"][:1]
    if config.norm != "none":
        shapes["ln_final.weight"] = (width,)
    if not config.tie_embeddings:
        shapes["lm_head.weight"] = (config.vocab_size, width)
    return shapes


def num_parameters(config: ModelConfig) -> int:
    """Number of trainable weights."""
    return sum(math.prod(shape) for shape in parameter_shapes(config).values())
