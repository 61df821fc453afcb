"""What the device can do: which one, how precise, how fast."""

from __future__ import annotations

import time
import warnings

import torch

from fastlm.training.config import TrainingConfig


def find_device(name: str, local_rank: int) -> torch.device:
    """The device of a process; "auto" is cuda where there is one. Raises ValueError for one that torch cannot use."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(f"cuda:{local_rank}" if name == "cuda" else name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device is {name!r}: {str(error).splitlines()[0]}") from None
    if device.type == "cuda":
        torch.cuda.set_device(device)
        # TF32: of the float32 products that remain beside autocast's bfloat16, ten bits of mantissa are enough
        torch.set_float32_matmul_precision("high")
    return device


def autocast_type(config: TrainingConfig, device: torch.device) -> torch.dtype | None:
    """bfloat16 where products are to be of it, else None; warns where that was asked of a device that is slow at it."""
    if config.precision == "auto":
        return torch.bfloat16 if multiplies_bfloat16(device) else None
    if config.precision == "float32":
        return None
    if device.type in ("cpu", "cuda") and not multiplies_bfloat16(device):
        warnings.warn(
            f"precision is 'bfloat16', which this {device.type} device has no instructions to multiply: products are "
            "emulated, many times slower than 'float32', which 'auto' chooses here",
            stacklevel=2,
        )
    return torch.bfloat16


def multiplies_bfloat16(device: torch.device) -> bool:
    """Whether the device has instructions for products of bfloat16: CUDA from 8.0, and processors of which torch says
    so. Without them a product is emulated, up to 20 times slower than one of float32."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type == "cpu":
        # torch's own test of whether it can run bfloat16 is content with AVX-512, which has no such product
        capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
        return any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))
    return False


def measured_flops(device: torch.device, dtype: torch.dtype) -> float:
    """FLOP/s of a square matrix product, the best of five: what full utilisation means where no figure is given."""
    size = 8192 if device.type == "cuda" else 768
    a, b = torch.ones(2, size, size, device=device, dtype=dtype).unbind()
    best = float("inf")
    for _ in range(5):
        start = time.perf_counter()
        (a @ b)[0, 0].item()  # waits for the device
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best
