"""How well the model learns, against transformers' Llama: `python -m benchmarks.quality`.

Both start from the same weights and see the same batches of TinyStories, or of the demo's text where that is absent,
with the same optimizer and schedule, on one thread in float32: fastlm by its own training loop, Llama by a plain one.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F  # noqa: N812

from benchmarks import END_OF_TEXT
from benchmarks.corpus import DEMO, documents, names
from benchmarks.device import machine
from benchmarks.tables import number, table
from fastlm import Tokenizer, train_bpe
from fastlm.generation import generate
from fastlm.model import ModelConfig, TransformerLM
from fastlm.model.files import load_model
from fastlm.model.hf import export_llama
from fastlm.training import TrainingConfig, clip_gradients, cosine_schedule, train
from fastlm.training.data import TokenFiles, window_starts
from fastlm.training.evaluation import bytes_of_ids
from fastlm.training.log import read_log
from fastlm.training.optimizer import make_optimizers, set_learning_rate

RESULTS = Path(__file__).with_name("QUALITY.md")
VOCAB_SIZE = 4096
EVALUATED = 256
PROMPTS = ("Once upon a time", "The little dog", "Lily and Tom")


def prepare(directory: Path, steps: int) -> tuple[TrainingConfig, Tokenizer, str]:
    """A tokenizer, ids to learn and to evaluate on, and the settings of the run."""
    corpus = "tinystories" if "tinystories" in names() else DEMO
    texts = documents(corpus)
    held_out, seen = texts[: len(texts) // 20], texts[len(texts) // 20 :]
    tokenizer = train_bpe(seen, VOCAB_SIZE, [END_OF_TEXT])
    tokenizer.save(directory)
    for name, of_it in (("train.npy", seen), ("valid.npy", held_out)):
        np.save(directory / name, tokenizer.encode_to_numpy(END_OF_TEXT.join(of_it)).astype(np.uint16))
    config = TrainingConfig(
        model=ModelConfig(vocab_size=VOCAB_SIZE, context_length=128, d_model=192, num_layers=4, num_heads=6, d_ff=512),
        out=str(directory / "run"),
        train_data=(str(directory / "train.npy"),),
        validation_data=(str(directory / "valid.npy"),),
        tokenizer=str(directory),
        steps=steps,
        batch_size=16,
        learning_rate=3e-3,
        min_learning_rate=3e-4,
        warmup_steps=steps // 20,
        log_every=max(1, steps // 10),
        eval_every=steps,
        eval_sequences=EVALUATED,
        checkpoint_every=steps,
        precision="float32",
        device="cpu",
    )
    return config, tokenizer, corpus


def of_fastlm(config: TrainingConfig) -> tuple[dict[str, float], Path]:
    start = time.process_time()
    train(config)
    seconds = time.process_time() - start
    evaluated = next(line for line in reversed(read_log(Path(config.out) / "log.jsonl")) if "valid_loss" in line)
    figures = {"loss": evaluated["valid_loss"], "bits_per_byte": evaluated["valid_bits_per_byte"]}
    return {**figures, "cpu_seconds": seconds}, Path(config.out) / "model"


def of_transformers(config: TrainingConfig, tokenizer: Tokenizer) -> dict[str, float]:
    from transformers import AutoModelForCausalLM

    torch.manual_seed(config.seed)
    with tempfile.TemporaryDirectory() as directory:
        export_llama(TransformerLM.from_config(config.model), directory)
        model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).train()
    shape = config.model
    data = TokenFiles(config.train_data, shape.vocab_size, shape.context_length)
    optimizers = make_optimizers(model, config)
    start = time.process_time()
    for step in range(1, config.steps + 1):
        windows = data.windows(window_starts(config.seed, step, config.batch_size, data.num_starts))
        loss = _loss(model, windows)
        loss.backward()  # type: ignore[no-untyped-call]
        clip_gradients(model.parameters(), config.max_gradient_norm or math.inf)
        rate = cosine_schedule(step, config.learning_rate, config.min_learning_rate, config.warmup_steps, config.steps)
        set_learning_rate(optimizers, rate)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
    valid = TokenFiles(config.validation_data, shape.vocab_size, shape.context_length)
    windows = valid.windows(valid.spread(EVALUATED))
    with torch.no_grad():
        mean = float(
            torch.stack([_loss(model, part) * len(part) for part in torch.split(windows, 16)]).sum() / len(windows)
        )
    seconds = time.process_time() - start
    text_bytes = int(bytes_of_ids(tokenizer, shape.vocab_size)[windows[:, 1:]].sum())
    bits = mean * windows[:, 1:].numel() / math.log(2) / text_bytes
    return {"loss": mean, "bits_per_byte": bits, "cpu_seconds": seconds}


def _loss(model: Any, windows: torch.Tensor) -> torch.Tensor:
    logits = model(windows[:, :-1], use_cache=False).logits
    return F.cross_entropy(logits.flatten(0, 1), windows[:, 1:].flatten())


def samples(folder: Path, tokenizer: Tokenizer) -> list[str]:
    model = load_model(folder, tokenizer)
    found = generate(model, list(PROMPTS), tokenizer, max_new_tokens=80, temperature=0.7, top_p=0.9, seed=0)
    return [f"{prompt}{one.text}" for prompt, one in zip(PROMPTS, found, strict=True)]


def report(found: dict[str, Any]) -> str:
    """The figures as Markdown."""
    facts = "\n".join(f"- {name}: {value}" for name, value in found["machine"].items())
    rows = [["", "validation loss", "bits per byte", "CPU minutes", "tokens per CPU second"]]
    for name in ("fastlm", "transformers"):
        figures = found[name]
        rows.append(
            [
                name,
                f"{figures['loss']:.4f}",
                f"{figures['bits_per_byte']:.4f}",
                f"{figures['cpu_seconds'] / 60:.1f}",
                number(found["tokens"] / figures["cpu_seconds"]),
            ]
        )
    model = ", ".join(f"{name} {value}" for name, value in found["model"].items() if isinstance(value, int))
    return (
        "\n\n".join(
            [
                "# What the model learns",
                "Written by `python -m benchmarks.quality`. " + " ".join((__doc__ or "").split("\n\n", 1)[1].split()),
                facts + f"\n- text: {found['corpus']}, {found['tokens']:,} tokens seen\n- model: {model}",
                table(rows),
                "What it writes, at temperature 0.7 and top-p 0.9:",
                *("> " + text.strip().replace("\n", "\n> ") for text in found["samples"]),
            ]
        )
        + "\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=600, help="of 2,048 tokens")
    parser.add_argument("--json", type=Path, help="also write all figures here")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as directory:
        config, tokenizer, corpus = prepare(Path(directory), options.steps)
        ours, folder = of_fastlm(config)
        found = {
            "corpus": corpus,
            "tokens": config.steps * config.batch_size * config.model.context_length,
            "model": config.model.to_dict(),
            "fastlm": ours,
            "transformers": of_transformers(config, tokenizer),
            "samples": samples(folder, tokenizer),
            "machine": machine(torch.device("cpu")),
        }
    text = report(found)
    RESULTS.write_text(text)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
