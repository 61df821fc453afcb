"""Tokens a second of open models on a processor, against transformers and llama.cpp.

`python -m benchmarks.open_models --report` writes benchmarks/OPEN_MODELS.md. The models have the shapes of published
ones and random weights, because the time of a token does not depend on them. Each contender (`benchmarks.decoders`)
runs in its own process; they take turns. `--keep DIR` keeps the models for the next time.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from benchmarks import decode_lm
from benchmarks.decoders import BYTES, LLAMA_CPP_CONTEXT, OURS, THEIRS, TINY
from benchmarks.tables import number, table
from fastlm.machine import processor_name
from fastlm.model import ModelConfig, TransformerLM
from fastlm.model.memory import cache_bytes
from fastlm.model.parameters import num_parameters, parameter_shapes
from fastlm.model.rope_scaling import RopeScaling

REPORT = Path(__file__).with_name("OPEN_MODELS.md")
SHAPES = {
    "SmolLM2-135M": ModelConfig(
        vocab_size=49152,
        context_length=8192,
        d_model=576,
        num_layers=30,
        num_heads=9,
        num_kv_heads=3,
        d_ff=1536,
        rope_theta=100_000.0,
        tie_embeddings=True,
    ),
    "Llama-3.2-1B": ModelConfig(
        vocab_size=128256,
        context_length=131072,
        d_model=2048,
        num_layers=16,
        num_heads=32,
        num_kv_heads=8,
        d_head=64,
        d_ff=8192,
        rope_theta=500_000.0,
        rope_scaling=RopeScaling(
            kind="llama3", factor=32.0, original_context=8192, low_freq_factor=1.0, high_freq_factor=4.0
        ),
        tie_embeddings=True,
    ),
}
TINY_SHAPE = ModelConfig(
    vocab_size=512, context_length=512, d_model=64, num_layers=1, num_heads=2, d_ff=64, tie_embeddings=True
)
PEER = "transformers float32"
MOST_READ = 1 << 30  # bytes whose reading is timed; the time of more is in proportion
SECONDS = 900  # after which a contender is given up


def synthetic(config: ModelConfig, dtype: torch.dtype) -> TransformerLM:
    """A model with random weights of about the size of a trained one's."""
    from fastlm.model.weights import Description, model_of

    generator = torch.Generator().manual_seed(0)
    weights = {
        name: torch.ones(shape, dtype=dtype)
        if len(shape) == 1
        else torch.empty(shape, dtype=dtype).normal_(0, 0.02, generator=generator)
        for name, shape in parameter_shapes(config).items()
    }
    return model_of(Description(config), weights)


def matrix_numbers(config: ModelConfig) -> int:
    """The numbers of matrices that a token is multiplied with."""
    embedding = 0 if config.tie_embeddings else config.vocab_size * config.d_model
    return num_parameters(config) - embedding


def prepare(config: ModelConfig, folder: Path, contenders: list[str]) -> None:
    """Writes a model of a shape in bfloat16, and what the contenders need of it, unless it is there."""
    from fastlm import Tokenizer
    from fastlm.generation.packed_files import decoding_model
    from fastlm.model.gguf import GGUFType, export_gguf
    from fastlm.model.hf import CONFIG, export_llama, import_llama

    if not (folder / CONFIG).exists():
        export_llama(synthetic(config, torch.bfloat16), folder)
    kinds: dict[str, GGUFType] = {"q8_0": "q8_0", "f32": "float32"}
    for contender in contenders:
        program, _, kind = contender.rpartition(" ")
        if program == "llama.cpp" and not (folder / f"{kind}.gguf").exists():
            tokenizer = Tokenizer({byte: bytes([byte]) for byte in range(256)}, [], ["<|endoftext|>"])
            model = import_llama(folder, mapped=True)
            export_gguf(model, folder / f"{kind}.gguf", tokenizer, kind=kinds[kind])
        elif contender in ("int8", "int4"):
            decoding_model(folder, kind=contender)  # type: ignore[arg-type]
    if config is not TINY_SHAPE:
        prepare(TINY_SHAPE, folder / TINY, contenders)


