"""Programs that decode an open model on a processor, each measured in a process of its own.

`python -m benchmarks.decoders CONTENDER FOLDER` prints the figures of one as JSON. It first decodes a tiny model of the
same kind. So the modules, the code of libraries and the compiled kernels that a model of any size needs are not counted
with the memory and the time of the model in FOLDER.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from fastlm.process_memory import peak_bytes, resident_bytes

OURS = ("float32", "bfloat16", "int8", "int4")
THEIRS = ("transformers float32", "llama.cpp q8_0", "transformers bfloat16", "llama.cpp f32")
# bytes of a weight and of its share of a scale, as each contender reads them
BYTES = {
    "float32": 4.0,
    "bfloat16": 2.0,
    "int8": 1 + 4 / 64,
    "int4": 0.5 + 4 / 32,
    "transformers float32": 4.0,
    "transformers bfloat16": 2.0,
    "llama.cpp q8_0": 1 + 2 / 32,
    "llama.cpp f32": 4.0,
}
TINY = "tiny"  # the folder of the tiny model, in the folder of the other
LLAMA_CPP_CONTEXT = 512  # tokens for which llama.cpp has a cache
FIRST_ID = 100  # ids of prompts are ascending from here


class Clock:
    """Seconds since it was made, of the wall and of the processor."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def read(self) -> tuple[float, float]:
        """Wall seconds and CPU seconds."""
        return time.perf_counter() - self._wall, time.process_time() - self._cpu


def prompt_of(length: int) -> list[int]:
    """The ids of a prompt, which all models have."""
    return [FIRST_ID + number % 100 for number in range(length)]


def ours(folder: Path, kind: str, threads: int, prompt: int, tokens: int) -> dict[str, Any]:
    """Decodes greedily from the folder; an earlier call has packed its weights."""
    from fastlm.generation import KVCache, prefill
    from fastlm.generation.packed_files import MappedStep, decoding_model

    torch.set_num_threads(threads)  # torch processes the prompt of float32 weights
    clock = Clock()
    model, step = decoding_model(folder, kind=kind, num_threads=threads)  # type: ignore[arg-type]
    loaded = clock.read()
    cache = KVCache.empty(model, 1, prompt + tokens, torch.float32)
    read = step.prefill if isinstance(step, MappedStep) else partial(prefill, model)
    clock = Clock()
    logits = read([prompt_of(prompt)], cache)
    first = clock.read()

    def next_token() -> int:
        nonlocal logits
        token = logits.argmax(-1)
        logits = step(token, cache)
        return int(token)

    return {"load": loaded, "prompt": first, **_tokens(next_token, tokens)}


def transformers_generate(folder: Path, kind: str, threads: int, prompt: int, tokens: int) -> dict[str, Any]:
    """Decodes greedily with transformers' cache, token by token."""
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(threads)
    clock = Clock()
    dtype = torch.float32 if kind == "float32" else torch.bfloat16
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).eval()
    loaded = clock.read()
    with torch.inference_mode():
        clock = Clock()
        found = model(torch.tensor([prompt_of(prompt)]), use_cache=True, logits_to_keep=1)
        first = clock.read()

        def next_token() -> int:
            nonlocal found
            token = found.logits[:, -1].argmax(-1)
            found = model(token[None], past_key_values=found.past_key_values, use_cache=True)
            return int(token)

        return {"load": loaded, "prompt": first, **_tokens(next_token, tokens)}


def llama_cpp(folder: Path, kind: str, threads: int, prompt: int, tokens: int) -> dict[str, Any]:
    """Decodes with llama.cpp, by the package xllamacpp, whose server reports the time of each phase."""
    import xllamacpp

    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(folder / f"{kind}.gguf")
    parameters.n_ctx, parameters.n_parallel, parameters.warmup = LLAMA_CPP_CONTEXT, 1, True
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = threads
    clock = Clock()
    server = xllamacpp.Server(parameters)
    loaded = clock.read()
    request = {
        "prompt": prompt_of(prompt),
        "n_predict": tokens,
        "temperature": 0,
        "ignore_eos": True,
        "cache_prompt": False,
    }
    clock = Clock()
    answer = server.handle_completions(request)
    _, cpu = clock.read()
    timings = (answer if isinstance(answer, dict) else json.loads(answer))["timings"]
    if timings["prompt_n"] != prompt or timings["predicted_n"] != tokens:
        raise RuntimeError(f"llama.cpp processed {timings['prompt_n']} and made {timings['predicted_n']} tokens")
    # it tells the wall time of both phases, whose shares of the CPU time are taken to be the same
    walls = [timings["prompt_ms"] / 1e3, timings["predicted_ms"] / 1e3]
    both = [(wall, cpu * wall / sum(walls)) for wall in walls]
    each = tuple(seconds / tokens for seconds in both[1])
    return {"load": loaded, "prompt": both[0], "token": each, "ids": []}


def _tokens(next_token: Callable[[], int], count: int) -> dict[str, Any]:
    """The median seconds of a token, and the ids."""
    ids, times = [], []
    for _ in range(count):
        clock = Clock()
        ids.append(next_token())
        times.append(clock.read())
    return {"token": [statistics.median(of_one) for of_one in zip(*times, strict=True)], "ids": ids}


def measured(contender: str, folder: Path, threads: int, prompt: int, tokens: int) -> dict[str, Any]:
    """The figures of one contender, with the memory that the model adds, and the peak of the process."""
    program, _, kind = contender.rpartition(" ")
    decode = {"": ours, "transformers": transformers_generate, "llama.cpp": llama_cpp}[program]
    decode(folder / TINY, kind, threads, 16, 4)
    before = resident_bytes()
    found = decode(folder, kind, threads, prompt, tokens)
    return {**found, "peak_bytes": peak_bytes() - before, "process_bytes": peak_bytes()}


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("contender", choices=[*OURS, *THEIRS])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--prompt", type=int, default=256)
    parser.add_argument("--tokens", type=int, default=32)
    options = parser.parse_args()
    print(json.dumps(measured(options.contender, options.folder, options.threads, options.prompt, options.tokens)))


if __name__ == "__main__":
    main()
