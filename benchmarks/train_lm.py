"""Training steps of the model against transformers' Llama and nanoGPT: forward, loss, backward and fused AdamW.

fastlm and Llama start from the same weights, and their losses on the first batch are compared before anything is timed;
nanoGPT, a model of another kind, must begin near the loss of a guess. Then all take turns.
"""

from __future__ import annotations

import gc
import math
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from benchmarks import memory, nanogpt
from benchmarks.device import NO_INSTRUCTIONS, clock
from benchmarks.tables import number, table
from fastlm.model import ModelConfig, TransformerLM, linear_cross_entropy
from fastlm.model.bfloat16 import multiplies_bfloat16
from fastlm.model.flops import train_flops_per_token
from fastlm.model.hf import export_llama
from fastlm.model.presets import PRESETS

SIZES = {
    # name: configuration, sequences a batch on CUDA, on the processor
    "tinystories": (PRESETS["tinystories"], 128, 4),
    "gpt2": (PRESETS["gpt2"], 32, 1),
    "gpt2-medium": (PRESETS["gpt2-medium"], 16, 1),
}
# by the same weights and in exact arithmetic losses are equal; this is what rounding in bfloat16 may make of them
LOSS_TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 3e-2}
# how far from that of a guess, the logarithm of the vocabulary, nanoGPT's first loss may be
GUESSED = 0.3
# seconds after which a participant leaves out the further rounds
LIMIT = 30.0
NANOGPT = "nanoGPT"
PEERS = ("transformers", NANOGPT)
Loss = Callable[[Tensor, Tensor], Tensor]


@dataclass
class Contender:
    """Someone's training step: a loss of its own model, and torch's fused AdamW for all."""

    name: str
    model: torch.nn.Module
    loss: Loss
    shape: ModelConfig
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


def contenders(
    config: ModelConfig, device: torch.device, compiled: bool, nanogpt_path: Path | None = None
) -> list[Contender]:
    """fastlm and transformers, with the same weights, and nanoGPT where there is one, each eager and compiled."""
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
            kind = "" if mode is None else f", compiled ({mode})"
            found.append(Contender(f"fastlm{kind}", model.to(device), _fastlm_loss(model), config, mode))
            llama = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
            loss = _transformers_loss(llama)
            found.append(Contender(f"transformers{kind}", llama.to(device).train(), loss, config, mode))
            if nanogpt_path is not None:
                gpt, loss = nanogpt.load(nanogpt_path, config)
                shape = nanogpt.same_products(config)
                found.append(Contender(f"{NANOGPT}{kind}", gpt.to(device).train(), loss, shape, mode))
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


def fastest_product(config: ModelConfig, tokens: int, device: torch.device, dtype: torch.dtype) -> float:
    """FLOP/s of the fastest matrix product found, among the shapes of the model and square ones."""
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


def race(
    config: ModelConfig,
    batch: int,
    device: torch.device,
    dtype: torch.dtype,
    rounds: int,
    compiled: bool,
    nanogpt_path: Path | None = None,
) -> Any:
    """All contenders in turns; their figures."""
    length = config.context_length
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(config.vocab_size, (batch, length + 1), generator=generator).to(device)
    inputs, targets = ids[:, :-1].contiguous(), ids[:, 1:].contiguous()
    runners = contenders(config, device, compiled, nanogpt_path)
    for runner in runners:
        start = time.perf_counter()
        runner.first_loss = runner.step(inputs, targets, dtype)
        if runner.compile_mode is not None:
            # wall time: compilers run in processes of their own
            runner.compile_seconds = time.perf_counter() - start
        runner.peak_mb = peak_of(partial(runner.step, inputs, targets, dtype), device)
    _check_first_losses(runners, LOSS_TOLERANCE[dtype])
    for _ in range(rounds):
        for runner in (one for one in runners if sum(one.seconds) < LIMIT):
            start = clock(device)
            runner.step(inputs, targets, dtype)
            runner.seconds.append(clock(device) - start)
    # a step of bfloat16 may be made of either product, and its share is of the faster one
    products = [torch.float32] if dtype == torch.float32 else [dtype, torch.float32]
    rates = {str(kind): fastest_product(config, batch * length, device, kind) for kind in products}
    fastest = max(rates.values())
    rows = []
    for runner in runners:
        seconds = statistics.median(runner.seconds)
        flops = {name: batch * length * train_flops_per_token(runner.shape, None, name) for name in ("full", "causal")}
        rows.append(
            {
                "name": runner.name,
                "first_loss": runner.first_loss,
                "seconds": seconds,
                "tokens_per_s": batch * length / seconds,
                "flops_per_token": flops["full"] // (batch * length),
                "flops_per_s": flops["full"] / seconds,
                "of_product_full": flops["full"] / seconds / fastest,
                "of_product_causal": flops["causal"] / seconds / fastest,
                "peak_mb": runner.peak_mb,
                "compile_seconds": runner.compile_seconds,
                "rounds": len(runner.seconds),
            }
        )
    return {
        "batch": batch,
        "length": length,
        "dtype": str(dtype),
        "multiplied": dtype != torch.bfloat16 or multiplies_bfloat16(device),
        "gemm_flops_per_s": rates,
        "contenders": rows,
    }


