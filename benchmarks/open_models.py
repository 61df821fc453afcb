"""Tokens a second of open models on a processor, against transformers and llama.cpp.

`python -m benchmarks.open_models --report` writes benchmarks/OPEN_MODELS.md. The models have the shapes of published
ones and random weights, because the time of a token does not depend on them. Each contender runs in its own process,
whose peak memory is part of the result; they take turns.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from benchmarks import decode_lm
from benchmarks.tables import number, table
from fastlm.machine import processor_name
from fastlm.model import ModelConfig, TransformerLM
from fastlm.model.parameters import num_parameters, parameter_shapes
from fastlm.model.rope_scaling import RopeScaling
from fastlm.process_memory import peak_bytes, resident_bytes

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
OURS = ("float32", "bfloat16", "int8", "int4")
THEIRS = ("transformers float32", "transformers bfloat16", "llama.cpp q8_0", "llama.cpp f32")
PROMPT = 16
# bytes of a weight as each contender reads it
BYTES = {"float32": 4.0, "bfloat16": 2.0, "int8": 1 + 4 / 64, "int4": 0.5 + 4 / 32}


def synthetic(config: ModelConfig, dtype: torch.dtype) -> TransformerLM:
    """A model with random weights of about the size of a trained one's."""
    generator = torch.Generator().manual_seed(0)
    from fastlm.model.weights import Description, model_of

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


def ours(folder: Path, kind: str, threads: int, tokens: int) -> dict[str, Any]:
    """Decodes greedily from the folder; the first call of a kind has packed its weights already."""
    from fastlm.generation import KVCache
    from fastlm.generation.packed_files import MappedStep, decoding_model
    from fastlm.kernels.decode_lm import compiled

    compiled()
    before = resident_bytes()
    start = time.perf_counter()
    model, step = decoding_model(folder, kind=kind, num_threads=threads)  # type: ignore[arg-type]
    cache = KVCache.empty(model, 1, PROMPT + tokens, torch.float32)
    prompt = list(range(100, 100 + PROMPT))
    assert isinstance(step, MappedStep)  # positions of neither shape depend on the length
    logits = step.prefill([prompt], cache)
    first = time.perf_counter() - start
    ids, seconds, cpu = [], [], []
    for _ in range(tokens):
        token = logits.argmax(-1)
        ids.append(int(token))
        begun, used = time.perf_counter(), time.process_time()
        logits = step(token, cache)
        seconds.append(time.perf_counter() - begun)
        cpu.append(time.process_time() - used)
    return {"first_token_s": first, "wall": seconds, "cpu": cpu, "ids": ids, "before": before}


def transformers_generate(folder: Path, kind: str, threads: int, tokens: int) -> dict[str, Any]:
    """Decodes greedily with transformers' cache, token by token."""
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(threads)
    before = resident_bytes()
    start = time.perf_counter()
    dtype = torch.float32 if kind == "float32" else torch.bfloat16
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).eval()
    ids, seconds, cpu = [], [], []
    with torch.inference_mode():
        found = model(torch.arange(100, 100 + PROMPT)[None], use_cache=True, logits_to_keep=1)
        first = time.perf_counter() - start
        for _ in range(tokens):
            token = found.logits[:, -1].argmax(-1)
            ids.append(int(token))
            begun, used = time.perf_counter(), time.process_time()
            found = model(token[None], past_key_values=found.past_key_values, use_cache=True)
            seconds.append(time.perf_counter() - begun)
            cpu.append(time.process_time() - used)
    return {"first_token_s": first, "wall": seconds, "cpu": cpu, "ids": ids, "before": before}


