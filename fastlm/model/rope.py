"""Rotary positions, and the order of features that they ask of the weights of queries and keys."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fastlm.model.config import CHOICES, RopeLayout
from fastlm.model.functional import check_ids
from fastlm.model.layers import Device


class RotaryPositionalEmbedding(nn.Module):
    """Turns pairs of features of a vector at position p by the angles p / theta^(2i / d_k), i = 0 .. d_k/2 - 1
    (Su et al. 2021, https://arxiv.org/abs/2104.09864).

    Args:
        theta: Base of the angles.
        d_k: Width of the vectors, even.
        max_seq_len: Number of positions, from 0.
        device: Where the tables of cosines and sines lie, (max_seq_len, d_k / 2) each, float32.
        layout: Which features are the pair i: 2i and 2i + 1 ("interleaved"), or i and i + d_k/2 ("half").

    Raises ValueError for a theta that is not positive, a d_k that is not even, and an unknown layout.
    """

    cos: Tensor
    sin: Tensor

    def __init__(
        self, theta: float, d_k: int, max_seq_len: int, device: Device = None, *, layout: RopeLayout = "interleaved"
    ):
        super().__init__()
        if not theta > 0:
            raise ValueError(f"theta is {theta}; expected a positive number")
        if d_k % 2:
            raise ValueError(f"d_k is {d_k}; rotary positions need an even number")
        if layout not in CHOICES["rope_layout"]:
            raise ValueError(f"layout is {layout!r}; expected one of {', '.join(CHOICES['rope_layout'])}")
        self.layout = layout
        # in float32 in this order, as transformers computes them: weights trained with either give the same logits
        frequencies = 1.0 / (theta ** (torch.arange(0, d_k, 2, dtype=torch.float32, device=device) / d_k))
        angles = torch.arange(max_seq_len, dtype=torch.float32, device=device)[:, None] * frequencies
        self.register_buffer("cos", angles.cos(), persistent=False)  # (max_seq_len, d_k / 2)
        self.register_buffer("sin", angles.sin(), persistent=False)

    def forward(self, x: Tensor, token_positions: Tensor | None = None) -> Tensor:
        """The turned x, (..., T, d_k); `token_positions`, (..., T), are 0 .. T - 1 where they are not given.

        Raises ValueError for a sequence that is too long, TypeError for positions that are not integers, and, where
        they lie in main memory, IndexError for one out of range.
        """
        length = x.shape[-2]
        if token_positions is None:
            if length > len(self.cos):
                raise ValueError(f"a sequence of {length} tokens; rotary positions reach {len(self.cos)}")
            cos, sin = self.cos[:length], self.sin[:length]
        else:
            check_ids(token_positions, len(self.cos), "position")
            cos, sin = self.cos[token_positions], self.sin[token_positions]
        cos, sin = cos.to(x.dtype), sin.to(x.dtype)
        if self.layout == "half":
            first, second = x.chunk(2, -1)
            return torch.cat((first * cos - second * sin, second * cos + first * sin), -1)
        first, second = x[..., ::2], x[..., 1::2]
        return torch.stack((first * cos - second * sin, second * cos + first * sin), -1).flatten(-2)


def reorder_heads(weight: Tensor, num_heads: int, source: RopeLayout, target: RopeLayout) -> Tensor:
    """The weight of a projection to queries or keys, (num_heads * d_k, ...), with the features of each head in the
    order that `target` turns, given those in the order of `source`; attention's result stays the same."""
    if source == target:
        return weight
    split = (2, -1) if source == "half" else (-1, 2)
    return weight.reshape(num_heads, *split, *weight.shape[1:]).transpose(1, 2).reshape(weight.shape)
