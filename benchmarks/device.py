"""The device that a model is measured on: its clock, what it is, and the type that it multiplies."""

from __future__ import annotations

import os
import platform
import time
from datetime import UTC, datetime
from importlib.metadata import version

import torch

import fastlm
from benchmarks.tables import number
from fastlm.training.hardware import multiplies_bfloat16


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


def training_dtype(device: torch.device) -> tuple[torch.dtype, str]:
    """The type of training's products, chosen as `fastlm train` chooses it, and why."""
    if multiplies_bfloat16(device):
        return torch.bfloat16, "bfloat16, which this device has instructions to multiply"
    return torch.float32, "float32, since this device has no instructions for products of bfloat16"
