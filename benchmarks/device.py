"""The device that a model is measured on: its clock, what it is, and the type that it is fast at."""

from __future__ import annotations

import time

import torch
from torch.nn import functional as F  # noqa: N812

from benchmarks.machine import facts, processor


def clock(device: torch.device) -> float:
    """Seconds: of the processor's time where it does the work, else of the wall's when the device is done."""
    if device.type == "cpu":
        return time.process_time()
    torch.cuda.synchronize(device)
    return time.perf_counter()


def machine(device: torch.device) -> dict[str, str]:
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else processor()
    return facts(name, ("torch", "transformers"))


def faster_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where a product of it takes less time than one of float32."""
    seconds = {}
    for dtype in (torch.float32, torch.bfloat16):
        square = torch.randn(512, 512, device=device, dtype=dtype)
        F.linear(square, square)
        start = clock(device)
        F.linear(square, square)
        seconds[dtype] = clock(device) - start
    return min(seconds, key=seconds.__getitem__)
