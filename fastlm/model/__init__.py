"""A decoder-only Transformer in plain PyTorch modules; needs the extra `fastlm[model]`.

Names are imported on first access, so that cost accounting (`fastlm.model.account`) needs no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastlm.model.attention import MultiHeadSelfAttention
    from fastlm.model.config import ModelConfig, SpecialTokenIds
    from fastlm.model.functional import cross_entropy, scaled_dot_product_attention, silu, softmax
    from fastlm.model.layers import Embedding, Linear, RMSNorm, SiLUFeedForward, SwiGLU
    from fastlm.model.loss import linear_cross_entropy
    from fastlm.model.rope import RotaryPositionalEmbedding
    from fastlm.model.transformer import TransformerBlock, TransformerLM

_MODULES = {
    "Embedding": "layers",
    "Linear": "layers",
    "ModelConfig": "config",
    "MultiHeadSelfAttention": "attention",
    "RMSNorm": "layers",
    "RotaryPositionalEmbedding": "rope",
    "SiLUFeedForward": "layers",
    "SpecialTokenIds": "config",
    "SwiGLU": "layers",
    "TransformerBlock": "transformer",
    "TransformerLM": "transformer",
    "cross_entropy": "functional",
    "linear_cross_entropy": "loss",
    "scaled_dot_product_attention": "functional",
    "silu": "functional",
    "softmax": "functional",
}
__all__ = [
    "Embedding",
    "Linear",
    "ModelConfig",
    "MultiHeadSelfAttention",
    "RMSNorm",
    "RotaryPositionalEmbedding",
    "SiLUFeedForward",
    "SpecialTokenIds",
    "SwiGLU",
    "TransformerBlock",
    "TransformerLM",
    "cross_entropy",
    "linear_cross_entropy",
    "scaled_dot_product_attention",
    "silu",
    "softmax",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