def _check_first_losses(runners: list[Contender], tolerance: float) -> None:
    losses = {runner.name: runner.first_loss for runner in runners}
    same = [loss for name, loss in losses.items() if not name.startswith(NANOGPT)]
    guess = math.log(runners[0].shape.vocab_size)
    if max(same) - min(same) > tolerance:
        raise RuntimeError(f"the first losses differ: {losses}")
    if any(abs(loss - guess) > GUESSED for name, loss in losses.items() if name.startswith(NANOGPT)):
        raise RuntimeError(f"{NANOGPT} does not begin near the loss of a guess, {guess}: {losses}")


def peak_of(call: Callable[[], object], device: torch.device) -> float:
    """MB that a call takes at its peak, above the memory before it."""
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


READING = """\
A step is forward, loss, backward and fused AdamW. fastlm and transformers' Llama have the same weights, and their first
losses were equal; all took turns, and medians stand here; who had taken half a minute sat out the further rounds. On a
processor seconds are CPU seconds of one thread, on a CUDA device wall seconds. FLOPs count matrix products, with all T
x T scores of attention (full) or those that a causal model needs (causal); the percentages are of the fastest matrix
product measured in the same run, of either type where two were. Peak memory is what a step takes on top of parameters
and optimizer; compilation is the wall time of the first step. The last columns compare eager with eager and compiled
with compiled: tokens/s, and for nanoGPT also the share of the fastest product that each reaches with its own FLOPs.
nanoGPT has the same vocabulary, context, width, layers and heads, but LayerNorm, learned positions, a GELU network of
four times the width, and a tied output layer, so its optimizer has fewer weights to update."""


def report(races: list[dict[str, Any]]) -> str:
    """The figures as Markdown."""
    sections = []
    for race_of in sorted(races, key=lambda race_of: race_of["dtype"] != "torch.float32"):
        emulated = not race_of["multiplied"]
        by_name = {row["name"]: row for row in race_of["contenders"]}
        head = ["step", "rounds", "tokens/s", "MFLOP a token", "TFLOP/s", "% of GEMM", "causal", "peak MB", "compile s"]
        rows = [[*head, *(f"x {peer}" for peer in PEERS), f"x {NANOGPT}, % of GEMM"]]
        for row in race_of["contenders"]:
            name, comma, kind = row["name"].partition(",")
            peers = [by_name.get(f"{peer}{comma}{kind}") if name == "fastlm" else None for peer in PEERS]
            rows.append(
                [
                    row["name"] if name == "fastlm" or not emulated else f"{row['name']} (emulates)",
                    str(row["rounds"]),
                    number(row["tokens_per_s"]),
                    number(row["flops_per_token"] / 1e6),
                    f"{row['flops_per_s'] / 1e12:.3f}",
                    f"{100 * row['of_product_full']:.0f}",
                    f"{100 * row['of_product_causal']:.0f}",
                    number(row["peak_mb"]),
                    "" if row["compile_seconds"] is None else number(row["compile_seconds"]),
                    *(_ratio(row, peer, "tokens_per_s") for peer in peers),
                    _ratio(row, peers[-1], "of_product_full"),
                ]
            )
        if not any(name.startswith(NANOGPT) for name in by_name):
            rows.append([NANOGPT, "not present", *[""] * (len(rows[0]) - 2)])
        tokens, kind = f"{race_of['batch']} x {race_of['length']} tokens", race_of["dtype"].removeprefix("torch.")
        title = f"### {race_of['size']}: {tokens}, {kind}"
        rates = ", ".join(
            f"{product.removeprefix('torch.')} {flops / 1e12:.3f} TFLOP/s"
            for product, flops in race_of["gemm_flops_per_s"].items()
        )
        reading = [f"The fastest matrix products in this run, by torch: {rates}."]
        if emulated:
            reading += [
                f"This device has {NO_INSTRUCTIONS}; the others emulate bfloat16 by torch's own products. The ratios "
                "to them meet no target."
            ]
        sections.append(f"{title}\n\n{' '.join(reading)}\n\n{table(rows)}")
    return "\n\n".join(["## Training steps", READING, *sections])


def _ratio(row: dict[str, Any], peer: dict[str, Any] | None, key: str) -> str:
    return "" if peer is None else f"{row[key] / peer[key]:.2f}x"
