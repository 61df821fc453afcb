"""Tokens a second at batch 1, against transformers' generate.

All have the same weights and go on greedily from the same prompt, and where they compute in float32 their tokens are
compared before anything is timed; then they take turns. What 8-bit weights lose is measured in perplexity, on stories
that a model, trained here for a short while, has not seen.
"""

from __future__ import annotations

import math
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numba import njit
from torch import Tensor

from benchmarks import END_OF_TEXT
from benchmarks.corpus import DEMO, documents, names
from benchmarks.device import clock
from benchmarks.tables import number, table
from fastlm import train_bpe
from fastlm.generation import Completion, KernelStep, KVCache, Step, generate, torch_step
from fastlm.model import ModelConfig, TransformerLM, linear_cross_entropy
from fastlm.model.hf import export_llama

PROMPT_LENGTH = 16
NEW_TOKENS = 120
PEER = "transformers generate, float32"
TOP_P = "kernel, float32, packed before, top-p 0.9"
INT8 = "kernel, int8, packed before"
ALL_LOGITS = "kernel, float32, all logits, packed before"
CHOSEN = "kernel, float32, as generate chooses it"
# learns something within a minute
LEARNER = ModelConfig(vocab_size=2000, context_length=128, d_model=192, num_layers=4, num_heads=6, d_ff=512)
BATCH = 16
READ_AT_ONCE = 1 << 23  # numbers


@njit(fastmath={"reassoc"})
def total(numbers: Any) -> Any:
    """The sum of an array, for which all of it is read, at four places at once, and little else is done."""
    part = len(numbers) // 4
    a, b, c, d = numbers[:part], numbers[part:], numbers[2 * part :], numbers[3 * part :]
    sum_a = sum_b = sum_c = sum_d = np.float32(0)
    for i in range(part):
        sum_a += a[i]
        sum_b += b[i]
        sum_c += c[i]
        sum_d += d[i]
    return sum_a + sum_b + sum_c + sum_d


def read_seconds(size: int) -> float:
    """The least CPU seconds that reading this number of bytes took."""
    numbers = np.ones(size // 4, np.float32)
    # in parts, because four places far apart, at a power of 2, halve the rate of some processors
    parts = [numbers[start : start + READ_AT_ONCE] for start in range(0, len(numbers), READ_AT_ONCE)]
    total(parts[-1])

    def passed() -> float:
        start = time.process_time()
        for part in parts:
            total(part)
        return time.process_time() - start

    return min(passed() for _ in range(30))


def weight_bytes(config: ModelConfig, kind: str) -> int:
    """Bytes of the matrices that a token is multiplied with; in 8 bits with a scale for each 64.

    Of float32's output layer those few rows are left out that are read to find the greatest logit.
    """
    heads = config.num_heads + 2 * config.kv_heads
    attention = config.head_width * config.d_model * (heads + config.num_heads)
    feed_forward = config.d_model * config.d_ff * (3 if config.ffn == "swiglu" else 2)
    layers, output = config.num_layers * (attention + feed_forward), config.vocab_size * config.d_model
    in_8_bits = {"float32": 0, "float32, greatest": output, "int8": layers + output}[kind]
    return 4 * (layers + output - in_8_bits) + in_8_bits + in_8_bits // 64 * 4


def race(config: ModelConfig, rounds: int, device: torch.device) -> dict[str, Any]:
    """All contenders in turns: tokens a second, and by what factor they exceed transformers."""
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    model = TransformerLM.from_config(config)
    ids = torch.randint(config.vocab_size, (PROMPT_LENGTH,)).tolist()
    prompt = torch.tensor([ids], device=device)
    with tempfile.TemporaryDirectory() as directory:
        export_llama(model, directory)
        llama = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).eval().to(device)
    model.to(device)

    def by_transformers() -> list[int]:
        whole = llama.generate(
            prompt,
            attention_mask=torch.ones_like(prompt),
            do_sample=False,
            max_new_tokens=NEW_TOKENS,
            min_new_tokens=NEW_TOKENS,
        )
        result: list[int] = whole[0, PROMPT_LENGTH:].tolist()
        return result

    def ours(**options: Any) -> list[int]:
        completion: Completion = generate(model, ids, max_new_tokens=NEW_TOKENS, **options)
        return completion.ids

    contenders: dict[str, Callable[[], list[int]]] = {
        PEER: by_transformers,
        "torch step, float32": partial(ours, temperature=0, step=torch_step(model)),
    }
    steps: dict[str, Step] = {}
    if device.type == "cpu":
        steps = {
            "float32": KernelStep(model),
            "float32, greatest": KernelStep(model, greatest=True),
            "int8": KernelStep(model, int8=True),
        }
        contenders |= {
            CHOSEN: partial(ours, temperature=0),
            ALL_LOGITS: partial(ours, temperature=0, step=steps["float32"]),
            TOP_P: partial(ours, top_p=0.9, step=steps["float32"]),
            INT8: partial(ours, temperature=0, step=steps["int8"]),
        }
    else:
        compiled = torch_step(model, compile=True)
        contenders["torch step, compiled"] = partial(ours, temperature=0, step=compiled)
    expected = by_transformers()
    for name, contender in contenders.items():
        if name not in (TOP_P, INT8) and contender() != expected:
            raise RuntimeError(f"{name}: other tokens than {PEER}")
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, contender in contenders.items():
            start = clock(device)
            contender()
            seconds[name].append(clock(device) - start)
    rates = {name: NEW_TOKENS / statistics.median(taken) for name, taken in seconds.items()}
    rows = [{"name": name, "tokens_per_s": rate, "ratio": rate / rates[PEER]} for name, rate in rates.items()]
    bounds = []
    for name, step in steps.items():
        size = weight_bytes(config, name)
        read, taken = read_seconds(size), step_seconds(model, step)
        bounds.append(
            {"name": name, "bytes": size, "bytes_per_s": size / read, "seconds": taken, "bound": read / taken}
        )
    return {"rounds": rounds, "contenders": rows, "bounds": bounds}


