"""What the device can do: which one, how precise, how fast."""

from __future__ import annotations

import time
import warnings

import torch

from fastlm.model import bfloat16
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
    """bfloat16 where products are to be of it, else None; warns where that is asked for and no faster."""
    if config.precision == "auto":
        return torch.bfloat16 if bfloat16.multiplies_bfloat16(device) else None
    if config.precision == "float32":
        return None
    if device.type in ("cpu", "cuda") and not bfloat16.multiplies_bfloat16(device):
        instead = "rounded operands are multiplied as float32, which saves memory and is no faster than"
        if device.type == "cuda" or bfloat16.LEFT_TO_TORCH:
            instead = "products are emulated, many times slower than"
        warnings.warn(
            f"precision is 'bfloat16', which this {device.type} device has no instructions to multiply: {instead} "
            "'float32', which 'auto' chooses here",
            stacklevel=2,
        )
    return torch.bfloat16


def measured_flops(device: torch.device, dtype: torch.dtype) -> float:
    """FLOP/s of a square matrix product, the best of five: what full utilisation means where no figure is given."""
    size = 8192 if device.type == "cuda" else 768
    a, b = torch.ones(2, size, size, device=device, dtype=dtype).unbind()
    best = float("inf")
    for _ in range(5):
        start = time.perf_counter()
        bfloat16.product(a, b)[0, 0].item()  # waits for the device
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best
