"""Fuzzes what reads files: each changed file is refused with a documented exception, or read.

    python -m tests.fuzz.loaders --runs 100000 tokenizer_json tekken

With --atheris, libFuzzer looks for files that reach new code of fastlm; else changes.py changes bytes and values at
random. Checksums are made right again where a format has one, so that the checks behind it are reached. A report ends
the process.
"""

from __future__ import annotations

import argparse
import atexit
import base64
import hashlib
import json
import os
import random
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import fastlm
from fastlm.corpus import megatron
from tests.fuzz.changes import changed, changed_json
from tests.hostile_files import readers

DOCUMENTED = (ValueError, KeyError, OSError, MemoryError)
STATE = "state.json"


class Loader(NamedTuple):
    """A format: writes good files, the file that is changed, what makes its checksum right, and what reads it."""

    write: Callable[[Path], object]
    file: str
    repair: Callable[[bytes], bytes]
    read: Callable[[Path], object]


def _as_it_is(content: bytes) -> bytes:
    return content


def _tokenizer() -> fastlm.Tokenizer:
    base = {k: bytes([k]) for k in range(256)} | {256: b"ab", 257: b"abab"}
    return fastlm.Tokenizer(base, [(b"a", b"b"), (b"ab", b"ab")], ["<|end|>"], pattern="minbpe-gpt4")


def _saved(name: str) -> Callable[[Path], object]:
    return lambda folder: _tokenizer().save(folder, [name])


def _load(pattern: str | None = None) -> Callable[[Path], object]:
    def load(path: Path) -> object:
        return fastlm.load(path, pattern=pattern).encode("some text, ab abab <|end|> 123")

    return load


def _write_tekken(folder: Path) -> None:
    tokens = [bytes([k]) for k in range(256)] + [b"ab"]
    vocabulary = [
        {"rank": rank, "token_bytes": base64.b64encode(token).decode(), "token_str": None}
        for rank, token in enumerate(tokens)
    ]
    config = {
        "pattern": r"[a-z]+|[^a-z]+", "num_vocab_tokens": 257, "default_vocab_size": 267,
        "default_num_special_tokens": 10, "version": "v3",
    }  # fmt: skip
    (folder / "tekken.json").write_text(json.dumps({"config": config, "vocab": vocabulary}))


def _write_shards(shard_format: str) -> Callable[[Path], object]:
    def write(folder: Path) -> None:
        made = folder / "made"
        fastlm.encode_corpus(_tokenizer(), ["ab", "some text"], made, format=shard_format, num_threads=1)  # type: ignore[arg-type]
        for path in made.iterdir():
            path.rename(folder / path.name)
        made.rmdir()

    return write


def _repair_manifest(content: bytes) -> bytes:
    from fastlm.corpus.manifest import with_checksum

    try:
        fields = json.loads(content)
        fields.pop("sha256", None)
        return json.dumps(with_checksum(fields)).encode()
    except (ValueError, AttributeError, TypeError, RecursionError):
        return content


def _write_state(folder: Path) -> None:
    fastlm.train_bpe(["some text " * 9], 262, checkpoint=folder, checkpoint_seconds=1e-9, num_threads=1)


def _resume(path: Path) -> object:
    return fastlm.train_bpe(
        ["some text " * 9], 262, checkpoint=path.parent, checkpoint_seconds=1e-9, resume=True, num_threads=1
    )


def _repair_state(content: bytes) -> bytes:
    _, newline, rest = content.partition(b"\n")
    body = rest.split(b"\n")[0]
    return hashlib.sha256(body).hexdigest().encode() + newline + rest


def _write_llama(folder: Path) -> None:
    from tests.hostile_files.models import good_llama

    for name, content in good_llama().items():
        (folder / name).write_bytes(content)


def _write_llama2c(folder: Path) -> None:
    from fastlm.model.llama2c import export_llama2c
    from tests.model.models import made
    from tests.model.mutations import SMALL

    export_llama2c(made(SMALL), folder / "model.bin")


def _write_checkpoint(folder: Path) -> None:
    import torch

    from fastlm.training.checkpoint import save_checkpoint

    model = torch.nn.Linear(2, 2)
    save_checkpoint(model, torch.optim.AdamW(model.parameters()), 3, folder / "checkpoint.safetensors")


def _load_checkpoint(path: Path) -> object:
    import torch

    from fastlm.training.checkpoint import load_checkpoint

    model = torch.nn.Linear(2, 2)
    return load_checkpoint(path, model, torch.optim.AdamW(model.parameters()))


def _repair_archive(content: bytes) -> bytes:
    from fastlm.model.safetensors_file import DIGEST, NO_DIGEST

    found = DIGEST.search(content)
    if not found:
        return content
    start, end = found.span(1)
    blank = content[:start] + NO_DIGEST.encode() + content[end:]
    return content[:start] + hashlib.sha256(blank).hexdigest().encode() + content[end:]


