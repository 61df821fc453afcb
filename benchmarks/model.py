"""Training steps and decoding of the model, beside transformers: `python -m benchmarks.model`.

On a machine with a CUDA device it measures there, else on the processor, one thread. All contenders start from the same
weights, and their losses on the first batch are compared before anything is timed; then they take turns. The result is
one table, benchmarks/MODEL.md, and with `--json` one file of all figures.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

import fastlm
from benchmarks import memory
from benchmarks.tables import number, table
from fastlm.model import ModelConfig, TransformerLM, linear_cross_entropy
from fastlm.model.flops import train_flops_per_token
from fastlm.model.hf import export_llama
from fastlm.model.presets import PRESETS

RESULTS = Path(__file__).with_name("MODEL.md")
SIZES = {
    # name: configuration, sequences a batch on CUDA, on the processor
    "tinystories": (PRESETS["tinystories"], 128, 4),
    "gpt2": (PRESETS["gpt2"], 32, 1),
    "gpt2-medium": (PRESETS["gpt2-medium"], 16, 1),
}
# by the same weights and in exact arithmetic losses are equal; this is what rounding in bfloat16 may make of them
LOSS_TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 3e-2}
Loss = Callable[[Tensor, Tensor], Tensor]


@dataclass
class Contender:
    """Someone's training step: a loss of its own model, and torch's fused AdamW for all."""

    name: str
    model: torch.nn.Module
    loss: Loss
    compile_mode: str | None = None
    first_loss: float = 0.0
    compile_seconds: float | None = None
    peak_mb: float = 0.0
    seconds: list[float] = field(default_factory=list)

    def prepare(self, device: torch.device) -> None:
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-4, fused=True)
        if self.compile_mode is not None:
            self.loss = torch.compile(self.loss, fullgraph=True, mode=self.compile_mode)
        self.device = device

    def step(self, inputs: Tensor, targets: Tensor, dtype: torch.dtype) -> float:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=dtype == torch.bfloat16):
            loss = self.loss(inputs, targets)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return loss.item()


def contenders(config: ModelConfig, device: torch.device, compiled: bool) -> list[Contender]:
    """fastlm and transformers, each eager and compiled, with the same weights."""
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    first = TransformerLM.from_config(config)
    modes = [None, *(("default", "max-autotune") if device.type == "cuda" else ("default",))] if compiled else [None]
    found = []
    with tempfile.TemporaryDirectory() as directory:
        export_llama(first, directory)
        for mode in modes:
            model = TransformerLM.from_config(config)
            model.load_state_dict(first.state_dict())
            name = "fastlm" if mode is None else f"fastlm, compiled ({mode})"
            found.append(Contender(name, model.to(device), _fastlm_loss(model), mode))
            llama = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
            name = "transformers" if mode is None else f"transformers, compiled ({mode})"
            found.append(Contender(name, llama.to(device).train(), _transformers_loss(llama), mode))
    for contender in found:
        contender.prepare(device)
    return found


def _fastlm_loss(model: TransformerLM) -> Loss:
    return lambda inputs, targets: linear_cross_entropy(model.hidden(inputs), model.lm_head.weight, targets)


def _transformers_loss(model: Any) -> Loss:
    def loss(inputs: Tensor, targets: Tensor) -> Tensor:
        logits = model(inputs, use_cache=False).logits
        return F.cross_entropy(logits.float().flatten(0, 1), targets.flatten())

    return loss


def clock(device: torch.device) -> float:
    """Seconds: of the processor's time where it does the work, else of the wall's when the device is done."""
    if device.type == "cpu":
        return time.process_time()
    torch.cuda.synchronize(device)
    return time.perf_counter()


def gemm_ceiling(config: ModelConfig, tokens: int, device: torch.device, dtype: torch.dtype) -> float:
    """FLOP/s of the fastest matrix product found: those of the model, and square ones."""
    side = 8192 if device.type == "cuda" else 1024
    shapes = [
        (side, side, side),
        (tokens, config.d_model, 2 * config.d_ff),
        (tokens, config.d_ff, config.d_model),
        (tokens, config.d_model, 3 * config.d_model),
    ]
    best = 0.0
    for m, k, n in shapes:
        left = torch.randn(m, k, device=device, dtype=dtype)
        right = torch.randn(n, k, device=device, dtype=dtype)
        for _ in range(6):
            start = clock(device)
            F.linear(left, right)
            best = max(best, 2 * m * k * n / (clock(device) - start))
    return best


def race(config: ModelConfig, batch: int, device: torch.device, dtype: torch.dtype, rounds: int, compiled: bool) -> Any:
    """All contenders in turns; their figures."""
    length = config.context_length
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(config.vocab_size, (batch, length + 1), generator=generator).to(device)
    inputs, targets = ids[:, :-1].contiguous(), ids[:, 1:].contiguous()
    runners = contenders(config, device, compiled)
    for runner in runners:
        start = clock(device)
        runner.first_loss = runner.step(inputs, targets, dtype)
        if runner.compile_mode is not None:
            runner.compile_seconds = clock(device) - start
        runner.peak_mb = peak_of(partial(runner.step, inputs, targets, dtype), device)
    losses = {runner.name: runner.first_loss for runner in runners}
    if max(losses.values()) - min(losses.values()) > LOSS_TOLERANCE[dtype]:
        raise RuntimeError(f"the first losses differ: {losses}")
    for _ in range(rounds):
        for runner in runners:
            start = clock(device)
            runner.step(inputs, targets, dtype)
            runner.seconds.append(clock(device) - start)
    ceiling = gemm_ceiling(config, batch * length, device, dtype)
    rows = []
    for runner in runners:
        seconds = statistics.median(runner.seconds)
        flops = {name: batch * length * train_flops_per_token(config, None, name) for name in ("full", "causal")}
        rows.append(
            {
                "name": runner.name,
                "first_loss": runner.first_loss,
                "seconds": seconds,
                "tokens_per_s": batch * length / seconds,
                "flops_per_s": flops["full"] / seconds,
                "of_ceiling_full": flops["full"] / seconds / ceiling,
                "of_ceiling_causal": flops["causal"] / seconds / ceiling,
                "peak_mb": runner.peak_mb,
                "compile_seconds": runner.compile_seconds,
                "rounds": rounds,
            }
        )
    return {"batch": batch, "length": length, "dtype": str(dtype), "gemm_flops_per_s": ceiling, "contenders": rows}


def peak_of(call: Callable[[], object], device: torch.device) -> float:
    """MB that a call takes at its peak, above what was held before."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        call()
        return (torch.cuda.max_memory_allocated(device) - before) / 1e6
    memory.give_back()
    memory.reset_peak()
    held = memory.resident_mb()
    call()
    return memory.peak_mb() - held


