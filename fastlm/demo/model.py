"""`fastlm demo --model`: from text to a tokenizer, token ids, a trained model, and generated text."""

from __future__ import annotations

import json
import shlex
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from fastlm.bpe_training.trainer import train_bpe
from fastlm.corpus.shard_formats import ids_dtype
from fastlm.demo.table import DemoTable, next_lines
from fastlm.demo.texts import END_OF_TEXT, prose
from fastlm.demo.tokenizer import longest_words
from fastlm.files.atomic import write_files
from fastlm.files.reading import read_text
from fastlm.generation import generate, stream
from fastlm.model.config import ModelConfig
from fastlm.model.files import load_model
from fastlm.model.parameters import num_parameters
from fastlm.model.transformer import TransformerLM
from fastlm.text.escapes import escaped
from fastlm.tokenizer import Tokenizer
from fastlm.training import TrainingConfig, train
from fastlm.training.checkpoint import read_checkpoint

VOCAB_SIZE = 2048
STEPS = 700
# the first of each 20 documents is for validation
EVALUATED = 20
# checkpoints, each of which writes a sample
SAMPLED = 4
PROMPTS = 3
SAMPLING: dict[str, Any] = {"temperature": 0.7, "top_p": 0.9}
BARS = "▁▂▃▄▅▆▇█"


def run_model_demo(source: Path | None, out: Path | None) -> None:
    """Trains a tokenizer and a small model, prints the losses, and generates text.

    Args:
        source: A UTF-8 file of text; None for prose that ships with CPython.
        out: Directory that keeps tokenizer, ids, the run, the model and a report; None to keep nothing.

    Raises:
        OSError: A file cannot be read or written.
        ValueError: The file is not UTF-8, or has too few documents.
    """
    with tempfile.TemporaryDirectory() as temporary:
        directory = Path(temporary) if out is None else out
        documents = prose() if source is None else _documents(source)
        report = DemoTable()
        start = time.perf_counter()
        tokenizer = _tokenizer(documents, directory)
        tokens = _ids(documents, tokenizer, directory)
        name = "prose that ships with CPython" if source is None else str(source)
        count = f"{sum(map(len, documents)) / 1e6:,.2f} M characters in {len(documents):,} documents"
        report.add("text", f"{name}: {count}")
        report.add("tokenizer and ids", f"{time.perf_counter() - start:.1f} s, {tokens:,} tokens")
        report.add("longest words", longest_words(tokenizer))
        config = _config(tokenizer, directory)
        report.add("model", f"{num_parameters(config.model):,} parameters")
        start = time.perf_counter()
        train(config)
        folder = Path(config.out) / "model"
        seconds = time.perf_counter() - start
        trained = config.steps * config.batch_size * config.model.context_length
        report.add("training", f"{seconds:.1f} s, {trained:,} tokens, {trained / seconds:,.0f} tokens/s")
        _add_losses(report, directory / "log.jsonl")
        written = [f"{report.text()}\n"]
        print(written[0])
        prompts = _prompts(documents)
        model = load_model(folder, tokenizer)
        for line in _samples(model, tokenizer, directory / "checkpoints", prompts[0]):
            print(line)
            written.append(line)
        written += _finale(model, tokenizer, prompts)
        if out is not None:
            write_files(out, {"report.txt": "\n".join([*written, ""]).encode()})
            print(f"\nkept in {escaped(str(out))}: the tokenizer, the ids, log.jsonl, the model in model/, report.txt")
        print(_next(out, prompts[0]))


def _next(out: Path | None, prompt: str) -> str:
    """The commands to run after the demo."""
    if out is None:
        return next_lines(["fastlm demo --model --out kept"])
    model, folder = shlex.quote(str(out / "model")), shlex.quote(str(out))
    return next_lines(
        [
            f"fastlm generate {model} --prompt {shlex.quote(prompt)} --temperature 0.7",
            f"fastlm report --run {folder}",
            f"fastlm export {model} --out {shlex.quote(str(out / 'llama'))}",
        ]
    )


def _documents(source: Path) -> list[str]:
    """The documents of a file: its parts between end-of-text tokens, or its paragraphs if it has no such token."""
    text = read_text(source)
    documents = text.split(END_OF_TEXT if END_OF_TEXT in text else "\n\n")
    if len(documents) < 2 * EVALUATED:
        raise ValueError(f"{source}: {len(documents)} documents or paragraphs; the demo needs {2 * EVALUATED}")
    return documents


def _tokenizer(documents: list[str], directory: Path) -> Tokenizer:
    """Trains and saves a tokenizer."""
    with warnings.catch_warnings():
        # a short text has too few pairs for the vocabulary size
        warnings.simplefilter("ignore", UserWarning)
        tokenizer = train_bpe(documents, VOCAB_SIZE, [END_OF_TEXT])
    tokenizer.save(directory)
    return tokenizer


