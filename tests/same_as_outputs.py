"""The program that `python -m tests.same_as` runs in each of two checkouts.

It uses the public API and the command line only, with names that old and new versions accept, and imports nothing from
the checkout that it is stored in. It prints one JSON object: the name of an output -> a SHA-256 or a short text.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import json
import logging
import random
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

SEPARATOR = "<|endoftext|>"
LONGEST_FOR_OFFSETS = 200_000  # bytes; offsets and the slow compatibility calls take part of each text
PATTERNS = ("gpt2", "cl100k_base", "o200k_base", "llama3", "qwen2", "deepseek-v3", "tekken", "starcoder", r"\w+|\W+")
GPT2 = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"
CL100K = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|"
    r"\s*[\r\n]|\s+(?!\S)|\s"
)
CONFIG = """
out = "training"
train_data = ["shards-npy/train-00000.npy"]
valid_data = ["shards-npy/val-00000.npy"]
tokenizer = "trained"
steps = 6
batch_size = 4
learning_rate = 1e-2
warmup_steps = 2
log_every = 2
eval_every = 3
eval_sequences = 8
checkpoint_every = 2
device = "cpu"
precision = "float32"

[model]
vocab_size = 600
context_length = 32
d_model = 32
num_layers = 2
num_heads = 4
d_ff = 48
num_kv_heads = 2
rope_theta = 10000.0
"""

outputs: dict[str, str] = {}


def digest(*values: Any) -> str:
    """SHA-256 of bytes, texts, arrays, and everything that JSON holds."""
    total = hashlib.sha256()
    for value in values:
        if isinstance(value, bytes):
            total.update(value)
        elif isinstance(value, np.ndarray):
            total.update(f"{value.dtype.str}{value.shape}".encode() + value.tobytes())
        else:
            total.update(json.dumps(value, ensure_ascii=True, sort_keys=True, default=repr).encode())
    return total.hexdigest()


def record(name: str, make: Callable[[], Any]) -> Any:
    """Keeps the digest of a result, or the type of the exception; returns the result, or None."""
    try:
        result = make()
    except Exception as error:  # noqa: BLE001 - an exception is an output that both checkouts must share
        outputs[name] = f"{type(error).__name__}"
        return None
    outputs[name] = digest(*result) if isinstance(result, tuple) else digest(result)
    return result


def record_files(name: str, folder: Path) -> None:
    """Keeps the digest of every file below a folder, and of the tensors of each safetensors file."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            content = path.read_bytes()
            key = f"{name}/{path.relative_to(folder)}"
            outputs[key] = digest(content)
            if path.suffix == ".safetensors":
                outputs[f"{key}/tensors"] = digest(tensors_of(content))
            elif path.name == "log.jsonl":
                outputs[f"{key}/losses"] = digest(losses_of(content))


def tensors_of(content: bytes) -> dict[str, tuple[str, list[int], str]]:
    """Name -> dtype, shape and digest of each tensor of a safetensors file."""
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:start])
    header.pop("__metadata__", None)
    tensors = {}
    for name, entry in header.items():
        first, end = entry["data_offsets"]
        tensors[name] = (entry["dtype"], entry["shape"], digest(content[start + first : start + end]))
    return tensors


def losses_of(content: bytes) -> list[list[float]]:
    """The numbers of a training log that depend on no clock: steps, losses, norms of gradients."""
    records = [json.loads(line) for line in content.splitlines()]
    return [
        [value for name, value in record.items() if name in ("step", "gradient_norm") or name.endswith("loss")]
        for record in records
    ]


def hostile_strings(count: int) -> list[str]:
    """Random strings of rare whitespace, contractions, case changes, special tokens and characters of all planes."""
    rng = random.Random(1)
    pieces = [*" \n\r\t'", "'s", "'LL", "  ", "\r\n", "a", "B", "the", "123", "٣", "中", "é", "ſ", "\u3000", "\u0301"]
    pieces += ["!", "...", "\u200d", "👩‍👩‍👧", "\x00", SEPARATOR, "<|im_start|>", "[MASK]", "<mask>", "/", "x" * 70]
    strings = []
    for _ in range(count):
        parts = rng.choices(pieces, k=rng.randrange(30))
        parts += [chr(rng.choice([rng.randrange(0xD800), rng.randrange(0xE000, 0x110000)])) for _ in range(3)]
        rng.shuffle(parts)
        strings.append("".join(parts))
    return strings


