"""Cross-entropy of the output layer, computed in chunks of tokens, so that all logits never exist at once.

N tokens, D d_model, V vocab_size.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from fastlm.model.bfloat16 import as_float32, rounded_
from fastlm.model.functional import check_targets


def linear_cross_entropy(hidden: Tensor, weight: Tensor, targets: Tensor, *, chunk_tokens: int = 1024) -> Tensor:
    """Computes the mean of -log softmax(hidden weight^T)[target], as `functional.cross_entropy` of those logits.

    At most the logits of `chunk_tokens` tokens are in memory. The gradients of `hidden` and `weight` are computed
    together with the loss where they are needed. Under autocast the products have its dtype; exponentials and sums are
    at least float32.

    Args:
        hidden: Hidden states, (..., D).
        weight: Weight of the output layer, (V, D).
        targets: Integer ids, (...).
        chunk_tokens: Number of tokens in a chunk.

    Returns:
        The mean loss in nats, a scalar.

    Raises:
        ValueError: The shapes do not fit together, or there is no target.
        TypeError: The targets are not integers.
        IndexError: A target in main memory is out of range.
    """
    check_targets(targets, hidden, "hidden", len(weight))
    if hidden.shape[-1] != weight.shape[-1]:
        raise ValueError(f"hidden has a width of {hidden.shape[-1]}, the output layer of {weight.shape[-1]}")
    if chunk_tokens < 1:
        raise ValueError(f"chunk_tokens is {chunk_tokens}; expected at least 1")
    loss: Tensor = _ChunkedCrossEntropy.apply(  # type: ignore[no-untyped-call]
        hidden.reshape(-1, hidden.shape[-1]), weight, targets.flatten().long(), chunk_tokens
    )
    return loss


class _ChunkedCrossEntropy(torch.autograd.Function):
    """The mean loss of hidden states (N, D), the weight (V, D) and targets (N)."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, chunk_tokens: int) -> Tensor:
        device = hidden.device.type
        narrow = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else weight.dtype
        wide = torch.promote_types(narrow, torch.float32)
        wants_gradient = ctx.needs_input_grad[0] or ctx.needs_input_grad[1]
        count = len(targets)
        rows, columns = hidden.to(narrow), weight.to(narrow)
        # operands hold numbers of the narrow dtype, in a dtype that the processor multiplies
        factor = torch.float32 if as_float32(rows, columns) else narrow
        columns = columns.to(factor)
        loss = torch.zeros((), dtype=wide, device=hidden.device)
        hidden_parts: list[Tensor] = []
        weight_gradient = torch.zeros(weight.shape if wants_gradient else (), dtype=wide, device=weight.device)
        # every dtype is chosen explicitly below
        with torch.autocast(device, enabled=False):
            for start in range(0, count, chunk_tokens):
                chunk = rows[start : start + chunk_tokens].to(factor)
                target = targets[start : start + chunk_tokens, None]
                logits = rounded_(chunk @ columns.T, narrow).to(wide)  # (chunk, V)
                highest, aimed = logits.amax(-1, keepdim=True), logits.gather(-1, target)
                exponentials = logits.sub_(highest).exp_()
                total = exponentials.sum(-1, keepdim=True)
                loss += (total.log() + (highest - aimed)).sum()
                if wants_gradient:
                    # the gradient of the sum of -log softmax is softmax, less one at the target; it is divided by the
                    # number of tokens last, because float16 cannot represent quotients that small
                    slope = exponentials.mul_(total.reciprocal_())
                    slope.scatter_add_(-1, target, slope.new_full((1, 1), -1.0).expand(len(slope), 1))
                    slope = rounded_(slope.to(factor), narrow)
                    hidden_parts.append((slope @ columns).to(narrow))
                    weight_gradient += (slope.T @ chunk).to(narrow)
        if wants_gradient:
            weight_gradient = weight_gradient.mul_(1 / count).to(weight.dtype)
            ctx.save_for_backward(torch.cat(hidden_parts).to(hidden.dtype), weight_gradient)
        return loss / count

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor, Tensor, None, None]:
        hidden_gradient, weight_gradient = ctx.saved_tensors
        return gradients[0] / len(hidden_gradient) * hidden_gradient, gradients[0] * weight_gradient, None, None
