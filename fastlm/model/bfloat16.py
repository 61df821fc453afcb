"""Matrix products of bfloat16 on processors without instructions for them.

On such processors torch takes up to ten times as long as for float32. The product of two bfloat16 numbers is exact in
float32, which is also the dtype of torch's sums. So this module multiplies such operands as float32 and rounds the
result, which gives torch's results up to the order of additions. With native bfloat16, and for other dtypes, torch's
kernels are used. Autograd stores bfloat16 either way.

N rows, B batch, T sequence, D d_in, F d_out, H num_heads, G num_kv_heads, K d_head.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F  # noqa: N812


def multiplies_bfloat16(device: torch.device) -> bool:
    """Whether a device has instructions for bfloat16 products: CUDA from 8.0, and processors that torch names."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type == "cpu":
        # torch's own test for bfloat16 accepts AVX-512, which has no such product
        capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
        return any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))
    return False


# A constant of the processor, because decoding reads it at each product and a compiled graph needs a constant. True
# also where torch does not tell the processor's capabilities.
LEFT_TO_TORCH = multiplies_bfloat16(torch.device("cpu")) or not hasattr(torch.cpu, "get_capabilities")

# for at most this many rows torch's product is as fast: it waits for weights, which float32 makes twice as large
FEW_ROWS = 4

# the dtypes that autocast converts
AUTOCAST = (torch.float32, torch.bfloat16, torch.float16)


def as_float32(a: Tensor, b: Tensor) -> bool:
    """Whether the product of a and b is a bfloat16 product for which the processor has no instructions."""
    if LEFT_TO_TORCH:
        return False
    if torch.is_autocast_enabled("cpu"):
        narrow = torch.get_autocast_dtype("cpu") == torch.bfloat16 and a.dtype in AUTOCAST and b.dtype in AUTOCAST
    else:
        narrow = a.dtype == b.dtype == torch.bfloat16
    # an exported graph may run on another machine
    return narrow and a.device.type == b.device.type == "cpu" and not torch.compiler.is_exporting()


def product(a: Tensor, b: Tensor) -> Tensor:
    """Multiplies two matrices of one dtype. Autograd does not support it."""
    if not as_float32(a, b):
        return a @ b
    with torch.autocast("cpu", enabled=False):
        return (a.float() @ b.float()).bfloat16()


def rounded_(x: Tensor, dtype: torch.dtype) -> Tensor:
    """Rounds x to a dtype in place, because new memory costs more than the rounding. Returns x in its own dtype."""
    return x if x.dtype == dtype else x.copy_(x.to(dtype))


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Multiplies x, (..., D), by the transposed weight, (F, D), and adds a bias, (F). Returns (..., F)."""
    if not as_float32(x, weight) or x.numel() <= FEW_ROWS * x.shape[-1]:
        return F.linear(x, weight, bias)
    rows: Tensor = _Linear.apply(x.bfloat16().flatten(0, -2), weight.bfloat16())  # type: ignore[no-untyped-call]
    product = rows.view(*x.shape[:-1], len(weight))
    return product if bias is None else product + bias.to(product.dtype)


def attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """Attention of queries, (B, H, T, K), to keys and values, (B, G, S, K); causal without a boolean mask."""
    # the shapes that torch's kernel for processors supports
    fits = q.dim() == 4 and (mask is None or mask.dim() in (2, 4))
    if not (fits and as_float32(q, k)):
        grouped = q.shape[-3] != k.shape[-3]
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None, enable_gqa=grouped)
    attended: Tensor
    attended, _ = _Attention.apply(q.bfloat16(), k.bfloat16(), v.bfloat16(), mask)  # type: ignore[no-untyped-call]
    return attended


class _Linear(torch.autograd.Function):
    """x W^T in bfloat16, for x (N, D) and W (F, D)."""

    @staticmethod
    def forward(x: Tensor, weight: Tensor) -> Tensor:
        return product(x, weight.T)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor | None, Tensor | None]:
        (x, weight), (gradient,) = ctx.saved_tensors, gradients
        of_x, of_weight = ctx.needs_input_grad
        return product(gradient, weight) if of_x else None, product(gradient.T, x) if of_weight else None


class _Attention(torch.autograd.Function):
    """Attention in bfloat16, and the logarithms of the softmax's denominators, (B, H, T)."""

    # F.scaled_dot_product_attention calls these operators too, but would store float32 operands
    @staticmethod
    def forward(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        attended, logarithms = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
            q.float(), k.float(), v.float(), is_causal=mask is None, attn_mask=_added(mask)
        )
        return attended.bfloat16(), logarithms

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor | None, ...], output: tuple[Tensor, Tensor]) -> None:
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(*inputs, *output)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor | None, ...]:
        q, k, v, mask, attended, logarithms = ctx.saved_tensors
        q, k, v, attended = q.float(), k.float(), v.float(), attended.float()
        found = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward(
            gradients[0].float(), q, k, v, attended, logarithms, 0.0, mask is None, attn_mask=_added(mask)
        )
        return *(gradient.bfloat16() for gradient in found), None


def _added(mask: Tensor | None) -> Tensor | None:
    """The mask as a term added to scores: 0 where it is True, else -inf."""
    return None if mask is None else torch.zeros_like(mask, dtype=torch.float32).masked_fill_(~mask, float("-inf"))
