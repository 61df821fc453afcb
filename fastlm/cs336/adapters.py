"""The adapters of CS336's assignment 1: copy this file to tests/adapters.py of the assignment, and its tests run on
fastlm.

The functions have the names and arguments of the assignment. B is a batch of any dimensions, T a sequence. Weights of
the assignment have interleaved rotary positions, so all modules here are made with `rope_layout="interleaved"`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor, nn

import fastlm
from fastlm import model as lm
from fastlm import training
from fastlm.model.state import unwrapped

__all__ = [
    "get_adamw_cls",
    "get_tokenizer",
    "run_cross_entropy",
    "run_embedding",
    "run_get_batch",
    "run_get_lr_cosine_schedule",
    "run_gradient_clipping",
    "run_linear",
    "run_load_checkpoint",
    "run_multihead_self_attention",
    "run_multihead_self_attention_with_rope",
    "run_rmsnorm",
    "run_rope",
    "run_save_checkpoint",
    "run_scaled_dot_product_attention",
    "run_silu",
    "run_softmax",
    "run_swiglu",
    "run_train_bpe",
    "run_transformer_block",
    "run_transformer_lm",
]

# --- layers ---


def run_linear(d_in: int, d_out: int, weights: Tensor, in_features: Tensor) -> Tensor:
    """Problem linear: (B, d_in) to (B, d_out), weights (d_out, d_in)."""
    layer = lm.Linear(d_in, d_out, dtype=weights.dtype)
    return _applied(layer, {"weight": weights}, in_features)


def run_embedding(vocab_size: int, d_model: int, weights: Tensor, token_ids: Tensor) -> Tensor:
    """Problem embedding: ids (B) to (B, d_model), weights (vocab_size, d_model)."""
    layer = lm.Embedding(vocab_size, d_model, dtype=weights.dtype)
    return _applied(layer, {"weight": weights}, token_ids)


def run_rmsnorm(d_model: int, eps: float, weights: Tensor, in_features: Tensor) -> Tensor:
    """Problem rmsnorm: (B, d_model) to (B, d_model), weights (d_model)."""
    layer = lm.RMSNorm(d_model, eps, dtype=weights.dtype)
    return _applied(layer, {"weight": weights}, in_features)


def run_silu(in_features: Tensor) -> Tensor:
    """SiLU of each element."""
    return lm.silu(in_features)


def run_swiglu(
    d_model: int, d_ff: int, w1_weight: Tensor, w2_weight: Tensor, w3_weight: Tensor, in_features: Tensor
) -> Tensor:
    """Problem positionwise_feedforward: (B, d_model) to (B, d_model)."""
    layer = lm.SwiGLU(d_model, d_ff, dtype=w1_weight.dtype)
    weights = {"w1.weight": w1_weight, "w2.weight": w2_weight, "w3.weight": w3_weight}
    return _applied(layer, weights, in_features)


def run_softmax(in_features: Tensor, dim: int) -> Tensor:
    """Problem softmax, over one dimension."""
    return lm.softmax(in_features, dim)


# --- attention ---


def run_scaled_dot_product_attention(
    Q: Tensor,  # noqa: N803 - the name is the assignment's
    K: Tensor,  # noqa: N803
    V: Tensor,  # noqa: N803
    mask: Tensor | None = None,
) -> Tensor:
    """Problem scaled_dot_product_attention: queries (B, T, d_k), keys and values; a mask is True where a query sees."""
    return lm.scaled_dot_product_attention(Q, K, V, mask)


def run_multihead_self_attention(
    d_model: int,
    num_heads: int,
    q_proj_weight: Tensor,
    k_proj_weight: Tensor,
    v_proj_weight: Tensor,
    o_proj_weight: Tensor,
    in_features: Tensor,
) -> Tensor:
    """Problem multihead_self_attention without positions: (B, T, d_model) to (B, T, d_model)."""
    layer = lm.MultiHeadSelfAttention(d_model, num_heads, dtype=q_proj_weight.dtype)
    return _applied(layer, _projections(q_proj_weight, k_proj_weight, v_proj_weight, o_proj_weight), in_features)


def run_multihead_self_attention_with_rope(
    d_model: int,
    num_heads: int,
    max_seq_len: int,
    theta: float,
    q_proj_weight: Tensor,
    k_proj_weight: Tensor,
    v_proj_weight: Tensor,
    o_proj_weight: Tensor,
    in_features: Tensor,
    token_positions: Tensor | None = None,
) -> Tensor:
    """Problem multihead_self_attention with rotary positions: (B, T, d_model) to (B, T, d_model)."""
    layer = lm.MultiHeadSelfAttention(
        d_model,
        num_heads,
        rope_theta=theta,
        max_seq_len=max_seq_len,
        rope_layout="interleaved",
        dtype=q_proj_weight.dtype,
    )
    weights = _projections(q_proj_weight, k_proj_weight, v_proj_weight, o_proj_weight)
    return _applied(layer, weights, in_features, token_positions)


def run_rope(d_k: int, theta: float, max_seq_len: int, in_query_or_key: Tensor, token_positions: Tensor) -> Tensor:
    """Problem rope: rotates (B, T, d_k) at positions (B, T)."""
    rope = lm.RotaryPositionalEmbedding(theta, d_k, max_seq_len, layout="interleaved", dtype=in_query_or_key.dtype)
    rotated: Tensor = rope(in_query_or_key, token_positions)
    return rotated


# --- the Transformer ---


def run_transformer_block(
    d_model: int,
    num_heads: int,
    d_ff: int,
    max_seq_len: int,
    theta: float,
    weights: Mapping[str, Tensor],
    in_features: Tensor,
) -> Tensor:
    """Problem transformer_block: (B, T, d_model) to (B, T, d_model)."""
    block = lm.TransformerBlock(
        d_model,
        num_heads,
        d_ff,
        max_seq_len=max_seq_len,
        rope_theta=theta,
        rope_layout="interleaved",
        dtype=next(iter(weights.values())).dtype,
    )
    return _applied(block, weights, in_features)


def run_transformer_lm(
    vocab_size: int,
    context_length: int,
    d_model: int,
    num_layers: int,
    num_heads: int,
    d_ff: int,
    rope_theta: float,
    weights: Mapping[str, Tensor],
    in_indices: Tensor,
) -> Tensor:
    """Problem transformer_lm: ids (B, T), T at most context_length, to logits (B, T, vocab_size)."""
    model = lm.TransformerLM(
        vocab_size,
        context_length,
        d_model,
        num_layers,
        num_heads,
        d_ff,
        rope_theta,
        rope_layout="interleaved",
        dtype=next(iter(weights.values())).dtype,
    )
    return _applied(model, weights, in_indices)


# --- training ---


def run_cross_entropy(inputs: Tensor, targets: Tensor) -> Tensor:
    """Problem cross_entropy: the mean over logits (B, vocab_size) and targets (B)."""
    return lm.cross_entropy(inputs, targets)


def run_gradient_clipping(parameters: Iterable[nn.Parameter], max_l2_norm: float) -> None:
    """Problem gradient_clipping, in place."""
    training.clip_gradients(parameters, max_l2_norm)


def get_adamw_cls() -> type[torch.optim.Optimizer]:
    """Problem adamw: torch's, which the assignment's test accepts."""
    return training.AdamW


def run_get_lr_cosine_schedule(
    it: int, max_learning_rate: float, min_learning_rate: float, warmup_iters: int, cosine_cycle_iters: int
) -> float:
    """Problem learning_rate_schedule."""
    return training.cosine_schedule(it, max_learning_rate, min_learning_rate, warmup_iters, cosine_cycle_iters)


def run_get_batch(
    dataset: np.ndarray[Any, np.dtype[Any]], batch_size: int, context_length: int, device: str
) -> tuple[Tensor, Tensor]:
    """Problem data_loading: inputs and targets, (batch_size, context_length) each."""
    return training.get_batch(dataset, batch_size, context_length, device)


def run_save_checkpoint(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    iteration: int,
    out: str | os.PathLike[str] | BinaryIO,
) -> None:
    """Problem checkpointing: writes a safetensors archive, not a pickle."""
    training.save_checkpoint(model, optimizer, iteration, out)


def run_load_checkpoint(
    src: str | os.PathLike[str] | BinaryIO, model: nn.Module, optimizer: torch.optim.Optimizer
) -> int:
    """Problem checkpointing: restores a checkpoint of `run_save_checkpoint`, and returns the iteration."""
    return training.load_checkpoint(src, model, optimizer)


# --- the tokenizer ---


def get_tokenizer(
    vocab: dict[int, bytes], merges: list[tuple[bytes, bytes]], special_tokens: list[str] | None = None
) -> fastlm.Tokenizer:
    """Problem tokenizer: has encode, encode_iterable and decode."""
    return fastlm.Tokenizer(vocab, merges, special_tokens)


def run_train_bpe(
    input_path: str | os.PathLike[str], vocab_size: int, special_tokens: list[str], **kwargs: Any
) -> tuple[dict[int, bytes], list[tuple[bytes, bytes]]]:
    """Problem train_bpe: the vocabulary and the merges in order. Options as in `fastlm.train_bpe`."""
    tokenizer = fastlm.train_bpe(Path(input_path), vocab_size, special_tokens, **kwargs)
    return dict(tokenizer.vocab), tokenizer.merges


# --- private ---


def _projections(q: Tensor, k: Tensor, v: Tensor, o: Tensor) -> dict[str, Tensor]:
    return {"q_proj.weight": q, "k_proj.weight": k, "v_proj.weight": v, "output_proj.weight": o}


def _applied(module: nn.Module, weights: Mapping[str, Tensor], *inputs: Tensor | None) -> Tensor:
    """The output of a module with given weights, whose names may have the prefix of torch.compile."""
    module.load_state_dict(unwrapped(weights))
    output: Tensor = module(*inputs)
    return output