def report(found: dict[str, Any]) -> str:
    """The figures as Markdown."""
    facts = "\n".join(f"- {name}: {value}" for name, value in found["machine"].items())
    sections = []
    for size, race_of in found["sizes"].items():
        best_peer = {}
        for row in race_of["contenders"]:
            if row["name"].startswith("transformers"):
                best_peer[row["name"].partition(",")[2]] = row["tokens_per_s"]
        rows = [["step", "tokens/s", "TFLOP/s", "% of GEMM", "causal", "peak MB", "compile s", "x transformers"]]
        for row in race_of["contenders"]:
            kind = row["name"].partition(",")[2]
            compared = row["name"].startswith("fastlm") and kind in best_peer
            rows.append(
                [
                    row["name"],
                    number(row["tokens_per_s"]),
                    f"{row['flops_per_s'] / 1e12:.3f}",
                    f"{100 * row['of_ceiling_full']:.0f}",
                    f"{100 * row['of_ceiling_causal']:.0f}",
                    number(row["peak_mb"]),
                    "" if row["compile_seconds"] is None else number(row["compile_seconds"]),
                    f"{row['tokens_per_s'] / best_peer[kind]:.2f}x" if compared else "",
                ]
            )
        title = (
            f"### {size}: {race_of['batch']} x {race_of['length']} tokens, {race_of['dtype'].removeprefix('torch.')}"
        )
        ceiling = f"The fastest matrix product in this run: {race_of['gemm_flops_per_s'] / 1e12:.3f} TFLOP/s."
        sections.append(f"{title}\n\n{ceiling}\n\n{table(rows)}")
    return "\n\n".join(["# The model's speed", READING, facts, "## Training steps", *sections]) + "\n"


READING = """\
Written by `python -m benchmarks.model`. A step is forward, loss, backward and fused AdamW; contenders have the same
weights, and their first losses were equal; they took turns, and medians stand here. On a processor seconds are CPU
seconds of one thread, on a CUDA device wall seconds. FLOPs count matrix products, with all T x T scores of attention
(full) or those that a causal model needs (causal); the percentages are of the fastest matrix product measured in the
same run. Peak memory is what a step takes on top of parameters and optimizer. "x transformers" compares with
transformers' Llama of the same shape, eager with eager and compiled with compiled."""


def machine(device: torch.device) -> dict[str, str]:
    if device.type == "cuda":
        processor = torch.cuda.get_device_name(device)
    else:
        import cpuinfo

        processor = cpuinfo.get_cpu_info()["brand_raw"]
    from importlib.metadata import version

    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "device": processor,
        "versions": f"Python {platform.python_version()}, fastlm {fastlm.__version__}, torch {torch.__version__}, "
        f"transformers {version('transformers')}",
        "load average at the end": ", ".join(map(number, os.getloadavg())),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--size", action="append", choices=SIZES, help="a shape to measure; tinystories by default")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], help="of the products; by default the faster one")
    parser.add_argument("--rounds", type=int, default=0, help="timed steps of each; 20 on CUDA, 5 else")
    parser.add_argument("--no-compile", action="store_true", help="leave out what takes minutes to compile")
    parser.add_argument("--json", type=Path, help="also write all figures here")
    options = parser.parse_args()
    device = torch.device(options.device)
    if device.type == "cpu":
        torch.set_num_threads(1)
    else:
        torch.set_float32_matmul_precision("high")
    dtype = getattr(torch, options.dtype) if options.dtype else faster_dtype(device)
    rounds = options.rounds or (20 if device.type == "cuda" else 5)
    found: dict[str, Any] = {"sizes": {}}
    for size in options.size or ["tinystories"]:
        config, on_cuda, on_cpu = SIZES[size]
        batch = on_cuda if device.type == "cuda" else on_cpu
        found["sizes"][size] = race(config, batch, device, dtype, rounds, not options.no_compile)
    found["machine"] = machine(device)
    text = report(found)
    RESULTS.write_text(text)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))
    sys.stdout.write(text)


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


if __name__ == "__main__":
    main()
