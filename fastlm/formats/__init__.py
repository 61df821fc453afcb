"""Vocabularies in files: one module a format."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from fastlm.files.atomic import write_files
from fastlm.files.reading import begins_with
from fastlm.formats import gpt2, minbpe, native, tekken, tiktoken, tokenizer_json
from fastlm.formats import tokenizer_json as hf_json
from fastlm.pretokenize.patterns import find_pattern
from fastlm.vocabulary.vocabulary import Vocabulary

__all__ = ["WRITERS", "gpt2", "hf_json", "load", "minbpe", "native", "save", "tekken", "tiktoken", "tokenizer_json"]

SpecialTokens = Mapping[str, int] | Iterable[str]

WRITERS: dict[str, Callable[[Vocabulary], dict[str, bytes]]] = {
    "fastlm": native.write,
    "tokenizer.json": tokenizer_json.write,
    "gpt2": gpt2.write,
    "tiktoken": tiktoken.write,
    "minbpe": minbpe.write,
}
"""What writes a format: each gives the names and contents of its files, or raises ValueError."""

# written without being asked for, where they can hold the vocabulary
_USUAL = ("tokenizer.json", "gpt2")
# in a directory the first of these that is there is read
_IN_DIRECTORY = (native.FILE, tokenizer_json.FILE, gpt2.VOCAB, tekken.FILE, f"*{tiktoken.SUFFIX}", f"*{minbpe.SUFFIX}")


def save(vocabulary: Vocabulary, directory: Path, formats: Iterable[str] | None) -> list[Path]:
    """Writes a vocabulary; see Tokenizer.save."""
    contents = {} if formats is not None else native.write(vocabulary)
    for name in _USUAL if formats is None else formats:
        if name not in WRITERS:
            raise ValueError(f"no format is named {name!r}; there are {sorted(WRITERS)}")
        try:
            contents |= WRITERS[name](vocabulary)
        except ValueError:
            if formats is not None:
                raise
    write_files(directory, contents)
    return [directory / name for name in contents]


def load(path: Path, pattern: str | None, special_tokens: SpecialTokens | None) -> Vocabulary:
    """Reads a directory or a file; see fastlm.load."""
    if path.is_dir():
        return load(_file_in(path), pattern, special_tokens)
    split = None if pattern is None else find_pattern(pattern)
    if path.name in (gpt2.VOCAB, gpt2.MERGES):
        if split is None:
            raise ValueError(f"{path} does not say how text is split: give pattern=, such as 'gpt2'")
        return gpt2.read(path.with_name(gpt2.VOCAB), path.with_name(gpt2.MERGES), special_tokens or (), split)
    start = begins_with(path, 64)
    if start.startswith(native.MAGIC_STEM):
        reader: Callable[[Path], Vocabulary] = native.read
    elif start.lstrip().startswith(b"{"):
        reader = tekken.read if tekken.is_tekken(path) else tokenizer_json.read
    elif start.startswith(minbpe.FIRST_LINE.encode()):
        reader = minbpe.read
    else:
        return tiktoken.read(path, special_tokens, split)
    if pattern is not None or special_tokens is not None:
        raise ValueError(f"{path} holds pattern and special tokens itself; give them only with {gpt2.VOCAB} or ranks")
    return reader(path)


def _file_in(directory: Path) -> Path:
    for name in _IN_DIRECTORY:
        found = sorted(directory.glob(name))
        if len(found) > 1:
            raise ValueError(f"{directory}: holds several files {name}; load one of them")
        if found:
            return found[0]
    raise FileNotFoundError(f"{directory}: holds none of {', '.join(_IN_DIRECTORY)}")
