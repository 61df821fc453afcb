"""What a hostile file is, and the functions that read one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import fastlm


class HostileFile(NamedTuple):
    """Files by name in a folder, the first of which is hostile, and what reads them. Without a name: the folder."""

    name: str
    reader: Callable[[Path], object]
    files: dict[str, bytes]
    reads_folder: bool = False


def each(prefix: str, reader: Callable[[Path], object], name: str, contents: dict[str, bytes]) -> list[HostileFile]:
    """Files of one name, with the contents by what is hostile in them."""
    return [HostileFile(f"{prefix}-{key}", reader, {name: content}) for key, content in contents.items()]


def load_tokenizer(path: Path) -> object:
    return fastlm.load(path, pattern="gpt2") if path.suffix == ".tiktoken" or path.is_dir() else fastlm.load(path)


def load_gpt2(path: Path) -> object:
    return fastlm.Tokenizer.from_files(path / "vocab.json", path / "merges.txt")


def load_compat(path: Path) -> object:
    from fastlm.compat.tokenizers import Tokenizer

    return Tokenizer.from_file(str(path))


def load_ranks(path: Path) -> object:
    from fastlm.compat.tiktoken.load import load_tiktoken_bpe

    return load_tiktoken_bpe(str(path))


def read_corpus(path: Path) -> object:
    from fastlm.corpus.read import Blocks
    from fastlm.pretokenize.patterns import find_pattern
    from fastlm.pretokenize.text_splitter import TextSplitter

    for block in Blocks(path, TextSplitter([], find_pattern("gpt2"))):
        block.release()
    return "read"


def count_corpus(path: Path) -> object:
    return fastlm.train_bpe(path, 300, num_threads=1)


def verify(path: Path) -> object:
    from fastlm.corpus.verify import verify_shards

    return verify_shards(path)


def read_tokens(path: Path) -> object:
    from fastlm.training.token_source import open_token_files

    return open_token_files([str(path)], ("train",), None)


def read_dtype_tokens(path: Path) -> object:
    from fastlm.training.token_source import open_token_files

    return open_token_files([str(path)], ("train",), "uint16")


def read_config(path: Path) -> object:
    from fastlm.training.config import load_config

    return load_config(path)


def read_account(path: Path) -> object:
    from fastlm.commands.account import read_model

    return read_model(str(path))


def load_model(path: Path) -> object:
    from fastlm.model.files import load_model

    return load_model(path)


def import_llama(path: Path) -> object:
    from fastlm.model.hf import import_llama

    return import_llama(path)


def import_llama2c(path: Path) -> object:
    from fastlm.model.llama2c import import_llama2c

    return import_llama2c(path)


def load_checkpoint(path: Path) -> object:
    from fastlm.training.checkpoint import read_checkpoint

    return read_checkpoint(path)


def resume_training(path: Path) -> object:
    return fastlm.train_bpe(["some text " * 9], 400, checkpoint=path, checkpoint_seconds=1e-9, resume=True)
