"""Cross-entropy of the output layer by chunks of tokens, so that the logits never exist as a whole.

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
    """The mean of -log softmax(hidden weight^T)[target], in nats, as `functional.cross_entropy` of those logits.

    Forward and backward hold the logits of `chunk_tokens` tokens at a time: where gradients are wanted, those of
    `hidden` and `weight` are computed together with the loss. Under autocast the products are of its type; the
    exponentials and sums are float32 at least.

    Args:
        hidden: (..., D).
        weight: Of the output layer, (V, D).
        targets: Integer ids, (...).
        chunk_tokens: Number of tokens whose logits exist at a time.

    Returns a scalar. Raises ValueError for shapes that do not fit together or hold no target, TypeError for targets
    that are not integers, and, where they lie in main memory, IndexError for a target out of range.
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
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, chunk_tokens: int) -> Tensor:
        device = hidden.device.type
        narrow = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else weight.dtype
        wide = torch.promote_types(narrow, torch.float32)
        wants_gradient = ctx.needs_input_grad[0] or ctx.needs_input_grad[1]
        count = len(targets)
        rows, columns = hidden.to(narrow), weight.to(narrow)
        # what products are made of: numbers of the narrow type, in one that the processor multiplies
        factor = torch.float32 if as_float32(rows, columns) else narrow
        columns = columns.to(factor)
        loss = torch.zeros((), dtype=wide, device=hidden.device)
        hidden_parts: list[Tensor] = []
        weight_gradient = torch.zeros(weight.shape if wants_gradient else (), dtype=wide, device=weight.device)
        # all types are chosen here
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
                    # of the sum of -log softmax: softmax less one at the target; it is divided by the number of tokens
                    # at last, since float16 has no place for what that leaves
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
