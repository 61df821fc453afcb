"""Rotary positions, and the order of features that they require of the weights of queries and keys."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from fastlm.model.config import CHOICES, RopeLayout
from fastlm.model.frequencies import exact_dtype, sequence_tables, step_tables
from fastlm.model.functional import check_ids
from fastlm.model.layers import Device
from fastlm.model.rope_scaling import RopeScaling


class RotaryPositionalEmbedding(nn.Module):
    """Rotates pair i of a vector's features at position p by the angle p / theta^(2i / d_k), i = 0 .. d_k/2 - 1
    (Su et al. 2021, https://arxiv.org/abs/2104.09864).

    Args:
        theta: Base of the angles.
        d_k: Width of the vectors, an even number.
        max_seq_len: Number of positions, from 0.
        device: Device of the tables of cosines and sines, (max_seq_len, d_k / 2) each.
        layout: Which features form pair i: 2i and 2i + 1 ("interleaved"), or i and i + d_k/2 ("half").
        scaling: Scaling of the angles. With dynamic scaling they depend on the length of the sequence.
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
        scaling: RopeScaling | None = None,
        dtype: torch.dtype | None = None,
    ):
        super().__init__()
        if not theta > 0:
            raise ValueError(f"theta is {theta}; expected a positive number")
        if d_k % 2:
            raise ValueError(f"d_k is {d_k}; rotary positions need an even number")
        if layout not in CHOICES["rope_layout"]:
            raise ValueError(f"layout is {layout!r}; expected one of {', '.join(CHOICES['rope_layout'])}")
        self.theta, self.layout, self.scaling = theta, layout, scaling
        cos, sin = step_tables(theta, d_k, max_seq_len, scaling, exact_dtype(dtype), device)
        self.register_buffer("cos", cos, persistent=False)  # (max_seq_len, d_k / 2)
        self.register_buffer("sin", sin, persistent=False)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Converts or moves the module. A new dtype gets new tables, since the old ones may have fewer bits."""
        before = self.cos.dtype
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        (positions, pairs), dtype = self.cos.shape, self.cos.dtype
        if dtype != before:
            exact = exact_dtype(dtype)
            cos, sin = step_tables(self.theta, 2 * pairs, positions, self.scaling, exact, self.cos.device)
            self.cos, self.sin = cos.to(dtype), sin.to(dtype)
        return self

    def forward(self, x: Tensor, token_positions: Tensor | None = None) -> Tensor:
        """Rotates the vectors of whole sequences.

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
            cos, sin = self._tables_for(length)
            return self._rotate(x, cos[:length], sin[:length])
        check_ids(token_positions, len(self.cos), "position")
        if self.scaling is None or not self.scaling.depends_on_length:
            return self.rotate_tokens(x, token_positions)
        cos, sin = self._tables_for(int(token_positions.max()) + 1)
        return self._rotate(x, cos[token_positions], sin[token_positions])

    def rotate_tokens(self, x: Tensor, positions: Tensor) -> Tensor:
        """Rotates vectors, (..., T, d_k), of tokens that are decoded one by one at positions, (..., T)."""
        return self._rotate(x, self.cos[positions], self.sin[positions])

    def rotate_prompts(self, x: Tensor, lengths: Sequence[int]) -> Tensor:
        """Rotates vectors, (B, H, T, d_k), of prompts of these lengths, each padded on the right to T."""
        if self.scaling is None or not self.scaling.depends_on_length:
            rotated: Tensor = self(x)
            return rotated
        rows = []
        for length in lengths:
            cos, sin = self._tables_for(length)
            # zeros for the padding, where no token looks
            missing = max(0, x.shape[-2] - len(cos))
            rows.append([F.pad(table[: x.shape[-2]], (0, 0, 0, missing)) for table in (cos, sin)])
        cos, sin = (torch.stack(tables).unsqueeze(1) for tables in zip(*rows, strict=True))
        return self._rotate(x, cos, sin)

    def _tables_for(self, length: int) -> tuple[Tensor, Tensor]:
        """The tables of a whole sequence, with at least `length` rows."""
        scaling = self.scaling
        if scaling is None or not scaling.depends_on_length or length <= scaling.original_context:
            return self.cos, self.sin
        width = 2 * self.cos.shape[-1]
        return sequence_tables(self.theta, width, length, scaling, exact_dtype(self.cos.dtype), self.cos.device)

    def _rotate(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        cos, sin = cos.to(x.dtype), sin.to(x.dtype)
        if self.layout == "half":
            first, second = x.chunk(2, -1)
            return torch.cat((first * cos - second * sin, second * cos + first * sin), -1)
        first, second = x[..., ::2], x[..., 1::2]
        return torch.stack((first * cos - second * sin, second * cos + first * sin), -1).flatten(-2)


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
