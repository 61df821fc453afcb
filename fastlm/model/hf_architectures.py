"""The architectures of transformers that a TransformerLM computes, one entry each; no torch.

Another architecture is another entry: the fields say how it differs from Llama.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from fastlm.model.config import AttentionBias, ModelConfig
from fastlm.model.parameters import renamed
from fastlm.model.rope_scaling import ScalingKind

# parts of the names of weights, ours and transformers'; the rest of a name is the same
PRE_NORM = {".ln1.": ".input_layernorm.", ".ln2.": ".post_attention_layernorm."}
OUTPUT_NORM = {".ln1.": ".post_attention_layernorm.", ".ln2.": ".post_feedforward_layernorm."}
_PARTS = {
    "token_embeddings.": "model.embed_tokens.",
    "layers.": "model.layers.",
    ".attn.output_proj.": ".self_attn.o_proj.",
    ".attn.": ".self_attn.",
    ".ffn.w1.": ".mlp.gate_proj.",
    ".ffn.w2.": ".mlp.down_proj.",
    ".ffn.w3.": ".mlp.up_proj.",
    "ln_final.": "model.norm.",
}
# transformers' names of matrices that a joined one replaces
JOINED = {
    ".self_attn.q_proj.": ".self_attn.qkv_proj.",
    ".self_attn.k_proj.": ".self_attn.qkv_proj.",
    ".self_attn.v_proj.": ".self_attn.qkv_proj.",
    ".mlp.gate_proj.": ".mlp.gate_up_proj.",
    ".mlp.up_proj.": ".mlp.gate_up_proj.",
}

ALL_SCALINGS: tuple[ScalingKind, ...] = ("linear", "dynamic", "yarn", "llama3")


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """How transformers describes and computes a decoder.

    Attributes:
        model_type: Its name in config.json.
        class_name: Its class in transformers.
        models: Published models of this architecture.
        defaults: transformers' defaults of the optional fields of config.json, where they differ from Llama's.
        special_ids: transformers' defaults of the ids that begin and end a text and pad a batch.
        bias: The biases of attention; "field" for none or all, as the field attention_bias says.
        qk_norm: What RMSNorm of queries and keys covers: nothing, each head, or all heads together.
        norm: See ModelConfig.
        joined: Whether queries, keys and values are one matrix, and gate and up another.
        window: Which layers have a sliding window: none, all ("all", where the field sliding_window is a number), or
            those that the fields use_sliding_window and layer_types say, by default the layers from max_window_layers
            ("last") or those without positions ("unrotated").
        unrotated: Whether the field no_rope_layers names layers without rotary positions.
        scalings: The scalings of positions that its class computes.
        whole_heads: Whether d_model must be a multiple of num_heads.
    """

    model_type: str
    class_name: str
    models: str
    defaults: Mapping[str, Any] = field(default_factory=dict)
    special_ids: tuple[int | None, int | None, int | None] = (None, None, None)
    bias: Literal["none", "qkv", "field"] = "none"
    qk_norm: Literal["none", "head", "projection"] = "none"
    norm: Literal["pre", "output"] = "pre"
    joined: bool = False
    window: Literal["none", "all", "last", "unrotated"] = "none"
    unrotated: bool = False
    scalings: tuple[ScalingKind, ...] = ALL_SCALINGS
    whole_heads: bool = False

    def default(self, name: str) -> Any:
        """transformers' default of an optional field of config.json."""
        return self.defaults.get(name, _DEFAULTS[name])

    def biases(self) -> tuple[AttentionBias, ...]:
        """The values of ModelConfig.attention_bias that the architecture has."""
        return ("none", "all") if self.bias == "field" else (self.bias,)

    def foreign_name(self, name: str) -> str:
        """transformers' name of a weight."""
        name = renamed(name, _PARTS | (PRE_NORM if self.norm == "pre" else OUTPUT_NORM))
        for single, joined in JOINED.items() if self.joined else ():
            name = name.replace(single, joined)
        return name

    def refusal(self, config: ModelConfig) -> str | None:
        """Why the architecture cannot express a model; None if it can."""
        fixed: list[tuple[str, Any, tuple[Any, ...]]] = [
            ("norm", config.norm, (self.norm,)),
            ("ffn", config.ffn, ("swiglu",)),
            ("qk_norm", config.qk_norm, (self.qk_norm != "none",)),
            ("attention_bias", config.attention_bias, self.biases()),
        ]
        if config.qk_norm:
            fixed.append(("qk_norm_width", config.qk_norm_width, (self.qk_norm,)))
        if config.rope_scaling is not None:
            fixed.append(("rope_scaling.kind", config.rope_scaling.kind, self.scalings))
        if not self.unrotated:
            fixed.append(("layers_without_rope", config.layers_without_rope, ((),)))
        if self.window == "none":
            fixed.append(("sliding_window", config.sliding_window, (None,)))
        if self.window == "all":
            fixed.append(("sliding_layers", config.sliding_layers, (None,)))
        for name, found, allowed in fixed:
            if found not in allowed:
                return f"cannot express {name}={found!r}, only {' or '.join(map(repr, allowed)) or 'None'}"
        if config.rope_theta is None:
            return "cannot express rope_theta=None, a model without positions"
        if self.whole_heads and config.d_model % config.num_heads:
            return (
                f"cannot express d_model={config.d_model} with num_heads={config.num_heads}, which does not divide it"
            )
        return None