def _ids(documents: list[str], tokenizer: Tokenizer, directory: Path) -> int:
    """Writes train.npy and valid.npy. Returns the number of ids in the first."""
    end = np.array(tokenizer.encode(END_OF_TEXT), ids_dtype("npy", len(tokenizer.vocabulary)))
    lengths = {}
    for name, chosen in {"train.npy": False, "valid.npy": True}.items():
        texts = [text for number, text in enumerate(documents) if (number % EVALUATED == 0) == chosen]
        ids, offsets = tokenizer.encode_batch_flat(texts)
        with_ends = np.insert(ids.astype(end.dtype), offsets[1:], end[0])
        lengths[name] = len(with_ends)
        file = BytesIO()
        np.save(file, with_ends)
        write_files(directory, {name: file.getvalue()})
    return lengths["train.npy"]


def _config(tokenizer: Tokenizer, directory: Path) -> TrainingConfig:
    return TrainingConfig(
        model=ModelConfig(
            vocab_size=tokenizer.vocab_size, context_length=128, d_model=128, num_layers=4, num_heads=4, d_ff=344
        ),
        out=str(directory),
        train_data=(str(directory / "train.npy"),),
        validation_data=(str(directory / "valid.npy"),),
        tokenizer=str(directory),
        steps=STEPS,
        batch_size=16,
        learning_rate=4e-3,
        min_learning_rate=4e-4,
        warmup_steps=STEPS // 20,
        log_every=STEPS // 60,
        eval_every=STEPS // 4,
        eval_sequences=64,
        checkpoint_every=STEPS // SAMPLED,
        keep_checkpoints=SAMPLED,
        precision="float32",
        device="cpu",
    )


def _logged(log: Path, name: str) -> dict[int, float]:
    """The logged values of a name by step."""
    lines = map(json.loads, log.read_text("utf-8").splitlines())
    return {line["step"]: line[name] for line in lines if name in line}


def _add_losses(report: DemoTable, log: Path) -> None:
    losses = list(_logged(log, "loss").values())
    low, high = min(losses), max(losses)
    drawn = "".join(BARS[round((loss - low) / max(high - low, 1e-9) * (len(BARS) - 1))] for loss in losses)
    report.add("loss", f"{losses[0]:.2f} {drawn} {losses[-1]:.2f}")
    bits = _logged(log, "valid_bits_per_byte")
    for step, loss in _logged(log, "valid_loss").items():
        report.add(f"  evaluated, step {step}", f"loss {loss:.3f}, {bits[step]:.3f} bits per byte")


def _prompts(documents: list[str]) -> list[str]:
    """The most frequent beginnings of documents, of two words each, with different first words."""
    beginnings = Counter(" ".join(document.split()[:2]) for document in documents)
    found: dict[str, str] = {}
    for beginning, _ in beginnings.most_common():
        if beginning:
            found.setdefault(beginning.split()[0], beginning)
    return list(found.values())[:PROMPTS] or ["The"]


def _samples(model: TransformerLM, tokenizer: Tokenizer, checkpoints: Path, prompt: str) -> Iterator[str]:
    """Lines of text from the weights of each checkpoint, of which only the newest is kept."""
    yield f"what it writes after {escaped(prompt)!r}:"
    paths = sorted(checkpoints.glob("step-*.safetensors"))
    for path in paths:
        _, tensors, document = read_checkpoint(path)
        weights = {name.removeprefix("model."): value for name, value in tensors.items() if name.startswith("model.")}
        model.load_state_dict(weights, rope_layout=model.config.rope_layout)
        found = generate(model, prompt, tokenizer, max_new_tokens=30, seed=0, **SAMPLING)
        text = " ".join((found.text or "").split())
        yield f"  step {document['iteration']:>4}: {escaped(prompt)} {escaped(text)}"
        if path != paths[-1]:
            path.unlink()


def _finale(model: TransformerLM, tokenizer: Tokenizer, prompts: list[str]) -> list[str]:
    """Prints a text for each prompt while it is generated. Returns the lines."""
    lines = ["", "and in full:"]
    print("\n".join(lines))
    for seed, prompt in enumerate(prompts):
        shown = f"--- {prompt}"
        sys.stdout.write(escaped(shown))
        for piece in stream(model, prompt, tokenizer, max_new_tokens=90, seed=seed, **SAMPLING):
            shown += piece
            sys.stdout.write(escaped(piece, keep="\n\t"))
            sys.stdout.flush()
        sys.stdout.write("\n")
        lines.append(escaped(shown, keep="\n\t"))
    return lines
