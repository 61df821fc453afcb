"""A decoder-only Transformer in plain PyTorch modules; needs the extra `fastlm[model]`."""

from fastlm.model.attention import MultiHeadSelfAttention
from fastlm.model.config import ModelConfig
from fastlm.model.functional import cross_entropy, scaled_dot_product_attention, silu, softmax
from fastlm.model.layers import Embedding, Linear, RMSNorm, SiLUFeedForward, SwiGLU
from fastlm.model.loss import linear_cross_entropy
from fastlm.model.rope import RotaryPositionalEmbedding
from fastlm.model.transformer import TransformerBlock, TransformerLM

__all__ = [
    "Embedding",
    "Linear",
    "ModelConfig",
    "MultiHeadSelfAttention",
    "RMSNorm",
    "RotaryPositionalEmbedding",
    "SiLUFeedForward",
    "SwiGLU",
    "TransformerBlock",
    "TransformerLM",
    "cross_entropy",
    "linear_cross_entropy",
    "scaled_dot_product_attention",
    "silu",
    "softmax",
]