_DEFAULTS: Mapping[str, Any] = MappingProxyType(
    {
        "max_position_embeddings": 2048,
        "num_key_value_heads": None,
        "head_dim": None,
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": False,
        "rope_theta": 10_000.0,
        "sliding_window": None,
        "max_window_layers": 28,
        "no_rope_layer_interval": 4,
    }
)

_QWEN: dict[str, Any] = {"max_position_embeddings": 32768, "num_key_value_heads": 32, "sliding_window": 4096}

# The order is the order in which an export looks for an architecture that expresses a model.
ARCHITECTURES = (
    Architecture(
        model_type="llama",
        class_name="LlamaForCausalLM",
        models="Llama 2, 3, 3.1, 3.2, SmolLM, SmolLM 2, TinyLlama, Yi, DeepSeek (dense)",
        special_ids=(1, 2, None),
        bias="field",
        whole_heads=True,
    ),
    Architecture(
        model_type="mistral",
        class_name="MistralForCausalLM",
        models="Mistral 7B, Mistral Nemo",
        defaults={"max_position_embeddings": 131072, "num_key_value_heads": 8, "sliding_window": 4096},
        special_ids=(1, 2, None),
        window="all",
    ),
    Architecture(
        model_type="qwen2",
        class_name="Qwen2ForCausalLM",
        models="Qwen 2, 2.5",
        defaults=_QWEN,
        bias="qkv",
        window="last",
    ),
    Architecture(
        model_type="qwen3",
        class_name="Qwen3ForCausalLM",
        models="Qwen 3 (dense)",
        defaults={**_QWEN, "head_dim": 128},
        bias="field",
        qk_norm="head",
        window="last",
    ),
    Architecture(
        model_type="smollm3",
        class_name="SmolLM3ForCausalLM",
        models="SmolLM 3",
        defaults={
            "max_position_embeddings": 32768,
            "num_key_value_heads": 4,
            "tie_word_embeddings": True,
            "rope_theta": 2_000_000.0,
        },
        special_ids=(128000, 128001, 128004),
        bias="field",
        window="unrotated",
        unrotated=True,
    ),
    Architecture(
        model_type="olmo2",
        class_name="Olmo2ForCausalLM",
        models="OLMo 2",
        defaults={"rms_norm_eps": 1e-5},
        special_ids=(None, 50279, 1),
        bias="field",
        qk_norm="projection",
        norm="output",
    ),
    Architecture(
        model_type="phi3",
        class_name="Phi3ForCausalLM",
        models="Phi-3 mini and medium with a context of 4,096",
        defaults={"max_position_embeddings": 4096, "rms_norm_eps": 1e-5},
        special_ids=(1, 32000, 32000),
        joined=True,
        window="all",
        scalings=(),
    ),
)
BY_MODEL_TYPE = {architecture.model_type: architecture for architecture in ARCHITECTURES}

# architectures that people try, and what of them a TransformerLM does not compute
OTHER_MODEL_TYPES = {
    "mixtral": "a mixture of experts",
    "qwen2_moe": "a mixture of experts",
    "qwen3_moe": "a mixture of experts",
    "olmoe": "a mixture of experts",
    "granitemoe": "a mixture of experts",
    "phimoe": "a mixture of experts",
    "deepseek_v2": "latent attention and a mixture of experts",
    "deepseek_v3": "latent attention and a mixture of experts",
    "gpt_oss": "attention sinks and a mixture of experts",
    "llama4": "chunked attention and a mixture of experts",
    "llama4_text": "chunked attention and a mixture of experts",
    "gemma": "norms with a gain of 1 + weight, and scaled embeddings",
    "gemma2": "soft-capped logits",
    "gemma3": "norms with a gain of 1 + weight, and two bases of positions",
    "gemma3_text": "norms with a gain of 1 + weight, and two bases of positions",
    "qwen3_next": "linear attention",
    "olmo": "norms without a gain",
    "olmo3": "positions that are scaled in some layers only",
    "phi": "LayerNorm and partial rotary positions",
    "stablelm": "LayerNorm and partial rotary positions",
    "gpt_neox": "LayerNorm and partial rotary positions",
    "glm": "partial rotary positions that are interleaved",
    "glm4": "partial rotary positions that are interleaved",
    "cohere": "LayerNorm and parallel sublayers",
    "cohere2": "LayerNorm and parallel sublayers",
    "falcon": "LayerNorm and parallel sublayers",
    "starcoder2": "LayerNorm",
    "gpt2": "LayerNorm and learned positions",
    "opt": "LayerNorm and learned positions",
    "granite": "multipliers of embeddings, attention and logits",
    "mamba": "a state-space model",
    "nemotron": "LayerNorm and squared ReLU",
}
# fields that other programs read, with which a folder is of no architecture above
OTHER_FEATURES = {
    "num_local_experts": "a mixture of experts",
    "num_experts": "a mixture of experts",
    "n_routed_experts": "a mixture of experts",
    "final_logit_softcapping": "soft-capped logits",
    "attn_logit_softcapping": "soft-capped attention",
    "attention_sinks": "attention sinks",
    "attention_chunk_size": "chunked attention",
    "quantization_config": "quantized weights",
    "kv_lora_rank": "latent attention",
    "alibi": "linear biases of attention",
    "parallel_attn": "parallel sublayers",
}
