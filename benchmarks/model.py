"""Training steps and decoding of the model, against transformers and nanoGPT: `python -m benchmarks.model`.

On a machine with a CUDA device it measures there, else on the processor, one thread. The result is one table,
benchmarks/MODEL.md, and with `--json` one file of all figures.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from pathlib import Path
from typing import Any

import torch

from benchmarks import decode_lm, history, train_lm
from benchmarks.device import NO_INSTRUCTIONS, machine, training_dtype
from benchmarks.machine import commit
from benchmarks.model_targets import targets
from benchmarks.targets import target_table
from fastlm.model.bfloat16 import multiplies_bfloat16
from fastlm.model.presets import PRESETS

RESULTS = Path(__file__).with_name("MODEL.md")


def report(found: dict[str, Any]) -> str:
    """The figures as Markdown."""
    facts = "\n".join(f"- {name}: {value}" for name, value in found["machine"].items())
    reading = (
        "Written by `python -m benchmarks.model`. Seconds are CPU seconds of one thread on a processor, and wall "
        "seconds on a CUDA device."
    )
    sections = [train_lm.report(found["train"]), decode_lm.report(found["decode"])]
    reached = ["## Targets", target_table(targets(found))]
    return "\n\n".join(["# The model's speed", reading, facts, *reached, *sections]) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--size", action="append", choices=train_lm.SIZES, help="a shape; tinystories by default")
    parser.add_argument(
        "--dtype",
        action="append",
        choices=["float32", "bfloat16"],
        help="of training's products; else as fastlm train chooses",
    )
    parser.add_argument("--nanogpt", type=Path, help="a checkout of nanoGPT, whose model.py is run")
    parser.add_argument("--rounds", type=int, default=0, help="timed steps of each; 20 on CUDA, 7 else")
    parser.add_argument("--no-compile", action="store_true", help="leave out what takes minutes to compile")
    parser.add_argument("--steps", type=int, default=200, help="of training before int8's perplexity; 0 leaves it out")
    parser.add_argument("--json", type=Path, help="also write all figures here")
    options = parser.parse_args()
    device = torch.device(options.device)
    if device.type == "cpu":
        torch.set_num_threads(1)
    dtype, why = training_dtype(device)
    dtypes = [dtype]
    if options.dtype:
        dtypes = [getattr(torch, name) for name in options.dtype]
        why = f"{' and '.join(options.dtype)}, as was asked for"
        if "bfloat16" in options.dtype and not multiplies_bfloat16(device):
            why += f"; this device has {NO_INSTRUCTIONS}"
    commit_measured = commit()  # before this run writes MODEL.md
    rounds = options.rounds or (20 if device.type == "cuda" else 7)
    # before anything is allowed to round: its tokens are compared
    decoding = decode_lm.race(PRESETS["tinystories"], rounds, device)
    if options.steps:
        decoding["int8"] = decode_lm.loss_of_int8(options.steps)
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")
    training = []
    for size, dtype in itertools.product(options.size or ["tinystories"], dtypes):
        config, on_cuda, on_cpu = train_lm.SIZES[size]
        batch = on_cuda if device.type == "cuda" else on_cpu
        raced = train_lm.race(config, batch, device, dtype, rounds, not options.no_compile, options.nanogpt)
        training.append({"size": size, **raced})
    found = {
        "commit_info": commit_measured,
        "machine": {
            **machine(device),
            "type of training's products": why,
            "nanoGPT": "not present" if options.nanogpt is None else "from a checkout",
        },
        "bfloat16": {
            "multiplied": multiplies_bfloat16(device),
            "device": "processor" if device.type == "cpu" else "device",
        },
        "train": training,
        "decode": decoding,
    }
    history.keep(found)
    text = report(found)
    RESULTS.write_text(text)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
