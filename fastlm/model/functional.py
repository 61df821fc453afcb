"""The mathematics of the model as plain functions without parameters."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def check_ids(ids: Tensor, size: int, name: str) -> None:
    """Checks ids.

    Args:
        ids: The ids.
        size: Ids must be below it. Only ids in main memory are checked against it.
        name: Name of one id for messages.

    Raises:
        TypeError: The ids are not integers.
        IndexError: An id is out of range.
    """
    if ids.dtype not in (torch.int64, torch.int32):
        raise TypeError(f"{name}s are of {ids.dtype}; expected torch.int64 or torch.int32")
    # reading values would synchronize with another device, and would break a compiled graph
    if ids.device.type == "cpu" and ids.numel() and not torch.compiler.is_compiling():
        low, high = (int(extreme) for extreme in torch.aminmax(ids))
        if low < 0 or high >= size:
            raise IndexError(f"{name} {low if low < 0 else high} is out of range; expected 0 to {size - 1}")


def check_targets(targets: Tensor, predictions: Tensor, name: str, size: int) -> None:
    """Raises ValueError unless each vector of `predictions` has one target and there is one; then checks the ids."""
    if predictions.shape[:-1] != targets.shape:
        raise ValueError(
            f"{name} of shape {tuple(predictions.shape)} needs targets of shape {tuple(predictions.shape[:-1])}, "
            f"not {tuple(targets.shape)}"
        )
    if not targets.numel():
        raise ValueError("there are no targets; the mean loss needs at least one")
    check_ids(targets, size, "target")


def silu(x: Tensor) -> Tensor:
    """Returns x * sigmoid(x), element by element (Hendrycks and Gimpel 2016, https://arxiv.org/abs/1606.08415)."""
    return x * torch.sigmoid(x)


def softmax(x: Tensor, dim: int) -> Tensor:
    """Returns exp(x) divided by its sum over `dim`. The maximum is subtracted first, so that nothing overflows."""
    exponentials = torch.exp(x - x.amax(dim, keepdim=True))
    return exponentials / exponentials.sum(dim, keepdim=True)


def scaled_dot_product_attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """Computes softmax(q k^T / sqrt(d_k)) v (Vaswani et al. 2017, https://arxiv.org/abs/1706.03762).

    Args:
        q: Queries, (..., queries, d_k).
        k: Keys, (..., keys, d_k).
        v: Values, (..., keys, d_v).
        mask: Booleans, (..., queries, keys), True where a query sees a key; None for all keys. The result of a query
            that sees no key is nan.

    Returns:
        The attended values, (..., queries, d_v).

    Raises:
        ValueError: The widths of queries and keys differ.
        TypeError: The mask is not boolean.
    """
    if q.shape[-1] != k.shape[-1]:
        raise ValueError(f"queries have a width of {q.shape[-1]}, keys of {k.shape[-1]}; expected the same")
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    if mask is not None:
        if mask.dtype != torch.bool:
            raise TypeError(f"mask is of {mask.dtype}; expected torch.bool, True where a query sees a key")
        scores = scores.masked_fill(~mask, -math.inf)
    return softmax(scores, -1) @ v


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Computes the mean of -log softmax(logits)[target], by log-sum-exp.

    Args:
        logits: Logits, (..., vocab_size), of any floating dtype; float16 and bfloat16 are computed in float32.
        targets: Integer ids, (...).

    Returns:
        The mean loss in nats, a scalar.

    Raises:
        ValueError: The shapes do not fit together, or there is no target.
        TypeError: The targets are not integers.
        IndexError: A target in main memory is out of range.
    """
    check_targets(targets, logits, "logits", logits.shape[-1])
    if logits.dtype in (torch.float16, torch.bfloat16):
        logits = logits.float()
    # large logits would leave no digits for the logarithm of the sum
    logits = logits - logits.detach().amax(-1, keepdim=True)
    return (torch.logsumexp(logits, -1) - logits.gather(-1, targets.long().unsqueeze(-1)).squeeze(-1)).mean()