LOADERS: dict[str, Loader] = {
    "native": Loader(
        _saved("fastlm"), "tokenizer.fastlm", lambda c: c[:-32] + hashlib.sha256(c[:-32]).digest(), _load()
    ),
    "tokenizer_json": Loader(_saved("tokenizer.json"), "tokenizer.json", _as_it_is, _load()),
    "tiktoken": Loader(_saved("tiktoken"), "tokenizer.tiktoken", _as_it_is, _load("gpt2")),
    "gpt2": Loader(_saved("gpt2"), "merges.txt", _as_it_is, lambda path: readers.load_gpt2(path.parent)),
    "minbpe": Loader(_saved("minbpe"), "tokenizer.model", _as_it_is, _load()),
    "tekken": Loader(_write_tekken, "tekken.json", _as_it_is, _load()),
    "megatron": Loader(
        _write_shards("megatron"), "train-00000.idx", _as_it_is, lambda path: megatron.map_dataset(path.with_suffix(""))
    ),
    "npy": Loader(_write_shards("npy"), "train-00000.npy", _as_it_is, lambda path: readers.read_dtype_tokens(path)),
    "manifest": Loader(
        _write_shards("bin"), "manifest.json", _repair_manifest, lambda path: readers.verify(path.parent)
    ),
    "count_state": Loader(_write_state, STATE, _repair_state, _resume),
    "llama_config": Loader(_write_llama, "config.json", _as_it_is, lambda path: readers.import_llama(path.parent)),
    "llama_weights": Loader(
        _write_llama, "model.safetensors", _as_it_is, lambda path: readers.import_llama(path.parent)
    ),
    "llama2c": Loader(_write_llama2c, "model.bin", _as_it_is, readers.import_llama2c),
    "checkpoint": Loader(_write_checkpoint, "checkpoint.safetensors", _repair_archive, _load_checkpoint),
}


class Case:
    """The good files of a loader in a folder, and the reading of a changed one."""

    def __init__(self, name: str, folder: Path) -> None:
        self.loader = LOADERS[name]
        self.folder = folder / name
        self.folder.mkdir()
        self.loader.write(self.folder)
        self.good = {path.name: path.read_bytes() for path in self.folder.iterdir()}
        self.read = self.refused = 0

    def try_one(self, content: bytes) -> None:
        """Reads the files with this content. Any exception but the documented ones passes through."""
        path = self.folder / self.loader.file
        for other in self.folder.iterdir():
            if other.name not in self.good:
                shutil.rmtree(other) if other.is_dir() else other.unlink()
        for name, good in self.good.items():
            kept = self.folder / name
            if name != path.name and (not kept.exists() or kept.read_bytes() != good):
                kept.write_bytes(good)
        path.write_bytes(self.loader.repair(content))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self.loader.read(path)
            self.read += 1
        except DOCUMENTED:
            self.refused += 1


def run_at_random(name: str, runs: int, seed: int, folder: Path) -> Case:
    """Reads a file with random changes `runs` times."""
    case, chance = Case(name, folder), random.Random(f"{name} {seed}")
    good = case.good[case.loader.file]
    for run in range(runs):
        content = changed(chance, good)
        try:
            case.try_one(content)
        except Exception as error:
            raise AssertionError(f"{name}, run {run}: {type(error).__name__}: {error}: {content[:2000]!r}") from error
    return case


def _run_with_atheris(name: str, runs: int, seed: int, folder: Path) -> None:
    """Does not return: libFuzzer ends the process."""
    import atheris

    case = Case(name, folder)
    corpus = folder / "corpus"
    corpus.mkdir()
    (corpus / "good").write_bytes(case.good[case.loader.file])

    def mutated(content: bytes, most: int, seed_of_one: int) -> bytes:
        chance = random.Random(seed_of_one)
        of_json = changed_json(chance, content) if chance.random() < 0.5 else None
        found: bytes = atheris.Mutate(content, most) if of_json is None else of_json[:most]
        return found

    atheris.Setup(
        [sys.argv[0], f"-runs={runs}", f"-seed={seed}", "-max_len=20000", f"-artifact_prefix={folder}/", str(corpus)],
        case.try_one,
        custom_mutator=mutated,
    )
    atexit.register(lambda: print(f"{name}: {case.refused:,} refused, {case.read:,} read, 0 reports", flush=True))
    atheris.Fuzz()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(LOADERS)}; default: all")
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--atheris", action="store_true", help="one target, guided by coverage")
    parser.add_argument("--folder", type=Path, help="of the files; by default a temporary one")
    arguments = parser.parse_args()
    folder = arguments.folder or Path(tempfile.mkdtemp(prefix="fastlm-loaders-"))
    folder.mkdir(parents=True, exist_ok=True)
    if arguments.atheris:
        if len(arguments.targets) != 1:
            parser.error("--atheris takes one target")
        import atheris

        with atheris.instrument_imports(include=["fastlm"]):
            for module in ("fastlm.formats", "fastlm.corpus.verify", "fastlm.model.hf", "fastlm.model.llama2c"):
                __import__(module)
        _run_with_atheris(arguments.targets[0], arguments.runs, arguments.seed, folder)
    for name in arguments.targets or LOADERS:
        case = run_at_random(name, arguments.runs, arguments.seed, folder)
        print(f"{name}: {arguments.runs:,} runs, {case.refused:,} refused, {case.read:,} read, 0 reports", flush=True)
        shutil.rmtree(case.folder)
    if arguments.folder is None:
        os.rmdir(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
