"""Vocabularies in files: one module a format."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from fastlm.formats import gpt2, hf_json, native
from fastlm.formats.atomic import write_files
from fastlm.patterns import find_pattern
from fastlm.vocabulary import Vocabulary

__all__ = ["gpt2", "hf_json", "load", "native", "save"]


def save(vocabulary: Vocabulary, directory: Path) -> None:
    """Writes a vocabulary in every format; see Tokenizer.save."""
    write_files(directory, gpt2.write(vocabulary) | hf_json.write(vocabulary) | native.write(vocabulary))


def load(path: Path, pattern: str | None, special_tokens: Iterable[str] | None) -> Vocabulary:
    """Reads a directory or a file; see fastlm.load."""
    if path.is_dir():
        for name in (native.FILE, hf_json.FILE, gpt2.VOCAB):
            if (path / name).exists():
                return load(path / name, pattern, special_tokens)
        raise FileNotFoundError(f"{path}: holds none of {native.FILE}, {hf_json.FILE}, {gpt2.VOCAB}")
    if path.name in (gpt2.VOCAB, gpt2.MERGES):
        if pattern is None:
            raise ValueError(f"{path} does not say how text is split: give pattern=, such as 'gpt2'")
        files = path.with_name(gpt2.VOCAB), path.with_name(gpt2.MERGES)
        return gpt2.read(*files, special_tokens or (), find_pattern(pattern))
    if pattern is not None or special_tokens is not None:
        raise ValueError(f"{path} holds pattern and special tokens itself; give them only with {gpt2.VOCAB}")
    if path.suffix == ".json":
        return hf_json.read(path)
    return native.read(path)
