"""Small models of every variant, for tests that hold one way of computing to another."""

import torch

from fastlm.model import TransformerLM

VARIANTS = {
    "plain": {},
    "grouped": {"num_kv_heads": 2},
    "one head of keys": {"num_kv_heads": 1, "rope_layout": "interleaved"},
    "interleaved": {"rope_layout": "interleaved"},
    "without positions": {"rope_theta": None},
    "wide heads": {"d_head": 10, "num_kv_heads": 3},
    "normalised queries": {"qk_norm": True, "num_kv_heads": 2},
    "normalised, interleaved": {"qk_norm": True, "rope_layout": "interleaved"},
    "post": {"norm": "post"},
    "no norm": {"norm": "none"},
    "silu": {"ffn": "silu", "d_ff": 70},
    "tied": {"tie_embeddings": True},
    "grouped and biased": {"num_kv_heads": 2, "attention_bias": "qkv"},
    "biased": {"attention_bias": "all", "rope_layout": "interleaved"},
    "normalized together": {"qk_norm": True, "qk_norm_width": "projection", "norm": "output", "num_kv_heads": 3},
    "normalized together, interleaved": {"qk_norm": True, "qk_norm_width": "projection", "rope_layout": "interleaved"},
    "window": {"sliding_window": 7, "num_kv_heads": 2},
    "layers that differ": {"sliding_window": 5, "sliding_layers": (1,), "layers_without_rope": (0,)},
    "scaled": {"rope_scaling": {"kind": "yarn", "factor": 4.0, "original_context": 12}},
    "dynamic": {"rope_scaling": {"kind": "dynamic", "factor": 4.0, "original_context": 12}},
    "all": {
        "num_kv_heads": 3,
        "d_head": 8,
        "rope_layout": "interleaved",
        "qk_norm": True,
        "norm": "post",
        "ffn": "silu",
        "tie_embeddings": True,
        "norm_eps": 1e-3,
        "rope_theta": 500.0,
    },
}


def model_of(variant: str, dtype: torch.dtype = torch.float32, **changes) -> TransformerLM:
    """A model of two layers whose widths are no multiples of a vector's, with gains that are not one."""
    shape = {"vocab_size": 97, "context_length": 48, "d_model": 36, "num_layers": 2, "num_heads": 6, "d_ff": 50}
    torch.manual_seed(0)
    model = TransformerLM(**{**shape, "rope_theta": 10_000.0, **VARIANTS[variant], **changes}, dtype=dtype)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() == 1:
                weight.uniform_(0.5, 1.5)  # of biases too
    return model