def in_a_process(contender: str, folder: Path, threads: int, prompt: int, tokens: int) -> dict[str, Any] | None:
    """One contender in its own process; None, with a message, where it cannot run."""
    command = [sys.executable, "-m", "benchmarks.decoders", contender, str(folder), "--threads", str(threads)]
    command += ["--prompt", str(prompt), "--tokens", str(tokens)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        print(f"{contender}: no result after {SECONDS} s", file=sys.stderr)
        return None
    if done.returncode:
        print(f"{contender}: {done.stderr.strip().splitlines()[-1:]}", file=sys.stderr)
        return None
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def race(
    name: str, folder: Path, contenders: list[str], options: argparse.Namespace, until: float
) -> dict[str, list[dict[str, Any]]]:
    """The runs of each contender and number of threads, in turns. No round but the first begins after `until`."""
    results: dict[str, list[dict[str, Any]]] = {}
    for number_of_round in range(options.rounds):
        if number_of_round and time.monotonic() > until:
            break
        for threads in options.threads:
            for contender in contenders:
                found = in_a_process(contender, folder, threads, options.prompt, options.tokens)
                print(f"{name}, {contender}, {threads}: {found}", file=sys.stderr, flush=True)
                if found is not None:
                    results.setdefault(f"{contender}, {threads}", []).append(found)
    return results


def bounds(config: ModelConfig) -> dict[str, float]:
    """The least CPU seconds in which the weights of each contender can be read."""
    sizes = {contender: int(matrix_numbers(config) * BYTES[contender]) for contender in (*OURS, *THEIRS)}
    read = {
        size: decode_lm.read_seconds(min(size, MOST_READ)) * size / min(size, MOST_READ) for size in {*sizes.values()}
    }
    return {contender: read[size] for contender, size in sizes.items()}


def figures(
    name: str, results: dict[str, list[dict[str, Any]]], read: dict[str, float], options: argparse.Namespace
) -> dict[str, Any]:
    """The best figures of each contender and number of threads. `read` is the result of `bounds`."""
    config = SHAPES[name]
    numbers = matrix_numbers(config)
    rows = []
    for key, runs in results.items():
        contender, _, threads = key.partition(", ")
        size = int(numbers * BYTES[contender])
        wall, cpu = (min(run["token"][k] for run in runs) for k in (0, 1))
        prompt_wall, prompt_cpu = (min(run["prompt"][k] for run in runs) for k in (0, 1))
        rows.append(
            {
                "contender": contender,
                "threads": int(threads),
                "tokens_per_s": 1 / wall,
                "tokens_per_cpu_s": 1 / cpu,
                "bound": read[contender] / cpu,
                "prompt_per_s": options.prompt / prompt_wall,
                "prompt_per_cpu_s": options.prompt / prompt_cpu,
                "load_s": min(run["load"][0] for run in runs),
                "peak_bytes": min(run["peak_bytes"] for run in runs),
                "process_bytes": min(run["process_bytes"] for run in runs),
                "weight_bytes": size,
                "cache_bytes": _cache_bytes(config, contender, options.prompt + options.tokens),
                "ids": runs[0]["ids"],
                "rounds": len(runs),
            }
        )
    rate = numbers * BYTES[PEER] / read[PEER]
    return {"model": name, "parameters": num_parameters(config), "rows": rows, "gb_per_s": rate / 1e9}


def _cache_bytes(config: ModelConfig, contender: str, tokens: int) -> int:
    """Bytes of keys and values: in float32 for each token, but llama.cpp's are float16 for its whole context."""
    if contender.startswith("llama.cpp"):
        return cache_bytes(config, 1, LLAMA_CPP_CONTEXT, number=2)
    return cache_bytes(config, 1, tokens, number=2 if contender == "transformers bfloat16" else 4)


def losses(steps: int) -> dict[str, Any]:
    """Perplexity on unseen text by the kind of weights, of a model trained for `steps` steps."""
    from fastlm.generation import KernelStep

    corpus, model, windows = decode_lm.learner(steps)
    found: dict[str, Any] = {}
    for kind in ("float32", "int8", "int4"):
        step = KernelStep(model, int8=kind == "int8", int4=kind == "int4")
        found[kind] = decode_lm.perplexity(model, step, windows)
    return {"corpus": corpus, "steps": steps, "tokens": windows.numel(), **found}


def report(races: list[dict[str, Any]], loss: dict[str, Any] | None, options: argparse.Namespace) -> str:
    """The figures as Markdown."""
    versions = {name: _version(name) for name in ("torch", "transformers", "numba", "xllamacpp")}
    load = os.getloadavg()
    lines = [
        "# Open models",
        "",
        "`python -m benchmarks.open_models --report` writes this page: models with the shapes of published ones and "
        f"random weights, one sequence, a prompt of {options.prompt} tokens and {options.tokens} tokens by greedy "
        "decoding. Files have bfloat16 weights. Each contender runs in its own process, after a tiny model of the same "
        "kind; of several rounds the best figure counts, of a round the median token.",
        "",
        f"{processor_name()}, {os.cpu_count()} processors, Python {platform.python_version()}, "
        + ", ".join(f"{name} {found}" for name, found in versions.items())
        + f". Load of the machine at the end: {load[0]:.1f}, {load[1]:.1f}, {load[2]:.1f}, for 1, 5 and 15 minutes.",
        "",
        "- *x transformers* compares tokens per CPU second with transformers in float32 and as many threads.",
        "- *% of the bound* is the CPU time in which a loop of one thread sums as many bytes as the weights have, "
        "divided by the CPU time of a token.",
        "- *prompt tokens/s* is the rate at which the prompt is processed.",
        "- *peak MB* is the peak of the resident memory less that before the model is loaded. *% of both* is its share "
        "of the weights, in the contender's form, and the cache of keys and values. *process MB* is the peak of the "
        "whole process.",
        "- *load s* is the time from the files to a model. Pages of mapped files are read later, with the prompt.",
    ]
    for found in races:
        lines += ["", *_section(found)]
    if loss is not None:
        changes = ", ".join(
            f"{kind} {loss[kind]:.4f} ({100 * (loss[kind] / loss['float32'] - 1):+.2f} %)" for kind in ("int8", "int4")
        )
        lines += [
            "",
            "## Perplexity",
            "",
            f"On {loss['tokens']:,} tokens of {loss['corpus']} that a model trained for {loss['steps']} steps has not "
            f"seen: float32 {loss['float32']:.4f}, {changes}.",
        ]
    return "\n".join(lines) + "\n"


def _section(found: dict[str, Any]) -> list[str]:
    """The table of one model."""
    peers = {row["threads"]: row for row in found["rows"] if row["contender"] == PEER}
    columns = (
        "weights, threads, tokens/s, tokens/CPU s, x transformers, % of the bound, prompt tokens/s, "
        "prompt tokens/CPU s, peak MB, weights MB, cache MB, % of both, process MB, load s"
    )
    rows = [columns.split(", ")]
    for row in found["rows"]:
        peer = peers.get(row["threads"])
        rows.append(
            [
                row["contender"],
                str(row["threads"]),
                number(row["tokens_per_s"]),
                number(row["tokens_per_cpu_s"]),
                "" if peer is None else f"{row['tokens_per_cpu_s'] / peer['tokens_per_cpu_s']:.2f}",
                f"{100 * row['bound']:.0f}",
                number(row["prompt_per_s"]),
                number(row["prompt_per_cpu_s"]),
                f"{row['peak_bytes'] / 1e6:,.0f}",
                f"{row['weight_bytes'] / 1e6:,.0f}",
                f"{row['cache_bytes'] / 1e6:,.0f}",
                f"{100 * row['peak_bytes'] / (row['weight_bytes'] + row['cache_bytes']):.0f}",
                f"{row['process_bytes'] / 1e6:,.0f}",
                f"{row['load_s']:.2f}",
            ]
        )
    same = [
        row["contender"]
        for row in found["rows"]
        if row["threads"] == 1 and row["contender"] != PEER and 1 in peers and row["ids"] == peers[1]["ids"]
    ]
    rounds = max((row["rounds"] for row in found["rows"]), default=0)
    return [
        f"## {found['model']}: {found['parameters']:,} parameters",
        "",
        f"Rounds: {rounds}. Memory is read at {found['gb_per_s']:.1f} GB/s. "
        + (f"The same tokens as transformers in float32: {', '.join(same)}." if same else ""),
        "",
        table(rows),
    ]


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=list(SHAPES), choices=list(SHAPES))
    parser.add_argument("--contenders", nargs="+", default=[*OURS, *THEIRS[:2]], choices=[*OURS, *THEIRS])
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--prompt", type=int, default=256, help="tokens of the prompt")
    parser.add_argument("--tokens", type=int, default=32, help="tokens to decode")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--minutes", type=float, default=12, help="no round but the first begins after these")
    parser.add_argument("--steps", type=int, default=0, help="training steps for the perplexity; 0 for none")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep the models in this folder, and use those in it")
    parser.add_argument("--prepare", action="store_true", help="make the models of --keep and nothing else")
    parser.add_argument("--report", action="store_true", help=f"write {REPORT.name}")
    options = parser.parse_args()
    until = time.monotonic() + 60 * options.minutes
    races = []
    with contextlib.ExitStack() as stack:
        root = options.keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for name in options.models:
            prepare(SHAPES[name], root / name, options.contenders)
            if not options.prepare:
                before = bounds(SHAPES[name])
                results = race(name, root / name, options.contenders, options, until)
                # the faster of two, as other programs may have slowed down the memory
                read = {contender: min(before[contender], after) for contender, after in bounds(SHAPES[name]).items()}
                races.append(figures(name, results, read, options))
    if options.prepare:
        return
    text = report(races, losses(options.steps) if options.steps else None, options)
    print(text)
    if options.report:
        REPORT.write_text(text)


if __name__ == "__main__":
    main()
