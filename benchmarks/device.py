"""The device that a model is measured on: its clock, what it is, and the type that it is fast at."""

from __future__ import annotations

import os
import platform
import time
from datetime import UTC, datetime
from importlib.metadata import version

import torch
from torch.nn import functional as F  # noqa: N812

import fastlm
from benchmarks.tables import number


def clock(device: torch.device) -> float:
    """Seconds: of the processor's time where it does the work, else of the wall's when the device is done."""
    if device.type == "cpu":
        return time.process_time()
    torch.cuda.synchronize(device)
    return time.perf_counter()


def machine(device: torch.device) -> dict[str, str]:
    if device.type == "cuda":
        processor = torch.cuda.get_device_name(device)
    else:
        import cpuinfo

        processor = cpuinfo.get_cpu_info()["brand_raw"]
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "device": processor,
        "versions": f"Python {platform.python_version()}, fastlm {fastlm.__version__}, torch {torch.__version__}, "
        f"transformers {version('transformers')}",
        "load average at the end": ", ".join(map(number, os.getloadavg())),
    }


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