def step_seconds(model: TransformerLM, step: Step) -> float:
    """CPU seconds of a step alone, the least of those in the middle of the tokens timed."""
    cache = KVCache.empty(model, 1, PROMPT_LENGTH + NEW_TOKENS)
    token = torch.zeros(1, dtype=torch.int64)
    best = math.inf
    for _ in range(30):
        cache.lengths.fill_(PROMPT_LENGTH + NEW_TOKENS // 2)
        start = time.process_time()
        step(token, cache)
        best = min(best, time.process_time() - start)
    return best


def loss_of_int8(steps: int) -> dict[str, Any]:
    """Perplexity on held-out stories with float32 and int8 weights, of a model trained for `steps` steps."""
    corpus, model, windows = learner(steps)
    exact, small = (perplexity(model, KernelStep(model, int8=int8), windows) for int8 in (False, True))
    return {
        "corpus": corpus,
        "trained_tokens": steps * BATCH * LEARNER.context_length,
        "tokens": windows.numel(),
        "float32": exact,
        "int8": small,
        "loss": small / exact - 1,
    }


def learner(steps: int) -> tuple[str, TransformerLM, Tensor]:
    """The name of a corpus, a model trained on it for `steps` steps, and windows of it that the model has not seen."""
    corpus = "tinystories" if "tinystories" in names() else DEMO
    texts = documents(corpus)
    held_out, seen = texts[: len(texts) // 20], texts[len(texts) // 20 :]
    tokenizer = train_bpe(seen, LEARNER.vocab_size, [END_OF_TEXT])
    ids = torch.from_numpy(tokenizer.encode_to_numpy(END_OF_TEXT.join(seen)).astype(np.int64))
    length = LEARNER.context_length
    torch.manual_seed(0)
    model = TransformerLM.from_config(LEARNER)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps + 1)
    for _ in range(steps):
        starts = torch.randint(len(ids) - length, (BATCH,))
        batch = torch.stack([ids[start : start + length + 1] for start in starts.tolist()])
        loss = linear_cross_entropy(model.hidden(batch[:, :-1]), model.lm_head.weight, batch[:, 1:])
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
    unseen = torch.from_numpy(tokenizer.encode_to_numpy(END_OF_TEXT.join(held_out)).astype(np.int64))
    return corpus, model, unseen[: 40 * (length + 1)].view(-1, length + 1)


def perplexity(model: TransformerLM, step: Step, windows: Tensor) -> float:
    """exp of the mean loss of the step's predictions, token by token, in windows (B, T + 1)."""
    loss = 0.0
    for window in windows:
        cache = KVCache.empty(model, 1, windows.shape[1] - 1)
        for given, target in pairwise(window):
            logits = step(given.unsqueeze(0), cache)
            loss += float(logits.logsumexp(-1) - logits[0, target])
    return math.exp(loss / (windows.numel() - len(windows)))


def report(found: dict[str, Any]) -> str:
    """The figures as Markdown."""
    rows = [["greedy decoding unless said", "tokens/s", "x transformers"]]
    rows += [[row["name"], number(row["tokens_per_s"]), f"{row['ratio']:.2f}x"] for row in found["contenders"]]
    bounds = [["a step alone", "MB of weights", "read at GB/s", "ms", "% of the bound"]]
    for row in found["bounds"]:
        figures = (row["bytes"] / 1e6, row["bytes_per_s"] / 1e9, 1e3 * row["seconds"], 100 * row["bound"])
        bounds.append([row["name"], *map(number, figures)])
    sections = [
        f"{PROMPT_LENGTH} tokens of prompt, {NEW_TOKENS} new ones, one sequence, float32 unless said, medians of "
        f"{found['rounds']} rounds; the tokens were equal. Where generate chooses, those of the output layer that may "
        "have the greatest logit are found in 8 bits, and multiplied in float32.",
        table(rows),
    ]
    if found["bounds"]:
        sections += [
            "The bound is the time in which a loop that sums them, at four places at once, reads as many bytes.",
            table(bounds),
        ]
    if (loss := found.get("int8")) is not None:
        sections.append(
            f"8-bit weights, on {loss['tokens']:,} tokens of {loss['corpus']} that a model trained on "
            f"{loss['trained_tokens']:,} tokens has not seen: perplexity {loss['int8']:.4f} instead of "
            f"{loss['float32']:.4f}, {100 * loss['loss']:+.3f} %."
        )
    return "\n\n".join(["## Decoding", *sections])
