"""Processes that train one model together, started by torchrun."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from fastlm.training.hardware import device_settings, find_device


@dataclass(frozen=True)
class Processes:
    """This process among the processes of a run.

    Attributes:
        rank: Number of this process.
        count: Number of processes.
        device: Device of this process.
    """

    rank: int
    count: int
    device: torch.device

    def sum(self, values: Tensor) -> Tensor:
        """Sums values over all processes, in place."""
        if self.count > 1:
            dist.all_reduce(values)
        return values

    def gather(self, value: Any) -> list[Any]:
        """Returns the values of all processes, by rank. They are pickled."""
        if self.count == 1:
            return [value]
        values: list[Any] = [None] * self.count
        dist.all_gather_object(values, value)
        return values

    def wait(self) -> None:
        """Waits until all processes have called this."""
        if self.count > 1:
            dist.barrier()


@contextlib.contextmanager
def processes(device: str, allow_tf32: bool = False) -> Iterator[Processes]:
    """Connects the processes of a run: this one alone or, under torchrun, all, over NCCL on cuda and gloo elsewhere.

    A process group that exists already is used. Settings of the device hold within the block.

    Args:
        device: See `hardware.find_device`.
        allow_tf32: See `hardware.device_settings`.
    """
    count, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    found = find_device(device, int(os.environ.get("LOCAL_RANK", "0")))
    with device_settings(found, allow_tf32):
        begins = count > 1 and not dist.is_initialized()
        if begins:
            dist.init_process_group("nccl" if found.type == "cuda" else "gloo")
        try:
            yield Processes(rank, count, found)
        finally:
            if begins:
                dist.destroy_process_group()


def compiled(module: nn.Module, device: torch.device) -> nn.Module:
    """Compiles a module to one graph.

    On cuda, torch searches for the fastest kernels, which takes minutes at the start, and launches them as CUDA graphs.
    This works for one process only, because a graph must not contain the hooks of DDP.
    """
    mode = "max-autotune" if device.type == "cuda" and not dist.is_initialized() else None
    return torch.compile(module, fullgraph=True, mode=mode)  # type: ignore[return-value]


def distributed(module: nn.Module, layers: nn.ModuleList, kind: Literal["ddp", "fsdp"]) -> nn.Module:
    """Lets all processes average the gradients of a module: replicated (DDP), or sharded layer by layer (FSDP2).

    FSDP2 replaces the module's parameters by shards, so an optimizer must be made afterwards.
    """
    if kind == "ddp":
        return DistributedDataParallel(module)
    for layer in layers:
        fully_shard(layer)
    fully_shard(module)
    return module


def defer_gradient_sync(module: nn.Module, defer: bool) -> AbstractContextManager[None]:
    """Keeps gradients of backward passes in this process if `defer`; they are averaged with those that follow."""
    if isinstance(module, FSDPModule):
        module.set_requires_gradient_sync(not defer)
    elif defer and isinstance(module, DistributedDataParallel):
        return module.no_sync()
    return contextlib.nullcontext()


def local(tensor: Tensor) -> Tensor:
    """Returns this process's shard of a sharded tensor, or the tensor itself if it is not sharded."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def gathered(tensor: Tensor) -> Tensor:
    """Returns the whole of a sharded tensor, or the tensor itself if it is not sharded."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
