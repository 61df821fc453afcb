"""Logits of one more token, with the keys and values of what came before kept: prefill, then step after step.

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

from fastlm.model.attention import MultiHeadSelfAttention
from fastlm.model.bfloat16 import attention
from fastlm.model.layers import Device, SiLUFeedForward, SwiGLU
from fastlm.model.transformer import TransformerBlock, TransformerLM

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Queries (B, H, T, K), keys and values (B, G, T, K) of the new tokens to what attention gives, (B, H, T, K)."""


@dataclass(frozen=True)
class KVCache:
    """Keys and values of B sequences, each of which stands at its own place: row b has `lengths[b]` tokens.

    `keys` and `values` are (L, B, G, C, K), `lengths` is (B,), int64. All stay where they are; steps write into them.
    """

    keys: Tensor
    values: Tensor
    lengths: Tensor

    @classmethod
    def empty(cls, model: TransformerLM, sequences: int, capacity: int) -> Self:
        """A cache for `sequences` of up to `capacity` tokens, on the model's device and in its type."""
        config, weight = model.config, model.lm_head.weight
        shape = (config.num_layers, sequences, config.kv_heads, capacity, config.head_width)
        # zeros: what is not written yet is multiplied by zero, which must not meet a nan
        keys, values = weight.new_zeros(shape), weight.new_zeros(shape)
        return cls(keys, values, torch.zeros(sequences, dtype=torch.int64, device=weight.device))

    @property
    def capacity(self) -> int:
        """The most tokens of a sequence."""
        return self.keys.shape[-2]


Step = Callable[[Tensor, KVCache], Tensor]
"""Ids (B,) of one more token a sequence, and the cache, which it enters, to the logits (B, V) of the token after it."""


@torch.no_grad()
def prefill(model: TransformerLM, prompts: Sequence[Sequence[int]], cache: KVCache) -> Tensor:
    """The logits, (B, V), of the token after each prompt; their keys and values go to the cache, from its beginning.

    Prompts may differ in length: the shorter ones are filled up on the right, where no token of theirs looks.

    Raises ValueError for an empty prompt, for one longer than the cache, and where there are not B of them.
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
    positions = torch.arange(longest, device=device)
    for layer, keys, values in zip(blocks(model), cache.keys, cache.values, strict=True):

        def attend(q: Tensor, k: Tensor, v: Tensor, keys: Tensor = keys, values: Tensor = values) -> Tensor:
            keys[:, :, :longest], values[:, :, :longest] = k, v
            return attention(q, k, v)

        x = _block(layer, x, positions, attend)
    last = x[torch.arange(len(prompts), device=device), cache.lengths - 1]  # (B, D)
    logits: Tensor = model.lm_head(model.ln_final(last))
    return logits


@torch.no_grad()
def decode_step(model: TransformerLM, token_ids: Tensor, cache: KVCache) -> Tensor:
    """The logits, (B, V), of the token after `token_ids`, (B,), each of which follows what the cache has of its row.

    All shapes are those of the cache, no value is looked at, and what changes is written in place: the step compiles
    into one graph, once for all lengths, and can be captured as a CUDA graph. A row whose cache is full loses its last
    token.
    """
    positions = cache.lengths.clamp(max=cache.capacity - 1)  # (B,)
    rows = torch.arange(len(token_ids), device=positions.device)
    visible = (torch.arange(cache.capacity, device=positions.device) <= positions[:, None])[:, None, None]  # (B,1,1,C)
    x = model.token_embeddings(token_ids.unsqueeze(-1))  # (B, 1, D)
    for layer, keys, values in zip(blocks(model), cache.keys, cache.values, strict=True):

        def attend(q: Tensor, k: Tensor, v: Tensor, keys: Tensor = keys, values: Tensor = values) -> Tensor:
            keys[rows, :, positions], values[rows, :, positions] = k.squeeze(-2), v.squeeze(-2)
            return attention(q, keys, values, visible)

        x = _block(layer, x, positions.unsqueeze(-1), attend)
    cache.lengths.add_(1)
    logits: Tensor = model.lm_head(model.ln_final(x)).squeeze(-2)
    return logits


def blocks(model: TransformerLM) -> list[TransformerBlock]:
    """The model's blocks, by their type, which an nn.ModuleList does not tell."""
    return cast(list[TransformerBlock], list(model.layers))


def torch_step(model: TransformerLM, *, compile: bool = False) -> Step:
    """decode_step of a model; with `compile`, as one graph by torch.compile, and on a GPU as a CUDA graph."""
    if not compile:
        return lambda token_ids, cache: decode_step(model, token_ids, cache)
    on_gpu = model.lm_head.weight.device.type == "cuda"
    compiled = torch.compile(decode_step, fullgraph=True, dynamic=False, mode="reduce-overhead" if on_gpu else None)
    return lambda token_ids, cache: compiled(model, token_ids, cache)


def _block(layer: TransformerBlock, x: Tensor, positions: Tensor, attend: Attend) -> Tensor:
    if layer.post_norm:
        x = layer.ln1(x + _attention(layer.attn, x, positions, attend))
        x = layer.ln2(x + _feed_forward(layer.ffn, x))
    else:
        x = x + _attention(layer.attn, layer.ln1(x), positions, attend)
        x = x + _feed_forward(layer.ffn, layer.ln2(x))
    return x


# The modules themselves join weights, so that one product does for two or three. With a token at a time that would copy
# the weights for each of them; here every projection has a product of its own.


def _attention(attn: MultiHeadSelfAttention, x: Tensor, positions: Tensor, attend: Attend) -> Tensor:
    q, k, v = (
        projection(x).unflatten(-1, (-1, attn.d_head)).transpose(-3, -2)  # (B, H or G, T, K)
        for projection in (attn.q_proj, attn.k_proj, attn.v_proj)
    )
    q, k = attn.q_norm(q), attn.k_norm(k)
    if attn.rope is not None:
        if positions.dim() > 1:
            positions = positions.unsqueeze(-2)  # the same for all heads
        q, k = attn.rope(q, positions), attn.rope(k, positions)
    result: Tensor = attn.output_proj(attend(q, k, v).transpose(-3, -2).flatten(-2))
    return result


def _feed_forward(ffn: SwiGLU | SiLUFeedForward, x: Tensor) -> Tensor:
    inner = F.silu(ffn.w1(x))
    if isinstance(ffn, SwiGLU):
        inner = inner * ffn.w3(x)
    result: Tensor = ffn.w2(inner)
    return result