def llama_cpp(folder: Path, kind: str, threads: int, tokens: int) -> dict[str, Any]:
    """Decodes with llama.cpp, by the package xllamacpp, whose server reports the time of each phase."""
    import xllamacpp

    before = resident_bytes()
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(folder / f"{kind}.gguf")
    parameters.n_ctx, parameters.n_parallel, parameters.warmup = 512, 1, True
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = threads
    server = xllamacpp.Server(parameters)
    request = {
        "prompt": list(range(100, 100 + PROMPT)),
        "n_predict": tokens,
        "temperature": 0,
        "ignore_eos": True,
        "cache_prompt": False,
    }
    used = time.process_time()
    answer = server.handle_completions(request)
    used = time.process_time() - used
    timings = (answer if isinstance(answer, dict) else json.loads(answer))["timings"]
    each = timings["predicted_ms"] / 1e3 / timings["predicted_n"]
    share = timings["predicted_ms"] / (timings["predicted_ms"] + timings["prompt_ms"])
    cpu = used * share / timings["predicted_n"]
    return {"first_token_s": timings["prompt_ms"] / 1e3, "wall": [each], "cpu": [cpu], "ids": [], "before": before}


def measured(contender: str, folder: Path, threads: int, tokens: int) -> dict[str, Any]:
    """One contender in this process."""
    if contender in OURS:
        found = ours(folder, contender, threads, tokens)
    elif contender.startswith("transformers"):
        found = transformers_generate(folder, contender.split()[1], threads, tokens)
    else:
        found = llama_cpp(folder, contender.split()[1], threads, tokens)
    wall, cpu = statistics.median(found.pop("wall")), statistics.median(found.pop("cpu"))
    growth = peak_bytes() - found.pop("before")
    return {**found, "wall_ms": 1e3 * wall, "cpu_ms": 1e3 * cpu, "peak_bytes": growth}


def in_a_process(contender: str, folder: Path, threads: int, tokens: int) -> dict[str, Any] | None:
    """One contender in its own process; None where its package is missing."""
    command = [sys.executable, "-m", "benchmarks.open_models", "--run", contender, "--folder", str(folder)]
    command += ["--threads", str(threads), "--tokens", str(tokens)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900)
    if done.returncode:
        print(f"{contender}: {done.stderr.strip().splitlines()[-1:]}", file=sys.stderr)
        return None
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def prepare(name: str, folder: Path, contenders: list[str]) -> None:
    """Writes a model of a shape in bfloat16, and what the contenders need of it."""
    from fastlm import Tokenizer
    from fastlm.generation.packed_files import decoding_model
    from fastlm.model.gguf import export_gguf
    from fastlm.model.hf import export_llama

    model = synthetic(SHAPES[name], torch.bfloat16)
    export_llama(model, folder)
    tokenizer = Tokenizer({byte: bytes([byte]) for byte in range(256)}, [], ["<|endoftext|>"])
    for contender in contenders:
        if contender == "llama.cpp q8_0":
            export_gguf(model, folder / "q8_0.gguf", tokenizer, kind="q8_0")
        elif contender == "llama.cpp f32":
            export_gguf(model, folder / "f32.gguf", tokenizer)
    del model
    for kind in ("int8", "int4"):
        if kind in contenders:
            decoding_model(folder, kind=kind)  # type: ignore[arg-type]


def race(name: str, contenders: list[str], threads: list[int], tokens: int, rounds: int) -> dict[str, Any]:
    """All contenders in turns."""
    config = SHAPES[name]
    results: dict[str, list[dict[str, Any]]] = {}
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory)
        prepare(name, folder, contenders)
        for _ in range(rounds):
            for number_of_threads in threads:
                for contender in contenders:
                    found = in_a_process(contender, folder, number_of_threads, tokens)
                    print(f"{name}, {contender}, {number_of_threads}: {found}", file=sys.stderr, flush=True)
                    if found is not None:
                        results.setdefault(f"{contender}, {number_of_threads}", []).append(found)
    numbers = matrix_numbers(config)
    read = {kind: decode_lm.read_seconds(int(min(numbers * size, 1 << 30))) for kind, size in BYTES.items()}
    rows = []
    for key, runs in results.items():
        contender, _, count = key.partition(", ")
        best = min(runs, key=lambda run: run["wall_ms"])
        size = numbers * BYTES.get(contender, 0)
        bound = 1e3 * read[contender] * size / min(size, 1 << 30) if size else None
        rows.append(
            {
                "contender": contender,
                "threads": int(count),
                "tokens_per_s": 1e3 / best["wall_ms"],
                "tokens_per_cpu_s": 1e3 / best["cpu_ms"],
                "bound": None if bound is None or count != "1" else bound / best["cpu_ms"],
                "peak_bytes": min(run["peak_bytes"] for run in runs),
                "weight_bytes": size or None,
                "first_token_s": min(run["first_token_s"] for run in runs),
                "ids": best["ids"],
            }
        )
    return {"model": name, "parameters": num_parameters(config), "rows": rows, "rounds": rounds, "tokens": tokens}


