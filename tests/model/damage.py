"""Checkpoints and configurations with seeded damage: a checkpoint must be refused before anything changes, a
configuration be refused or valid.

    python -m tests.model.damage --mutations 2000

Prints what was tried and what was not refused; exits with 1 where anything was not.
"""

from __future__ import annotations

import argparse
import io
import random
import sys
import tempfile
from pathlib import Path

import torch

from fastlm.model.transformer import TransformerLM
from fastlm.training.checkpoint import load_checkpoint, save_checkpoint
from fastlm.training.config import load_config
from tests.model import tiny


def trained_model(seed: int) -> tuple[TransformerLM, torch.optim.Optimizer]:
    """A model and its optimizer after a step."""
    torch.manual_seed(seed)
    model = TransformerLM.from_config(tiny.MODEL)
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    model(torch.arange(12)).square().mean().backward()
    optimizer.step()
    return model, optimizer


def state_bytes(model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> bytes:
    file = io.BytesIO()
    save_checkpoint(model, optimizer, 0, file)
    return file.getvalue()


def damaged(content: bytes, rng: random.Random) -> bytes:
    """The content with a bit flipped, bytes overwritten, cut out, put in or cut off; half of the damage to its first
    part, which holds the header."""
    at = rng.randrange(len(content)) if rng.random() < 0.5 else rng.randrange(min(len(content), 4096))
    some = rng.randbytes(rng.randint(1, 8))
    kind = rng.randrange(5)
    if kind == 0:
        return content[:at] + bytes([content[at] ^ 1 << rng.randrange(8)]) + content[at + 1 :]
    if kind == 1:
        return content[:at] + some + content[at + len(some) :]
    if kind == 2:
        return content[:at] + content[at + len(some) :]
    if kind == 3:
        return content[:at] + some + content[at:]
    return content[:at]


def accepted_checkpoints(mutations: int, seed: int) -> int:
    """How many damaged checkpoints were loaded, or changed the model or optimizer though they were not."""
    rng = random.Random(seed)
    content = state_bytes(*trained_model(1))
    model, optimizer = trained_model(2)
    before = state_bytes(model, optimizer)
    accepted = 0
    for _ in range(mutations):
        changed = damaged(content, rng)
        if changed == content:
            continue
        try:
            load_checkpoint(io.BytesIO(changed), model, optimizer)
            accepted += 1
        except ValueError:
            pass
    return accepted + (state_bytes(model, optimizer) != before)


def misread_configs(mutations: int, seed: int) -> tuple[int, int]:
    """How many damaged configurations raised what they must not, and how many were read: as the original, where only
    its blanks were damaged, or as another one, where a digit was."""
    rng = random.Random(seed)
    wrong = read = 0
    with tempfile.TemporaryDirectory() as directory:
        content = tiny.config(Path(directory) / "run").to_toml().encode()
        path = Path(directory) / "config.toml"
        for _ in range(mutations):
            path.write_bytes(damaged(content, rng))
            try:
                load_config(path)
                read += 1
            except ValueError as error:
                wrong += str(path) not in str(error)
            except BaseException as error:  # noqa: BLE001 - any other exception is the fault that is looked for
                print(f"{type(error).__name__}: {error}")
                wrong += 1
    return wrong, read


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mutations", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    accepted = accepted_checkpoints(arguments.mutations, arguments.seed)
    print(f"{arguments.mutations} damaged checkpoints, {accepted} of them accepted")
    wrong, read = misread_configs(arguments.mutations, arguments.seed)
    print(f"{arguments.mutations} damaged configurations, {read} of them still valid, {wrong} without a clear error")
    return int(accepted + wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
