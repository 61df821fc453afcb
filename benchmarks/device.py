"""The device that a model is measured on: its clock, its name, and the dtype that it multiplies."""

from __future__ import annotations

import time

import torch

from benchmarks.machine import facts, processor
from fastlm.model.bfloat16 import multiplies_bfloat16

NO_INSTRUCTIONS = "no instructions for bfloat16: fastlm multiplies rounded operands in float32"


def clock(device: torch.device) -> float:
    """Seconds: of the processor's time where it does the work, else of the wall's when the device is done."""
    if device.type == "cpu":
        return time.process_time()
    torch.cuda.synchronize(device)
    return time.perf_counter()


def machine(device: torch.device) -> dict[str, str]:
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else processor()
    return facts(name, ("torch", "transformers"))


def training_dtype(device: torch.device) -> tuple[torch.dtype, str]:
    """The type of training's products, chosen as `fastlm train` chooses it, and why."""
    if multiplies_bfloat16(device):
        return torch.bfloat16, "bfloat16, which this device has instructions to multiply"
    return torch.float32, "float32, since this device has no instructions for products of bfloat16"
