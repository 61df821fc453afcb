"""The vocabularies to encode with, in the files that fastlm and its peers read: official ones, or one of our own."""

from __future__ import annotations

import base64
import functools
import json
from dataclasses import dataclass, fields
from pathlib import Path

from benchmarks import DATA, END_OF_TEXT

TRAINED = "demo"
TRAINED_TOKENS = 16_000
OFFICIAL = {
    "gpt2": ("r50k_base.tiktoken", "gpt2.tokenizer.json"),
    "cl100k": ("cl100k_base.tiktoken", "cl100k_base.tokenizer.json"),
    "o200k": ("o200k_base.tiktoken", "o200k_base.tokenizer.json"),
}
"""name -> the rank file and the tokenizer.json under DATA/vectors, which give the same ids."""


@dataclass(frozen=True)
class SharedVocabulary:
    """One vocabulary in three files: fastlm's own, Hugging Face's and tiktoken's; all give the same ids.

    A rank file holds neither pattern nor special tokens, so both are fields; `pattern_name` is fastlm's.
    """

    name: str
    native: Path
    tokenizer_json: Path
    tiktoken: Path
    pattern: str
    pattern_name: str
    special_tokens: dict[str, int]

    @functools.cached_property
    def ranks(self) -> dict[bytes, int]:
        """token -> rank, without special tokens."""
        lines = (line.split() for line in self.tiktoken.read_bytes().splitlines() if line)
        return {base64.b64decode(token): int(rank) for token, rank in lines}

    def to_json(self) -> str:
        return json.dumps({field.name: getattr(self, field.name) for field in fields(self)}, default=str)

    @staticmethod
    def from_json(text: str) -> SharedVocabulary:
        found = json.loads(text)
        paths = {name: Path(found[name]) for name in ("native", "tokenizer_json", "tiktoken")}
        return SharedVocabulary(**(found | paths))


def names() -> tuple[str, ...]:
    """The official vocabularies that DATA holds, else TRAINED."""
    folder = DATA / "vectors"
    there = [name for name, files in OFFICIAL.items() if all((folder / file).exists() for file in files)]
    return tuple(there) or (TRAINED,)


def shared_vocabulary(directory: Path, name: str | None = None) -> SharedVocabulary:
    """The vocabulary of a name, by default the first of `names()`, with the files it lacks made in `directory`.

    TRAINED is learned on the spot from the demo corpus.
    """
    # a process that only reads the files does not load fastlm for this
    from fastlm import load, train_bpe
    from fastlm.demo.texts import demo_corpus

    name = name or names()[0]
    if name == TRAINED:
        tokenizer = train_bpe(demo_corpus(), TRAINED_TOKENS, [END_OF_TEXT])
        tokenizer.save(directory, ["tokenizer.json", "tiktoken"])
        ranks, tokenizer_json = directory / "tokenizer.tiktoken", directory / "tokenizer.json"
    else:
        ranks, tokenizer_json = (DATA / "vectors" / file for file in OFFICIAL[name])
        tokenizer = load(ranks)
    tokenizer.save(directory, ["fastlm"])
    native = Path(directory) / "tokenizer.fastlm"
    pattern = tokenizer.vocabulary.pattern
    return SharedVocabulary(
        name, native, tokenizer_json, ranks, pattern.regex, tokenizer.pattern, tokenizer.special_tokens
    )
