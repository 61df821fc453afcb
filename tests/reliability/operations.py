"""Operations of which every k-th allocation or file call fails: each returns something that a right result equals."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import fastlm
from fastlm.corpus import encode_corpus as job
from fastlm.corpus import text_blocks
from fastlm.corpus.verify import verify_shards
from tests import texts

TEXT = "".join(texts.DOCUMENTS[:8]) + "<|endoftext|> and the end"
FILES_OF_FORMATS = ("tokenizer.fastlm", "tokenizer.json", "vocab.json")


class Operation(NamedTuple):
    """An operation.

    Attributes:
        prepare: Makes what the call needs, once in a folder.
        call: The call itself, which gets the folder and what was made.
        keeps_files: Whether a call that fails leaves the files of an earlier call as they are.
    """

    prepare: Callable[[Path], Any]
    call: Callable[[Path, Any], Any]
    keeps_files: bool = False


def _tokenizer(_: Path) -> fastlm.Tokenizer:
    return fastlm.train_bpe(texts.DOCUMENTS[:3], 400, ["<|endoftext|>"], num_threads=1)


def _saved(format_name: str) -> Callable[[Path], Path]:
    def prepare(folder: Path) -> Path:
        _tokenizer(folder).save(folder / "saved", [format_name])
        return next(path for path in sorted((folder / "saved").iterdir()) if path.name in FILES_OF_FORMATS)

    return prepare


def _load(_: Path, path: Path) -> str:
    return fastlm.load(path.parent).vocabulary.fingerprint


def _train(**options: Any) -> Callable[[Path, Any], list[tuple[bytes, bytes]]]:
    def call(folder: Path, _: Any) -> list[tuple[bytes, bytes]]:
        shutil.rmtree(folder / "training", ignore_errors=True)
        given = {name: folder / "training" if value == "folder" else value for name, value in options.items()}
        return fastlm.train_bpe(texts.DOCUMENTS[:6], 350, [], **given).merges

    return call


def _decode(_: Path, made: tuple[fastlm.Tokenizer, list[int]]) -> str:
    tokenizer, ids = made
    return tokenizer.decode(ids)


MEMORY: dict[str, Operation] = {
    "load fastlm": Operation(_saved("fastlm"), _load),
    "load tokenizer.json": Operation(_saved("tokenizer.json"), _load),
    "load gpt2": Operation(
        _saved("gpt2"), lambda _, path: fastlm.load(path.parent, pattern="gpt2").vocabulary.fingerprint
    ),
    "encode": Operation(_tokenizer, lambda _, made: made.encode(TEXT)),
    "encode to an array": Operation(_tokenizer, lambda _, made: made.encode_to_numpy(TEXT).tolist()),
    "encode with 2 threads": Operation(_tokenizer, lambda _, made: made.encode(TEXT * 40, num_threads=2)),
    "batch": Operation(_tokenizer, lambda _, made: made.encode_batch([TEXT] * 5, 1)),
    "batch with 2 threads": Operation(_tokenizer, lambda _, made: made.encode_batch([TEXT * 5] * 20, 2)),
    "offsets": Operation(_tokenizer, lambda _, made: [array.tolist() for array in made.encode_with_offsets(TEXT)]),
    "decode": Operation(lambda folder: (made := _tokenizer(folder), made.encode(TEXT)), _decode),
    "train": Operation(lambda _: None, _train(num_threads=1)),
    "train with 2 threads": Operation(lambda _: None, _train(num_threads=2)),
    "train with run files": Operation(
        lambda _: None, _train(num_threads=1, checkpoint="folder", checkpoint_seconds=1e-6, max_memory=1 << 28)
    ),
}


def _sums(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir() if path.is_file()}


def _save(*formats: str) -> Callable[[Path, Any], dict[str, str]]:
    def call(folder: Path, tokenizer: fastlm.Tokenizer) -> dict[str, str]:
        tokenizer.save(folder / "out", formats)
        return _sums(folder / "out")

    return call


def _encode(shard_format: Any) -> Callable[[Path, Any], dict[str, str]]:
    def call(folder: Path, tokenizer: fastlm.Tokenizer) -> dict[str, str]:
        text_blocks.BLOCK_BYTES, job.CHECKPOINT_SECONDS = 4096, 0.0
        out = folder / "out"
        if (out / "manifest.json").exists():
            shutil.rmtree(out)
        job.encode_corpus(
            tokenizer, texts.DOCUMENTS[:8], out, format=shard_format, shard_tokens=2000, num_threads=1, resume=True
        )
        verify_shards(out)
        return {name: value for name, value in _sums(out).items() if not name.endswith(".json")}

    return call


def _model(_: Path) -> Any:
    from tests.model.models import TINY, made

    return made(TINY)


def _save_model(folder: Path, model: Any) -> dict[str, str]:
    from fastlm.model.files import load_model, save_model

    save_model(model, folder / "out")
    load_model(folder / "out")
    return _sums(folder / "out")


def _export(folder: Path, model: Any) -> dict[str, str]:
    from fastlm.model.hf import export_llama, import_llama

    export_llama(model, folder / "out")
    import_llama(folder / "out")
    return _sums(folder / "out")


def _save_checkpoint(folder: Path, model: Any) -> dict[str, str]:
    import torch

    from fastlm.training.checkpoint import load_checkpoint, save_checkpoint

    (folder / "out").mkdir(exist_ok=True)
    optimizer = torch.optim.AdamW(model.parameters())
    save_checkpoint(model, optimizer, 3, folder / "out" / "checkpoint")
    load_checkpoint(folder / "out" / "checkpoint", model, optimizer)
    return _sums(folder / "out")


FILES: dict[str, Operation] = {
    "save fastlm": Operation(_tokenizer, _save("fastlm"), keeps_files=True),
    "save four formats": Operation(
        _tokenizer, _save("fastlm", "tokenizer.json", "gpt2", "transformers"), keeps_files=True
    ),
    "shards bin": Operation(_tokenizer, _encode("bin")),
    "shards npy": Operation(_tokenizer, _encode("npy")),
    "shards megatron": Operation(_tokenizer, _encode("megatron")),
    "training checkpoint of a tokenizer": Operation(
        lambda _: None, _train(num_threads=1, checkpoint="folder", checkpoint_seconds=1e-6, max_memory=1 << 28)
    ),
    "model": Operation(_model, _save_model, keeps_files=True),
    "llama export": Operation(_model, _export, keeps_files=True),
    "checkpoint of a model": Operation(_model, _save_checkpoint, keeps_files=True),
}
