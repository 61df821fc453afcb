"""Rotary positions, and the order of features that they require of the weights of queries and keys."""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

import torch
from torch import Tensor, nn

from fastlm.model.config import CHOICES, RopeLayout
from fastlm.model.functional import check_ids
from fastlm.model.layers import Device


class RotaryPositionalEmbedding(nn.Module):
    """Rotates pair i of a vector's features at position p by the angle p / theta^(2i / d_k), i = 0 .. d_k/2 - 1
    (Su et al. 2021, https://arxiv.org/abs/2104.09864).

    Args:
        theta: Base of the angles.
        d_k: Width of the vectors, an even number.
        max_seq_len: Number of positions, from 0.
        device: Device of the tables of cosines and sines, (max_seq_len, d_k / 2) each.
        layout: Which features form pair i: 2i and 2i + 1 ("interleaved"), or i and i + d_k/2 ("half").
        dtype: Dtype of the model; None for torch's default. The tables are float64 for float64, and float32 for all
            others. A conversion of the module to another dtype computes the tables again.

    Raises:
        ValueError: theta is not positive, d_k is odd, or the layout is unknown.
    """

    cos: Tensor
    sin: Tensor

    def __init__(
        self,
        theta: float,
        d_k: int,
        max_seq_len: int,
        device: Device = None,
        *,
        layout: RopeLayout = "interleaved",
        dtype: torch.dtype | None = None,
    ):
        super().__init__()
        if not theta > 0:
            raise ValueError(f"theta is {theta}; expected a positive number")
        if d_k % 2:
            raise ValueError(f"d_k is {d_k}; rotary positions need an even number")
        if layout not in CHOICES["rope_layout"]:
            raise ValueError(f"layout is {layout!r}; expected one of {', '.join(CHOICES['rope_layout'])}")
        self.theta, self.layout = theta, layout
        cos, sin = _tables(theta, d_k, max_seq_len, dtype, device)
        self.register_buffer("cos", cos, persistent=False)  # (max_seq_len, d_k / 2)
        self.register_buffer("sin", sin, persistent=False)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Converts or moves the module. A new dtype gets new tables, since the old ones may have fewer bits."""
        before = self.cos.dtype
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        (positions, pairs), dtype = self.cos.shape, self.cos.dtype
        if dtype != before:
            cos, sin = _tables(self.theta, 2 * pairs, positions, dtype, self.cos.device)
            self.cos, self.sin = cos.to(dtype), sin.to(dtype)
        return self

    def forward(self, x: Tensor, token_positions: Tensor | None = None) -> Tensor:
        """Rotates vectors.

        Args:
            x: Vectors, (..., T, d_k).
            token_positions: Integer positions, (..., T); 0 .. T - 1 by default.

        Returns:
            The rotated vectors, of the shape and dtype of x.

        Raises:
            ValueError: The sequence is longer than the number of positions.
            TypeError: The positions are not integers.
            IndexError: A position in main memory is out of range.
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


def _tables(theta: float, d_k: int, positions: int, dtype: torch.dtype | None, device: Device) -> tuple[Tensor, Tensor]:
    """The cosines and sines of all angles, (positions, d_k / 2) each, float64 for that dtype and otherwise float32."""
    exact = torch.float64 if (dtype or torch.get_default_dtype()) == torch.float64 else torch.float32
    # float32 and this order of operations are transformers', so that both give the same logits
    frequencies = 1.0 / (theta ** (torch.arange(0, d_k, 2, dtype=exact, device=device) / d_k))
    angles = torch.arange(positions, dtype=exact, device=device)[:, None] * frequencies
    return angles.cos(), angles.sin()


def reorder_heads(weight: Tensor, num_heads: int, source: RopeLayout, target: RopeLayout) -> Tensor:
    """Reorders the weight of a projection to queries or keys from one layout of rotary positions to another.

    Attention's result stays the same.

    Args:
        weight: The weight, (num_heads * d_k, ...).
        num_heads: Number of heads.
        source: The layout that the weight was made for.
        target: The layout that will rotate its features.

    Returns:
        The reordered weight.
    """
    if source == target:
        return weight
    split = (2, -1) if source == "half" else (-1, 2)
    return weight.reshape(num_heads, *split, *weight.shape[1:]).transpose(1, 2).reshape(weight.shape)
