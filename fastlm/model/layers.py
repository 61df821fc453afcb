"""Modules with parameters: Linear, Embedding, RMSNorm, and the feed-forward networks.

B batch, T sequence, D d_model, F d_ff, V vocab_size.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from fastlm.model.bfloat16 import linear
from fastlm.model.functional import check_ids

Device = torch.device | str | None


def check_device(device: Device) -> None:
    """Raises ValueError naming a device on which torch can make no tensor. None is torch's default device."""
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device is {str(device)!r}: {str(error).splitlines()[0]}") from None


def _normal(shape: tuple[int, ...], std: float, device: Device, dtype: torch.dtype | None) -> nn.Parameter:
    weight = torch.empty(shape, device=device, dtype=dtype)
    return nn.Parameter(nn.init.trunc_normal_(weight, 0.0, std, -3 * std, 3 * std))


class Linear(nn.Module):
    """Computes x W^T, or x W^T + b.

    W is (out_features, in_features), drawn from a normal distribution of variance 2 / (in_features + out_features),
    truncated at three standard deviations. The bias b is zero at first.

    Args:
        in_features: Width of the input.
        out_features: Width of the output.
        device: Device of the weight.
        dtype: Dtype of the weight; None for torch's default.
        bias: Whether there is a bias.
    """

    bias: nn.Parameter | None

    def __init__(
        self,
        in_features: int,
        out_features: int,
        device: Device = None,
        dtype: torch.dtype | None = None,
        *,
        bias: bool = False,
    ):
        super().__init__()
        std = math.sqrt(2 / (in_features + out_features))
        self.weight = _normal((out_features, in_features), std, device, dtype)
        self.bias = nn.Parameter(torch.zeros(out_features, device=device, dtype=dtype)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias)


class Embedding(nn.Module):
    """Looks up a row of `weight` for each id.

    The weight is (num_embeddings, embedding_dim), drawn from a standard normal distribution truncated at three standard
    deviations. Calls raise TypeError for ids that are not integers, and IndexError for an id in main memory that is out
    of range.

    Args:
        num_embeddings: Number of ids.
        embedding_dim: Width of a row.
        device: Device of the weight.
        dtype: Dtype of the weight; None for torch's default.
    """

    def __init__(
        self, num_embeddings: int, embedding_dim: int, device: Device = None, dtype: torch.dtype | None = None
    ):
        super().__init__()
        self.weight = _normal((num_embeddings, embedding_dim), 1.0, device, dtype)

    def forward(self, token_ids: Tensor) -> Tensor:
        check_ids(token_ids, len(self.weight), "token id")
        return F.embedding(token_ids, self.weight)


class RMSNorm(nn.Module):
    """Computes x / sqrt(mean(x^2) + eps) * weight over the last dimension (Zhang and Sennrich 2019,
    https://arxiv.org/abs/1910.07467), at least in float32. The result has the dtype of x.

    Args:
        d_model: Width of x.
        eps: Value added to the mean square.
        device: Device of the weight.
        dtype: Dtype of the weight; None for torch's default.
    """

    def __init__(self, d_model: int, eps: float = 1e-5, device: Device = None, dtype: torch.dtype | None = None):
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(d_model, device=device, dtype=dtype))

    def forward(self, x: Tensor) -> Tensor:
        wide = torch.promote_types(x.dtype, torch.float32)
        return F.rms_norm(x.to(wide), self.weight.shape, self.weight.to(wide), self.eps).to(x.dtype)


class SwiGLU(nn.Module):
    """Computes W2 (SiLU(W1 x) * W3 x) (Shazeer 2020, https://arxiv.org/abs/2002.05202).

    Args:
        d_model: Width of input and output.
        d_ff: Width of the hidden layer.
        device: Device of the weights.
        dtype: Dtype of the weights; None for torch's default.
    """

    def __init__(self, d_model: int, d_ff: int, device: Device = None, dtype: torch.dtype | None = None):
        super().__init__()
        self.w1 = Linear(d_model, d_ff, device, dtype)
        self.w2 = Linear(d_ff, d_model, device, dtype)
        self.w3 = Linear(d_model, d_ff, device, dtype)

    def forward(self, x: Tensor) -> Tensor:
        # one product for both: x is read, and under autocast converted, once
        gate, up = linear(x, torch.cat((self.w1.weight, self.w3.weight))).chunk(2, -1)  # (B, T, F)
        result: Tensor = self.w2(F.silu(gate) * up)
        return result


class SiLUFeedForward(nn.Module):
    """Computes W2 SiLU(W1 x). Takes the arguments of SwiGLU."""

    def __init__(self, d_model: int, d_ff: int, device: Device = None, dtype: torch.dtype | None = None):
        super().__init__()
        self.w1 = Linear(d_model, d_ff, device, dtype)
        self.w2 = Linear(d_ff, d_model, device, dtype)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.w2(F.silu(self.w1(x)))
        return result
