"""Ids and splits against tiktoken and Hugging Face on random strings and on all of a folder's texts.

    python -m tests.exactness --strings 1000000                       # GPT-2's ids, the splits of all patterns
    python -m tests.exactness --strings 1000000 --pattern o200k_base  # the splits of one

Needs FASTLM_DATA (or ../shared/data) for GPT-2's vocabulary and for texts. Prints what was tried and what differed;
exits with 1 where anything did.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import tiktoken
import tokenizers

import fastlm
from fastlm import patterns
from tests import split_judges, texts
from tests.conftest import DATA

Encode = Callable[[list[str]], list[list[int]]]
BATCH = 1000


def tiktoken_encoding(tokenizer: fastlm.Tokenizer) -> tiktoken.Encoding:
    """tiktoken with a tokenizer's vocabulary, where ids are in order of merge rank as tiktoken takes for granted."""
    special = tokenizer.special_tokens
    ranks = {token: id for id, token in tokenizer.vocab.items() if id not in special.values()}
    return tiktoken.Encoding("exactness", pat_str=patterns.GPT2, mergeable_ranks=ranks, special_tokens=special)


def scalars_in_context() -> Iterator[str]:
    """Every Unicode scalar alone, after a letter, between blanks, before a digit, and after an apostrophe."""
    for cp in (*range(0xD800), *range(0xE000, 0x110000)):
        char = chr(cp)
        yield from (char, f"a{char}", f" {char} ", f"{char}1", f"'{char}s")


def batches(strings: Iterable[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    for string in strings:
        batch.append(string)
        if len(batch) == BATCH:
            yield batch
            batch = []
    yield batch


def differences(name: str, strings: Iterable[str], ours: Encode, theirs: Encode) -> int:
    """Number of strings on which two encoders differ; prints the first few."""
    tried = differing = 0
    start = time.perf_counter()
    for batch in batches(strings):
        for string, expected, found in zip(batch, theirs(batch), ours(batch), strict=True):
            tried += 1
            if expected != found:
                differing += 1
                if differing <= 5:
                    print(f"  {string!r}\n    expected {expected}\n    found    {found}")
    print(f"{name}: {tried:,} strings tried, {differing} differ ({time.perf_counter() - start:.0f} s)", flush=True)
    return differing


def texts_of(folder: Path) -> Iterator[str]:
    """Every text below a folder, whatever its encoding, and line by line as well."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix != ".npz":
            text = path.read_bytes().decode("utf-8", "replace")
            yield text
            yield from text.splitlines(keepends=True)


def compare(tokenizer: fastlm.Tokenizer, json_path: Path, strings: int, seed: int, folder: Path | None) -> int:
    """All comparisons of a GPT-2 shaped tokenizer with both judges; number of differences."""
    encoding = tiktoken_encoding(tokenizer)
    hugging_face = tokenizers.Tokenizer.from_file(str(json_path))

    def ours(batch: list[str]) -> list[list[int]]:
        return [tokenizer.encode(string) for string in batch]

    judges: dict[str, Encode] = {
        "tiktoken": lambda batch: [encoding.encode(string, allowed_special="all") for string in batch],
        "tokenizers": lambda batch: [found.ids for found in hugging_face.encode_batch(batch)],
    }
    differing = 0
    for judge, theirs in judges.items():
        rng = random.Random(seed)
        random_strings = (texts.random_string(rng) for _ in range(strings))
        differing += differences(f"random strings against {judge}", random_strings, ours, theirs)
    differing += differences("scalars in context against tiktoken", scalars_in_context(), ours, judges["tiktoken"])
    if folder is not None:
        for judge, theirs in judges.items():
            differing += differences(f"texts and lines against {judge}", texts_of(folder), ours, theirs)
    return differing


def compare_splits(name: str, strings: int, seed: int, folder: Path | None) -> int:
    """All comparisons of where a named pattern's pretokens end; number of differences."""
    ours = split_judges.of_fastlm(patterns.PATTERNS[name])
    differing = 0
    for judge, theirs in split_judges.judges(name).items():
        rng = random.Random(seed)
        random_strings = (texts.random_string(rng) for _ in range(strings))
        differing += differences(f"{name}: random strings against {judge}", random_strings, ours, theirs)
        differing += differences(f"{name}: scalars in context against {judge}", scalars_in_context(), ours, theirs)
        if folder is not None:
            lines = (text for text in texts_of(folder) if len(text) < 100_000)
            differing += differences(f"{name}: texts and lines against {judge}", lines, ours, theirs)
    return differing


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--strings", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--pattern", choices=sorted(patterns.PATTERNS), help="compare the splits of this one only")
    arguments = parser.parse_args()
    folder = DATA if DATA.exists() else None
    names = [arguments.pattern] if arguments.pattern else sorted(patterns.PATTERNS)
    differing = sum(compare_splits(name, arguments.strings, arguments.seed, folder) for name in names)
    if not arguments.pattern:
        vectors = DATA / "vectors"
        gpt2 = fastlm.Tokenizer.from_files(vectors / "gpt2_vocab.json", vectors / "gpt2_merges.txt", ["<|endoftext|>"])
        differing += compare(gpt2, vectors / "gpt2.tokenizer.json", arguments.strings, arguments.seed, folder)
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
