"""Processes that train one model together, started by torchrun."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from fastlm.training.hardware import find_device


@dataclass(frozen=True)
class Processes:
    """Which process this is, of how many, and its device."""

    rank: int
    count: int
    device: torch.device

    def sum(self, values: Tensor) -> Tensor:
        """The sum over all processes, in place."""
        if self.count > 1:
            dist.all_reduce(values)
        return values

    def wait(self) -> None:
        """Until all processes are here."""
        if self.count > 1:
            dist.barrier()


@contextlib.contextmanager
def processes(device: str) -> Iterator[Processes]:
    """This process alone, or, under torchrun, with the others: over NCCL on cuda, over gloo elsewhere. A group of
    processes that is there already is used."""
    count, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    found = find_device(device, int(os.environ.get("LOCAL_RANK", "0")))
    begins = count > 1 and not dist.is_initialized()
    if begins:
        dist.init_process_group("nccl" if found.type == "cuda" else "gloo")
    try:
        yield Processes(rank, count, found)
    finally:
        if begins:
            dist.destroy_process_group()


def compiled(module: nn.Module, device: torch.device) -> nn.Module:
    """The module compiled as one graph. On cuda its kernels are searched for and launched as CUDA graphs, which takes
    minutes at the start; a graph must not meet the hooks of DDP, so there it holds for one process."""
    mode = "max-autotune" if device.type == "cuda" and not dist.is_initialized() else None
    return torch.compile(module, fullgraph=True, mode=mode)  # type: ignore[return-value]


def distributed(module: nn.Module, blocks: nn.ModuleList, kind: Literal["ddp", "fsdp"]) -> nn.Module:
    """The module with gradients averaged over all processes: copied (DDP), or in shards, block by block (FSDP2).

    Shards take the place of the module's parameters, so an optimizer must be made afterwards.
    """
    if kind == "ddp":
        return DistributedDataParallel(module)
    for block in blocks:
        fully_shard(block)
    fully_shard(module)
    return module


def gradients_later(module: nn.Module, later: bool) -> AbstractContextManager[None]:
    """Where `later`, gradients of backward passes within stay in this process, averaged with those that follow."""
    if isinstance(module, FSDPModule):
        module.set_requires_gradient_sync(not later)
    elif later and isinstance(module, DistributedDataParallel):
        return module.no_sync()
    return contextlib.nullcontext()


def whole(tensor: Tensor) -> Tensor:
    """The tensor, gathered from all processes where it lies in shards."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
