"""The device: its selection, its precision, its speed."""

from __future__ import annotations

import contextlib
import re
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch

from fastlm.model import bfloat16
from fastlm.training.config import TrainingConfig


def find_device(name: str, local_rank: int) -> torch.device:
    """Selects the device of a process.

    Args:
        name: A device of torch, or "auto" for cuda if available, else mps (Apple's GPUs) if available, else cpu.
        local_rank: Number of the process on its machine, and of its CUDA device.

    Returns:
        The device.

    Raises:
        ValueError: torch cannot use the device.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(f"cuda:{local_rank}" if name == "cuda" else name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device is {name!r}: {str(error).splitlines()[0]}") from None
    return device


@contextlib.contextmanager
def device_settings(device: torch.device, allow_tf32: bool) -> Iterator[None]:
    """Makes a CUDA device the current one, and allows or forbids TF32 for its float32 products, within a block.

    Both are settings of the whole process; they are restored afterwards. TF32 has ten bits of mantissa.
    """
    if device.type != "cuda":
        yield
        return
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if allow_tf32 else "highest")
    try:
        with torch.cuda.device(device):
            yield
    finally:
        torch.set_float32_matmul_precision(before)


def autocast_type(config: TrainingConfig, device: torch.device) -> torch.dtype | None:
    """The dtype of autocast: bfloat16, or None for float32. Warns if bfloat16 is configured and no faster."""
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


def available_memory(device: torch.device) -> int | None:
    """Bytes of memory that are free on a device; None if the system does not tell."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    with contextlib.suppress(OSError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return None


def measured_flops(device: torch.device, dtype: torch.dtype) -> float:
    """Measures the FLOP/s of a square matrix product, the best of five, as the device's peak."""
    size = {"cuda": 8192, "mps": 2048}.get(device.type, 768)
    a, b = torch.ones(2, size, size, device=device, dtype=dtype).unbind()
    best = float("inf")
    for _ in range(5):
        start = time.perf_counter()
        bfloat16.product(a, b)[0, 0].item()  # waits for the device
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best


# torch's words for a lack of main memory, which depend on the system's error
_LACKS_MEMORY = re.compile("not enough memory|can't allocate memory")


def explained(error: BaseException) -> str | None:
    """One line for an error of torch that is due to the machine, with the settings to change; None for other errors."""
    first = next(iter(str(error).splitlines()), "")
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or _LACKS_MEMORY.search(str(error)):
        return (
            f"not enough memory ({first[:200] or 'no details'}); lower micro_batch_size, batch_size, context_length or "
            "the model's sizes, or set checkpoint_activations = true"
        )
    module = type(error).__module__
    if module.startswith(("torch._inductor", "torch._dynamo")):
        reason = next((line for line in str(error).splitlines() if "ompiler" in line or "rror:" in line), first)
        return (
            f"torch.compile failed ({reason.strip()[:200]}); it needs a C++ compiler, which the variable CXX may name; "
            "set compile = false to train without it"
        )
    return None