# --- ids ---


def vocabularies(data: Path) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Name and loader of every vocabulary of the shared data."""
    from fastlm import Tokenizer, load

    for path in sorted([*data.glob("vectors/*.tiktoken"), *data.glob("vocabs/*.tiktoken")]):
        pattern = "gpt2" if path.parent.name == "vocabs" else None
        yield path.stem, lambda path=path, pattern=pattern: load(path, pattern=pattern)
    tokenizer_files = [*data.glob("vectors/*.tokenizer.json"), *data.glob("tokenizers/*/*.json")]
    for path in sorted(tokenizer_files):
        if path.name in ("tokenizer.json", "claude.json") or path.name.endswith(".tokenizer.json"):
            yield "/".join(path.parts[-2:]), lambda path=path: load(path)
    vectors = data / "vectors"
    for name, pattern in (("gpt2", "gpt2"), ("llamacpp_starcoder", "starcoder")):
        vocab, merges = (next(vectors.glob(f"{name}?{file}")) for file in ("vocab.json", "merges.txt"))
        yield name, lambda vocab=vocab, merges=merges, pattern=pattern: Tokenizer.from_files(vocab, merges, (), pattern)


def record_ids(name: str, tokenizer: Any, texts: dict[str, str], strings: list[str]) -> None:
    """Ids of all texts and strings by all encode methods, and the text that decoding gives."""
    for text_name, text in texts.items():
        key = f"ids/{name}/{text_name}"
        ids = record(key, lambda text=text: tokenizer.encode_to_numpy(text))
        if ids is None:
            continue
        record(f"{key}/threads", lambda text=text: tokenizer.encode_to_numpy(text, num_threads=2))
        record(f"{key}/decoded", lambda ids=ids: tokenizer.decode_bytes(ids))
        lines = text.splitlines(keepends=True)
        record(f"{key}/lines", lambda lines=lines: tuple(tokenizer.encode_batch_flat(lines, on_special="text")))
        part = text[:LONGEST_FOR_OFFSETS]
        record(f"{key}/offsets", lambda part=part: tuple(tokenizer.encode_with_offsets(part)))
        record(f"{key}/iterable", lambda part=part: list(tokenizer.encode_iterable(part.splitlines(keepends=True))))
        record(f"{key}/count", lambda text=text: tokenizer.count(text))
    for on_special in ("token", "text"):
        record(
            f"ids/{name}/strings/{on_special}",
            lambda on_special=on_special: [tokenizer.encode(text, on_special=on_special) for text in strings],
        )
    record(f"ids/{name}/strings/batch", lambda: tokenizer.encode_batch(strings, num_threads=2))
    record(f"ids/{name}/strings/upto", lambda: [tokenizer.encode_upto(text, 5) for text in strings])
    record(f"ids/{name}/strings/ordinary", lambda: [tokenizer.encode_ordinary(text) for text in strings])


def record_vocabulary(name: str, tokenizer: Any, folder: Path) -> None:
    """Tokens, merges, special tokens and the files of every format."""
    record(f"vocabulary/{name}/tokens", lambda: tuple(x for item in tokenizer.vocab.items() for x in item))
    record(f"vocabulary/{name}/merges", lambda: tuple(x for pair in tokenizer.merges for x in pair))
    record(f"vocabulary/{name}/special", lambda: tokenizer.special_tokens)
    for file_format in (None, "fastlm", "tokenizer.json", "gpt2", "tiktoken", "minbpe"):
        key = f"saved/{name}/{file_format}"
        formats = None if file_format is None else [file_format]
        target = folder / key
        if record(key, lambda target=target, formats=formats: sorted(p.name for p in tokenizer.save(target, formats))):
            record_files(key, target)


# --- the compatibility layers ---


def record_compat(data: Path, texts: dict[str, str], strings: list[str]) -> None:
    import base64

    from fastlm.compat import tiktoken, tokenizers

    part = {name: text[:LONGEST_FOR_OFFSETS] for name, text in texts.items()}
    for name, pattern in (("r50k_base", GPT2), ("cl100k_base", CL100K)):
        lines = (data / "vectors" / f"{name}.tiktoken").read_bytes().splitlines()
        ranks = {base64.b64decode(token): int(rank) for token, rank in (line.split() for line in lines if line)}
        special = {SEPARATOR: len(ranks)}
        encoding = tiktoken.Encoding(name, pat_str=pattern, mergeable_ranks=ranks, special_tokens=special)
        for text_name, text in part.items():
            record(f"tiktoken/{name}/{text_name}", lambda e=encoding, t=text: e.encode(t, allowed_special="all"))
        record(f"tiktoken/{name}/strings", lambda e=encoding: [e.encode_ordinary(text) for text in strings])
        record(
            f"tiktoken/{name}/unstable",
            lambda e=encoding: [e.encode_with_unstable(text, disallowed_special=()) for text in strings[:200]],
        )
        record(f"tiktoken/{name}/refused", lambda e=encoding: e.encode(SEPARATOR))
    for path in sorted([*data.glob("vectors/*.tokenizer.json"), *data.glob("tokenizers/*/tokenizer.json")]):
        name = "/".join(path.parts[-2:])
        tokenizer = record_object(f"tokenizers/{name}", lambda path=path: tokenizers.Tokenizer.from_file(str(path)))
        if tokenizer is None:
            continue
        record(f"tokenizers/{name}/to_str", tokenizer.to_str)
        batch = [*strings, *(line for text in part.values() for line in text.splitlines()[:500])]
        found = tokenizer.encode_batch(batch)
        record(
            f"tokenizers/{name}/encodings",
            lambda found=found: [(e.ids, e.offsets, e.tokens, e.word_ids) for e in found],
        )
        record(f"tokenizers/{name}/decoded", lambda t=tokenizer, found=found: t.decode_batch([e.ids for e in found]))


def record_object(name: str, make: Callable[[], Any]) -> Any:
    """The object, or None with the type of its exception kept."""
    try:
        return make()
    except Exception as error:  # noqa: BLE001 - an exception is an output that both checkouts must share
        outputs[name] = type(error).__name__
        return None


# --- training, shards, models ---


def record_merges(texts: dict[str, str], folder: Path) -> None:
    """Merges of every pattern and option of train_bpe."""
    from fastlm import train_bpe

    mixed = [text[:150_000] for text in texts.values()]
    options: dict[str, dict[str, Any]] = {f"pattern {pattern}": {"pattern": pattern} for pattern in PATTERNS}
    options |= {
        "hf ties": {"tie_break": "hf"},
        "frequent": {"min_frequency": 20},
        "short": {"max_token_length": 4},
        "special": {"special_tokens": [SEPARATOR, "<|user|>", "the"]},
        "checkpoint": {"checkpoint": folder / "bpe-checkpoint", "checkpoint_seconds": 1e-9},
        "one thread": {"num_threads": 1},
    }
    for name, given in options.items():
        merges = train_bpe(mixed, 1500, **given).merges
        outputs[f"merges/{name}"] = digest(*(token for pair in merges for token in pair))
    small = train_bpe(mixed[:1], 400)
    grown = train_bpe(mixed, 1500, base=small)
    outputs["merges/grown"] = digest(*(token for pair in grown.merges for token in pair))
    outputs["merges/truncated"] = digest(*(token for pair in grown.truncated(700).merges for token in pair))


def command(*arguments: str) -> bytes:
    """Runs a command of fastlm and returns what it prints; a failure ends the program."""
    from fastlm.cli import main

    printed, messages = io.TextIOWrapper(io.BytesIO(), "utf-8"), io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(messages):
        status = main(list(arguments))
    if status != 0:
        raise SystemExit(f"fastlm {' '.join(arguments)}: status {status}: {messages.getvalue()}")
    printed.flush()
    return printed.buffer.getvalue()


def record_commands(inputs: Path, folder: Path) -> None:
    """Files that the command line writes: tokenizers, shards of every format, checkpoints, weights, texts."""
    documents = str(inputs / "documents.txt")
    command("train-tokenizer", documents, "--vocab-size", "600", "--special", SEPARATOR, "--out", "trained")
    record_files("commands/train-tokenizer", folder / "trained")
    for name, source, options in (
        ("bin", documents, ["--format", "bin"]),
        ("npy", documents, ["--separator", SEPARATOR, "--eot", SEPARATOR, "--validation", "0.1"]),
        ("megatron", documents, ["--format", "megatron", "--shard-tokens", "50000"]),
        ("jsonl", str(inputs / "documents.jsonl"), ["--eot", SEPARATOR, "--on-special", "text"]),
        ("gzip", str(inputs / "documents.txt.gz"), ["--threads", "1"]),
    ):
        command("encode", source, "--tokenizer", "trained", "--out", f"shards-{name}", *options)
        record_files(f"commands/encode/{name}", folder / f"shards-{name}")
    outputs["commands/decode"] = digest(command("decode", "shards-bin", "--tokenizer", "trained"))
    (folder / "tiny.toml").write_text(CONFIG)
    command("train", "tiny.toml")
    record_files("commands/train", folder / "training")
    command("export", "training/model", "--out", "llama")
    record_files("commands/export/llama", folder / "llama")
    command("export", "training/model", "--out", "llama2c", "--format", "llama2c")
    record_files("commands/export/llama2c", folder / "llama2c")
    command("import", "llama", "--out", "imported")
    record_files("commands/import", folder / "imported")
    record_generated()


def record_generated() -> None:
    """Texts that the trained model writes, with and without sampling and 8-bit weights."""
    for options in (["--temperature", "0"], ["--temperature", "0.8"], ["--temperature", "0", "--int8"]):
        prompt = ["--prompt", "Once upon", "--max-new-tokens", "20"]
        printed = command("generate", "training/model", *prompt, *options)
        outputs[f"commands/generate/{' '.join(options)}"] = digest(printed)


def record_all_ids(data: Path, texts: dict[str, str], strings: list[str], folder: Path) -> None:
    """Ids and files of every vocabulary of the shared data."""
    for name, load in vocabularies(data):
        tokenizer = record_object(f"load/{name}", load)
        if tokenizer is not None:
            record_vocabulary(name, tokenizer, folder)
            record_ids(name, tokenizer, texts, strings)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("inputs", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", choices=("ids", "compat", "merges", "commands"))
    arguments = parser.parse_args()
    data, folder = arguments.data, arguments.folder
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    folders = ("english", "code", "multilingual", "tinystories", "webtext", "unicode")
    paths = [path for name in folders for path in sorted((data / name).glob("*.*"))]
    texts = {path.name: path.read_bytes().decode("utf-8", "replace") for path in paths}
    strings = hostile_strings(3000)
    if arguments.quick:
        texts = {name: texts[name][:50_000] for name in sorted(texts)[::6]}
        strings = strings[:300]
    sections: dict[str, Callable[[], None]] = {
        "ids": lambda: record_all_ids(data, texts, strings, folder),
        "compat": lambda: record_compat(data, texts, strings),
        "merges": lambda: record_merges(texts, folder),
        "commands": lambda: record_commands(arguments.inputs, folder),
    }
    for name, run in sections.items():
        if arguments.only in (None, name):
            start = time.process_time()
            run()
            print(f"{Path.cwd()}: {name}: {len(outputs)} outputs, {time.process_time() - start:.0f} CPU s", flush=True)
    (folder / "outputs.json").write_text(json.dumps(outputs, indent=0, sort_keys=True))


if __name__ == "__main__":
    main()
