"""Trains, under torchrun, a tiny run with DDP and with FSDP2, each stopped and continued once.

torchrun --nproc-per-node 2 -m tests.model.processes DIRECTORY
"""

import sys
from pathlib import Path

import torch

from fastlm.training.loop import train
from tests.model import tiny

KINDS = {
    "ddp": {"parallel": "ddp", "micro_batch_size": 2},
    "fsdp": {"parallel": "fsdp", "micro_batch_size": 2, "checkpoint_activations": True},
}


def main() -> None:
    torch.set_num_threads(1)
    directory = Path(sys.argv[1])
    torch.distributed.init_process_group("gloo")
    for kind, changes in KINDS.items():
        train(tiny.config(directory, out=str(directory / kind), **changes))
        # of a run that was stopped after a checkpoint
        (directory / kind / "checkpoints" / "step-00000012.safetensors").unlink(missing_ok=True)
        train(tiny.config(directory, out=str(directory / kind), **changes))
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
