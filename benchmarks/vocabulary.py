"""The vocabulary to encode with, in the files that fastlm and its peers read: GPT-2's, or one trained on the spot."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.corpus import DATA
from fastlm import Tokenizer, load, train_bpe
from fastlm._types import UInt32Array
from fastlm.demo import demo_corpus

END_OF_TEXT = "<|endoftext|>"
TRAINED_TOKENS = 16_000


@dataclass(frozen=True)
class SharedVocabulary:
    """`name` for the report, fastlm's tokenizer, and the tokenizer.json that means the same to the peers."""

    name: str
    tokenizer: Tokenizer
    tokenizer_json: Path

    @functools.cached_property
    def ranks(self) -> dict[bytes, int]:
        """token -> rank for tiktoken, whose ids are ranks: single bytes first, then merged tokens in order of merge."""
        tokens = [bytes([byte]) for byte in np.argsort(self.tokenizer.vocabulary.byte_ids).tolist()]
        tokens += [left + right for left, right in self.tokenizer.merges]
        return {token: rank for rank, token in enumerate(dict.fromkeys(tokens))}

    @functools.cached_property
    def id_of_rank(self) -> UInt32Array:
        """fastlm's id of each rank; END_OF_TEXT has the last."""
        special = self.tokenizer.special_tokens[END_OF_TEXT]
        id_of = {token: id for id, token in self.tokenizer.vocab.items() if id != special}
        return np.array([*(id_of[token] for token in self.ranks), special], np.uint32)


def shared_vocabulary(directory: Path) -> SharedVocabulary:
    """GPT-2's where DATA holds it, else one of TRAINED_TOKENS trained on the demo corpus and saved in `directory`."""
    vectors = DATA / "vectors"
    if (vectors / "gpt2.tokenizer.json").exists():
        tokenizer = Tokenizer.from_files(vectors / "gpt2_vocab.json", vectors / "gpt2_merges.txt", [END_OF_TEXT])
        return SharedVocabulary("GPT-2", tokenizer, vectors / "gpt2.tokenizer.json")
    train_bpe(demo_corpus(), TRAINED_TOKENS, [END_OF_TEXT]).save(directory)
    return SharedVocabulary(
        f"trained on demo, {TRAINED_TOKENS:,} tokens", load(directory), directory / "tokenizer.json"
    )
