"""Causal multi-head self-attention with grouped queries.

B batch, T sequence, D d_model, H num_heads, G num_kv_heads, K d_head.
"""

from __future__ import annotations

from typing import Literal, Self, get_args

import torch
from torch import Tensor, nn

from fastlm.model.bfloat16 import attention, linear
from fastlm.model.config import AttentionBias, ModelConfig, QKNormWidth, RopeLayout
from fastlm.model.functional import scaled_dot_product_attention
from fastlm.model.layers import Device, Linear, RMSNorm
from fastlm.model.layout_guard import guard_layout
from fastlm.model.rope import RotaryPositionalEmbedding
from fastlm.model.rope_scaling import RopeScaling

AttentionKernel = Literal["sdpa", "explicit"]


class MultiHeadSelfAttention(nn.Module):
    """Causal multi-head self-attention (Vaswani et al. 2017).

    Groups of query heads share key and value heads where num_kv_heads < num_heads (Ainslie et al. 2023,
    https://arxiv.org/abs/2305.13245).

    Args:
        d_model: Width of input and output.
        num_heads: Number of query heads.
        rope_theta: Base of the rotary position angles; None for no positions.
        max_seq_len: Number of positions; required with rope_theta.
        rope_layout: See RotaryPositionalEmbedding.
        num_kv_heads: Number of key and value heads; None for num_heads.
        d_head: Width of a head; None for d_model / num_heads.
        qk_norm: Whether RMSNorm is applied to queries and keys.
        attention_bias, qk_norm_width, rope_scaling, sliding_window: See ModelConfig.
        norm_eps: Value that this RMSNorm adds to the mean square.
        kernel: "sdpa" for torch's kernels, or "explicit" for the formula, which stores (B, H, T, T) scores.
        rope: Position tables to use instead of new ones.
        device: Device of the parameters.
        dtype: Dtype of the parameters; None for torch's default.

    Raises:
        ValueError: Sizes do not fit together, or the kernel is unknown.
    """

    def __init__(
        self,
        d_model: int,
        num_heads: int,
        *,
        rope_theta: float | None = None,
        max_seq_len: int | None = None,
        rope_layout: RopeLayout = "half",
        num_kv_heads: int | None = None,
        d_head: int | None = None,
        qk_norm: bool = False,
        attention_bias: AttentionBias = "none",
        qk_norm_width: QKNormWidth = "head",
        rope_scaling: RopeScaling | None = None,
        sliding_window: int | None = None,
        norm_eps: float = 1e-5,
        kernel: AttentionKernel = "sdpa",
        rope: RotaryPositionalEmbedding | None = None,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ):
        super().__init__()
        if kernel not in get_args(AttentionKernel):
            raise ValueError(f"kernel is {kernel!r}; expected one of {', '.join(get_args(AttentionKernel))}")
        if num_heads < 1 or (num_kv_heads is not None and num_kv_heads < 1):
            raise ValueError(f"num_heads is {num_heads} and num_kv_heads {num_kv_heads}; expected at least 1")
        if d_head is None and d_model % num_heads:
            raise ValueError(f"d_model is {d_model}, which num_heads {num_heads} does not divide")
        self.num_heads = num_heads
        self.num_kv_heads = num_heads if num_kv_heads is None else num_kv_heads
        self.d_head = d_model // num_heads if d_head is None else d_head
        if num_heads % self.num_kv_heads:
            raise ValueError(f"num_kv_heads is {num_kv_heads}, which does not divide num_heads {num_heads}")
        if rope is None and rope_theta is not None:
            if max_seq_len is None:
                raise ValueError("rope_theta needs max_seq_len, the number of positions")
            rope = RotaryPositionalEmbedding(
                rope_theta, self.d_head, max_seq_len, device, layout=rope_layout, scaling=rope_scaling, dtype=dtype
            )
        self.rope = rope
        self.kernel = kernel
        self.qk_norm_width = qk_norm_width
        self.sliding_window = sliding_window
        queries, keys = self.num_heads * self.d_head, self.num_kv_heads * self.d_head
        biased = attention_bias != "none"
        self.q_proj = Linear(d_model, queries, device, dtype, bias=biased)
        self.k_proj = Linear(d_model, keys, device, dtype, bias=biased)
        self.v_proj = Linear(d_model, keys, device, dtype, bias=biased)
        self.output_proj = Linear(queries, d_model, device, dtype, bias=attention_bias == "all")
        gains = (queries, keys) if qk_norm_width == "projection" else (self.d_head, self.d_head)
        self.q_norm = RMSNorm(gains[0], norm_eps, device, dtype) if qk_norm else nn.Identity()
        self.k_norm = RMSNorm(gains[1], norm_eps, device, dtype) if qk_norm else nn.Identity()
        guard_layout(self)

    @classmethod
    def from_config(
        cls,
        config: ModelConfig,
        layer: int = 0,
        *,
        kernel: AttentionKernel = "sdpa",
        rope: RotaryPositionalEmbedding | None = None,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> Self:
        """Makes the attention of one layer of a model, with new weights.

        Args:
            config: The configuration of the model.
            layer: Number of the layer.
            kernel, rope, device, dtype: See the class.
        """
        theta = config.rope_theta_of(layer)
        return cls(
            config.d_model,
            config.num_heads,
            rope_theta=theta,
            max_seq_len=config.context_length,
            rope_layout=config.rope_layout,
            num_kv_heads=config.num_kv_heads,
            d_head=config.d_head,
            qk_norm=config.qk_norm,
            attention_bias=config.attention_bias,
            qk_norm_width=config.qk_norm_width,
            rope_scaling=config.rope_scaling,
            sliding_window=config.window_of(layer),
            norm_eps=config.norm_eps,
            kernel=kernel,
            rope=None if theta is None else rope,
            device=device,
            dtype=dtype,
        )

    def forward(self, x: Tensor, token_positions: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """Applies attention.

        Args:
            x: Input, (B, T, D).
            token_positions: Integer positions, (T) or (B, T); 0 .. T - 1 by default.
            mask: Booleans that broadcast to (B, H, T, T), True where a query sees a key. It replaces the causal mask,
                but not the sliding window.

        Returns:
            The attended values, (B, T, D), of the dtype of x.

        Raises:
            ValueError: The sequence is longer than the number of positions.
            TypeError: The mask is not boolean.
        """
        if mask is not None and mask.dtype != torch.bool:
            raise TypeError(f"mask is of {mask.dtype}; expected torch.bool, True where a query sees a key")
        # one product for all three: x is read, and under autocast converted, once
        weight = torch.cat((self.q_proj.weight, self.k_proj.weight, self.v_proj.weight))
        heads = linear(x, weight, self._joined_bias()).view(*x.shape[:-1], -1, self.d_head)
        heads = heads.transpose(-3, -2)  # (B, H + 2G, T, K)
        q, k, v = torch.split(heads, [self.num_heads, self.num_kv_heads, self.num_kv_heads], -3)
        q, k = self.normalized(q, k)
        if self.rope is not None:
            if token_positions is not None and token_positions.dim() > 1:
                token_positions = token_positions.unsqueeze(-2)  # the same for all heads
            q, k = self.rope(q, token_positions), self.rope(k, token_positions)
        attended = self._attend(q, k, v, self._windowed(mask, x))  # (B, H, T, K)
        result: Tensor = self.output_proj(attended.transpose(-3, -2).flatten(-2))
        return result

    def normalized(self, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        """Applies RMSNorm to queries, (B, H, T, K), and keys, (B, G, T, K), where the model does so."""
        if self.qk_norm_width == "head":
            return self.q_norm(q), self.k_norm(k)
        joined = (norm(heads.transpose(-3, -2).flatten(-2)) for norm, heads in ((self.q_norm, q), (self.k_norm, k)))
        q, k = (flat.unflatten(-1, (-1, self.d_head)).transpose(-3, -2) for flat in joined)
        return q, k

    def _joined_bias(self) -> Tensor | None:
        biases = [projection.bias for projection in (self.q_proj, self.k_proj, self.v_proj)]
        return None if biases[0] is None else torch.cat(biases)  # type: ignore[arg-type]

    def _windowed(self, mask: Tensor | None, x: Tensor) -> Tensor | None:
        """The mask, or the causal one, without the keys before the sliding window."""
        length = x.shape[-2]
        if self.sliding_window is None or length <= self.sliding_window:
            return mask
        if mask is None:
            return window_mask(length, self.sliding_window, x.device)
        return mask & window_mask(length, self.sliding_window, x.device)

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        if self.kernel == "sdpa":
            return attention(q, k, v, mask)
        if (groups := self.num_heads // self.num_kv_heads) > 1:
            k, v = k.repeat_interleave(groups, -3), v.repeat_interleave(groups, -3)
        if mask is None:
            mask = torch.ones(q.shape[-2], k.shape[-2], dtype=torch.bool, device=q.device).tril()
        return scaled_dot_product_attention(q, k, v, mask)


def window_mask(length: int, window: int, device: torch.device) -> Tensor:
    """Booleans, (T, T), True where a key is not after the query and among the `window` last keys."""
    return torch.ones(length, length, dtype=torch.bool, device=device).tril().triu(1 - window)