def losses(steps: int) -> dict[str, Any]:
    """Perplexity on unseen text by the kind of weights, of a model trained for `steps` steps."""
    from fastlm.generation import KernelStep

    corpus, model, windows = decode_lm.learner(steps)
    found: dict[str, Any] = {}
    for kind in ("float32", "int8", "int4"):
        step = KernelStep(model, int8=kind == "int8", int4=kind == "int4")
        found[kind] = decode_lm.perplexity(model, step, windows)
    return {"corpus": corpus, "steps": steps, "tokens": windows.numel(), **found}


def report(races: list[dict[str, Any]], loss: dict[str, Any] | None) -> str:
    """The figures as Markdown."""
    versions = {name: _version(name) for name in ("torch", "transformers", "numba", "xllamacpp")}
    load = os.getloadavg()
    lines = [
        "# Open models",
        "",
        "`python -m benchmarks.open_models --report` writes this page: greedy decoding of models with the shapes of "
        "published ones and random weights, one sequence. Files have bfloat16 weights. Each contender runs in its own "
        "process; of several rounds the fastest counts, of a round the median token.",
        "",
        f"{processor_name()}, {os.cpu_count()} processors, Python {platform.python_version()}, "
        + ", ".join(f"{name} {found}" for name, found in versions.items())
        + f". Load of the machine at the end: {load[0]:.1f}, {load[1]:.1f}, {load[2]:.1f}, for 1, 5 and 15 minutes.",
        "",
        "*% of the bound* is the CPU time in which a loop sums as many bytes as the weights have, divided by the CPU "
        "time of a token. *peak* is the growth of the resident memory of the process from before it loads the model; "
        "pages of mapped files count. llama.cpp's first token leaves out its start.",
    ]
    for found in races:
        rates = {(row["contender"], row["threads"]): row["tokens_per_cpu_s"] for row in found["rows"]}
        columns = (
            "weights, threads, tokens/s, tokens/CPU s, x transformers float32, % of the bound, peak MB, weights MB"
        )
        rows = [[*columns.split(", "), "first token s"]]
        for row in found["rows"]:
            reference = rates.get(("transformers float32", row["threads"]))
            rows.append(
                [
                    row["contender"],
                    str(row["threads"]),
                    number(row["tokens_per_s"]),
                    number(row["tokens_per_cpu_s"]),
                    "" if reference is None else f"{row['tokens_per_cpu_s'] / reference:.2f}",
                    "" if row["bound"] is None else f"{100 * row['bound']:.0f}",
                    f"{row['peak_bytes'] / 1e6:,.0f}",
                    "" if row["weight_bytes"] is None else f"{row['weight_bytes'] / 1e6:,.0f}",
                    f"{row['first_token_s']:.2f}",
                ]
            )
        title = f"## {found['model']}: {found['parameters']:,} parameters"
        lines += ["", title, "", f"{found['tokens']} tokens, {found['rounds']} rounds.", "", table(rows)]
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


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=list(SHAPES), choices=list(SHAPES))
    parser.add_argument("--contenders", nargs="+", default=[*OURS, *THEIRS[:3]], choices=[*OURS, *THEIRS])
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=0, help="training steps for the perplexity; 0 for none")
    parser.add_argument("--report", action="store_true", help=f"write {REPORT.name}")
    parser.add_argument("--run", choices=[*OURS, *THEIRS], help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run is not None:
        print(json.dumps(measured(options.run, options.folder, options.threads[0], options.tokens)))
        return
    races = [race(name, options.contenders, options.threads, options.tokens, options.rounds) for name in options.models]
    text = report(races, losses(options.steps) if options.steps else None)
    print(text)
    if options.report:
        REPORT.write_text(text)


if __name__ == "__main__":
    main()
