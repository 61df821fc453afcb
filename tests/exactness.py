"""Compares ids and splits with tiktoken and tokenizers, on random strings, all scalars, and the texts of a folder.

    python -m tests.exactness --strings 1000000                       # all vocabularies' ids, all patterns' splits
    python -m tests.exactness --strings 1000000 --only o200k_base     # one of them

The vocabularies are the published ones that tests/official.py finds in FASTLM_DATA (or ../shared/data) and in installed
packages. Splits are compared on random strings and scalars without them. Prints the number of strings and the
differences; exits with 1 if there are any.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import tiktoken

import fastlm
from fastlm.pretokenize import patterns
from tests import official, split_judges, texts
from tests.conftest import DATA

Encode = Callable[[list[str]], list[list[int]]]
BATCH = 1000


def tiktoken_encoding(tokenizer: fastlm.Tokenizer) -> tiktoken.Encoding:
    """tiktoken with the vocabulary of a tokenizer whose ids have the order of merge ranks, as tiktoken requires."""
    special = tokenizer.special_tokens
    ranks = {token: rank for rank, token in tokenizer.vocab.items() if rank not in special.values()}
    return tiktoken.Encoding("exactness", pat_str=patterns.GPT2, mergeable_ranks=ranks, special_tokens=special)


def scalars_in_context() -> Iterator[str]:
    """Every Unicode scalar alone, after a letter, between spaces, before a digit, and after an apostrophe."""
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
    """Every text below a folder, in any encoding, as a whole and line by line."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix != ".npz":
            text = path.read_bytes().decode("utf-8", "replace")
            yield text
            yield from text.splitlines(keepends=True)


def compare_ids(judged: official.Judged, strings: int, seed: int, folder: Path | None) -> int:
    """All comparisons of a vocabulary's ids with its judges; number of differences."""
    differing = 0
    for judge, theirs in judged.judges.items():
        rng = random.Random(seed)
        random_strings = (texts.random_string(rng) for _ in range(strings))
        name = f"{judged.name}: %s against {judge}"
        differing += differences(name % "ids of random strings", random_strings, judged.ours, theirs)
        differing += differences(name % "ids of scalars in context", scalars_in_context(), judged.ours, theirs)
        if folder is not None:
            differing += differences(name % "ids of texts and lines", texts_of(folder), judged.ours, theirs)
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
    parser.add_argument("--only", help="a vocabulary or a pattern by its name")
    arguments = parser.parse_args()
    folder = DATA if DATA.exists() else None
    vocabularies = official.named(DATA)
    if arguments.only and arguments.only not in {*vocabularies, *patterns.PATTERNS}:
        parser.error(f"--only must be one of {sorted({*vocabularies, *patterns.PATTERNS})}")
    differing = 0
    for name, read in vocabularies.items():
        if arguments.only in (None, name):
            judged = read()
            if judged is None:
                print(f"{name}: not at hand, its ids are not compared")
            else:
                differing += compare_ids(judged, arguments.strings, arguments.seed, folder)
    for name in sorted(patterns.PATTERNS):
        if arguments.only in (None, name):
            differing += compare_splits(name, arguments.strings, arguments.seed, folder)
    print(f"{differing} differ")
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
