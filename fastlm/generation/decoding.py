"""Decoding with a KV cache: prefill for the prompt, then one step per token.

B sequences, T longest prompt, C capacity of the cache, L num_layers, H num_heads, G num_kv_heads, K d_head, D d_model,
V vocab_size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self, cast

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from fastlm.model.attention import MultiHeadSelfAttention, window_mask
from fastlm.model.bfloat16 import attention
from fastlm.model.layers import Device, SiLUFeedForward, SwiGLU
from fastlm.model.rope import RotaryPositionalEmbedding
from fastlm.model.transformer import TransformerBlock, TransformerLM

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Maps queries (B, H, T, K), keys and values (B, G, T, K) of new tokens to attention's result, (B, H, T, K)."""

Rotate = Callable[[RotaryPositionalEmbedding, Tensor], Tensor]
"""Rotates heads of new tokens, (B, H, T, K)."""


@dataclass(frozen=True)
class KVCache:
    """Keys and values of B sequences of different lengths.

    Attributes:
        keys: Keys, (L, B, G, C, K). Steps write into them.
        values: Values, of the same shape.
        lengths: Number of tokens of each sequence, (B,), int64.
    """

    keys: Tensor
    values: Tensor
    lengths: Tensor

    @classmethod
    def empty(cls, model: TransformerLM, sequences: int, capacity: int, dtype: torch.dtype | None = None) -> Self:
        """Makes an empty cache on the model's device.

        Args:
            model: The model.
            sequences: Number of sequences, B.
            capacity: Maximum number of tokens of a sequence, C.
            dtype: Dtype of keys and values; None for the model's.
        """
        config, weight = model.config, model.lm_head.weight
        shape = (config.num_layers, sequences, config.kv_heads, capacity, config.head_width)
        # zeros, because unused entries are multiplied by zero, and nan times zero is nan
        keys, values = weight.new_zeros(shape, dtype=dtype), weight.new_zeros(shape, dtype=dtype)
        return cls(keys, values, torch.zeros(sequences, dtype=torch.int64, device=weight.device))

    @property
    def capacity(self) -> int:
        """Maximum number of tokens of a sequence."""
        return self.keys.shape[-2]


Step = Callable[[Tensor, KVCache], Tensor]
"""Maps the ids, (B,), of one more token per sequence to the logits, (B, V), of the next, and appends to the cache."""


@torch.no_grad()
def prefill(model: TransformerLM, prompts: Sequence[Sequence[int]], cache: KVCache) -> Tensor:
    """Processes prompts and stores their keys and values at the beginning of the cache.

    Args:
        model: The model.
        prompts: B lists of ids, which may differ in length. Shorter ones are padded on the right, where no token of
            theirs looks.
        cache: The cache to fill.

    Returns:
        Logits of the token after each prompt, (B, V).

    Raises:
        ValueError: A prompt is empty or longer than the cache, or there are not B prompts.
    """
    if len(prompts) != cache.keys.shape[1]:
        raise ValueError(f"{len(prompts)} prompts for a cache of {cache.keys.shape[1]} sequences")
    lengths = [len(prompt) for prompt in prompts]
    for number, length in enumerate(lengths):
        if not 1 <= length <= cache.capacity:
            raise ValueError(f"prompt {number} has {length} tokens; expected 1 to {cache.capacity}")
    longest = max(lengths)
    padded = [[*prompt, *[0] * (longest - length)] for prompt, length in zip(prompts, lengths, strict=True)]
    device: Device = cache.keys.device
    cache.lengths.copy_(torch.tensor(lengths, device=device))
    x = model.token_embeddings(torch.tensor(padded, device=device))  # (B, T, D)
    for layer, keys, values in zip(layers_of(model), cache.keys, cache.values, strict=True):
        window = layer.attn.sliding_window
        mask = window_mask(longest, window, x.device) if window is not None and longest > window else None

        def attend(
            q: Tensor, k: Tensor, v: Tensor, keys: Tensor = keys, values: Tensor = values, mask: Tensor | None = mask
        ) -> Tensor:
            keys[:, :, :longest], values[:, :, :longest] = k, v
            return attention(q, k, v, mask)

        x = _layer(layer, x, lambda rope, heads: rope.rotate_prompts(heads, lengths), attend)
    last = x[torch.arange(len(prompts), device=device), cache.lengths - 1]  # (B, D)
    logits: Tensor = model.lm_head(model.ln_final(last))
    return logits


@torch.no_grad()
def decode_step(model: TransformerLM, token_ids: Tensor, cache: KVCache) -> Tensor:
    """Processes one token per sequence.

    All shapes are the shapes of the cache, no value is read on the host, and changes are made in place. So the step
    compiles into one graph for all lengths, and can be captured as a CUDA graph. In a row whose cache is full, the
    token replaces the last one.

    Args:
        model: The model.
        token_ids: Ids, (B,).
        cache: The cache, to which the tokens are appended.

    Returns:
        Logits of the next tokens, (B, V).
    """
    positions = cache.lengths.clamp(max=cache.capacity - 1)  # (B,)
    rows = torch.arange(len(token_ids), device=positions.device)
    places = torch.arange(cache.capacity, device=positions.device)
    causal = (places <= positions[:, None])[:, None, None]  # (B, 1, 1, C)
    x = model.token_embeddings(token_ids.unsqueeze(-1))  # (B, 1, D)
    # the same for all heads
    turned = positions[:, None, None]  # (B, 1, T = 1)
    for layer, keys, values in zip(layers_of(model), cache.keys, cache.values, strict=True):
        window = layer.attn.sliding_window
        visible = causal
        if window is not None:
            visible = causal & (places > (positions - window)[:, None])[:, None, None]

        def attend(
            q: Tensor, k: Tensor, v: Tensor, keys: Tensor = keys, values: Tensor = values, visible: Tensor = visible
        ) -> Tensor:
            keys[rows, :, positions], values[rows, :, positions] = k.squeeze(-2), v.squeeze(-2)
            return attention(q, keys, values, visible)

        x = _layer(layer, x, lambda rope, heads: rope.rotate_tokens(heads, turned), attend)
    cache.lengths.add_(1)
    logits: Tensor = model.lm_head(model.ln_final(x)).squeeze(-2)
    return logits


def layers_of(model: TransformerLM) -> list[TransformerBlock]:
    """The layers of a model with their type, which nn.ModuleList does not have."""
    return cast(list[TransformerBlock], list(model.layers))


def torch_step(model: TransformerLM, *, compile: bool = False) -> Step:  # noqa: A002 - as torch.compile
    """Makes a step that calls `decode_step`.

    Args:
        model: The model.
        compile: Whether the step is compiled to one graph by torch.compile, on a GPU as a CUDA graph.

    Returns:
        The step.
    """
    if not compile:
        return lambda token_ids, cache: decode_step(model, token_ids, cache)
    on_gpu = model.lm_head.weight.device.type == "cuda"
    compiled = torch.compile(decode_step, fullgraph=True, dynamic=False, mode="reduce-overhead" if on_gpu else None)
    return lambda token_ids, cache: compiled(model, token_ids, cache)


def _layer(layer: TransformerBlock, x: Tensor, rotate: Rotate, attend: Attend) -> Tensor:
    """Applies a layer to x, (B, T, D), with `attend` as its attention over the cache."""
    x = layer.with_sublayer(x, layer.ln1, lambda normed: _attention(layer.attn, normed, rotate, attend))
    return layer.with_sublayer(x, layer.ln2, lambda normed: _feed_forward(layer.ffn, normed))


# The modules concatenate weights, so that one product replaces two or three. For one token this would copy all weights;
# so here each projection is a separate product.


def _attention(attn: MultiHeadSelfAttention, x: Tensor, rotate: Rotate, attend: Attend) -> Tensor:
    q, k, v = (
        projection(x).unflatten(-1, (-1, attn.d_head)).transpose(-3, -2)  # (B, H or G, T, K)
        for projection in (attn.q_proj, attn.k_proj, attn.v_proj)
    )
    q, k = attn.normalized(q, k)
    if attn.rope is not None:
        q, k = rotate(attn.rope, q), rotate(attn.rope, k)
    result: Tensor = attn.output_proj(attend(q, k, v).transpose(-3, -2).flatten(-2))
    return result


def _feed_forward(ffn: SwiGLU | SiLUFeedForward, x: Tensor) -> Tensor:
    inner = F.silu(ffn.w1(x))
    if isinstance(ffn, SwiGLU):
        inner = inner * ffn.w3(x)
    result: Tensor = ffn.w2(inner)
    return result
