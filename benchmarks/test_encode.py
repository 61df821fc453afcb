"""Text to ids, with one thread and with two, against the peers that have this way.

A tokenizer is warm if it has encoded the text before; cold if it has encoded one other word; and its first call is the
first one after it was loaded, with everything that it sets up.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks import OURS, corpus, memory, new_process, vocabulary
from benchmarks.corpus import documents, documents_of, grown_corpus, sample, size_of
from benchmarks.measure import Call, Prepare, compared, take_turns
from benchmarks.participants import Participants
from benchmarks.peers import Encoder
from benchmarks.sizes import Sizes

SHORT_LENGTH = 100
SEED = 336
VOCABULARIES = vocabulary.names()
CORPORA = corpus.names()
ASKED = 3
"""The first corpora have targets: English, code and multilingual text."""
VOCABULARY = VOCABULARIES[min(1, len(VOCABULARIES) - 1)]
CORPUS = CORPORA[0]
ALONE = f"{OURS}, 1 thread"

Case = tuple[str, str, str, str, str, int]


def cases() -> list[Case]:
    """(form, size of documents, vocabulary, corpus, state, threads), all of a vocabulary together.

    Cases with a target run with every vocabulary, the others with VOCABULARY or on CORPUS only.
    """
    found: list[Case] = []
    for name in VOCABULARIES:
        found += [("arrays", "3 KB", name, text, "first", 1) for text in CORPORA[:ASKED]]
        for threads in (1, 2):
            for state in ("warm", "cold"):
                all_corpora = threads == 1 and (name == VOCABULARY or state == "warm")
                found += [
                    ("arrays", "3 KB", name, text, state, threads)
                    for text in (CORPORA if all_corpora else CORPORA[:ASKED])
                ]
                if name == VOCABULARY:
                    found += [("arrays", size, name, CORPUS, state, threads) for size in ("100 B", "1 MB")]
                    found += [("whole", "20 MB", name, CORPUS, state, threads)]
            if name == VOCABULARY:
                found += [("lists", "3 KB", name, text, "warm", threads) for text in CORPORA]
                if threads == 1:
                    found += [("whole", "100 B", name, text, "warm", 1) for text in CORPORA[:2]]
        if name == VOCABULARY:
            found += [("counts", "3 KB", name, CORPUS, "warm", 1)]
        found += [("one", "100 B", name, text, "warm", 1) for text in CORPORA[:2]]
    return found


def texts_of(form: str, size: str, name: str, sizes: Sizes) -> list[str]:
    """Documents of about that size; the "20 MB" are one."""
    if size == "20 MB":
        return [whole_text(name, sizes)]
    if size == "3 KB":
        return sample(documents(name), sizes.list_bytes if form == "lists" else sizes.encode_bytes)
    text = "".join(sample(documents(name), sizes.short_bytes if size == "100 B" else sizes.encode_bytes))
    if size == "1 MB":
        return list(documents_of(text, sizes.document_bytes))
    return [text[start : start + SHORT_LENGTH] for start in range(0, len(text), SHORT_LENGTH)]


def whole_text(name: str, sizes: Sizes) -> str:
    return b"".join(grown_corpus(documents(name), sizes.whole_bytes, SEED)).decode()


def encoding(form: str, texts: list[str], threads: int) -> Callable[[Encoder], object]:
    """One pass over all texts in a form, see peers.Encoder."""

    def encode(encoder: Encoder) -> object:
        way = encoder.way(form, threads)
        assert way is not None
        if form == "one":
            return [way(text) for text in texts]
        if form == "whole":
            return [way(text, threads) for text in texts] if len(texts) > 1 else way(texts[0], threads)
        return way(texts, threads)

    return encode


@pytest.mark.parametrize(("form", "size", "vocabulary_name", "corpus_name", "state", "threads"), cases())
def test_encode(
    benchmark: BenchmarkFixture,
    participants_of: Callable[[str], Participants],
    sizes: Sizes,
    form: str,
    size: str,
    vocabulary_name: str,
    corpus_name: str,
    state: str,
    threads: int,
) -> None:
    participants = participants_of(vocabulary_name)
    texts = texts_of(form, size, corpus_name, sizes)
    encode = encoding(form, texts, threads)
    names, tokens = participants.with_right_ids(form, threads, encode, (form, size, corpus_name))

    def prepare(name: str) -> Call:
        return partial(encode, tokenizer(name))

    def tokenizer(name: str) -> Encoder:
        # cold and first: each round has a tokenizer of its own
        if state == "first":
            return participants.new(name)
        return participants.cold(name) if state == "cold" else participants.warm[name]

    def alone() -> Call:
        return partial(encoding(form, texts, 1), tokenizer(OURS))

    prepares: dict[str, Prepare] = {name: partial(prepare, name) for name in names}
    if threads > 1:
        prepares[ALONE] = alone
    rounds = sizes.whole_rounds if form == "whole" else sizes.rounds
    if state != "warm":
        rounds = sizes.cold_rounds if threads == 1 else sizes.cold_rounds_of_two
    timings = take_turns(benchmark, prepares, rounds, sizes.encode_seconds)
    figures = compared(timings, size_of(texts))
    if threads > 1:
        figures["alone"] = figures["peers"].pop(ALONE)
    benchmark.extra_info |= figures
    benchmark.extra_info |= {
        "topic": "encode", "form": form, "size": size, "vocabulary": vocabulary_name, "corpus": corpus_name,
        "state": state, "threads": threads, "tokens": tokens, "texts": len(texts),
        "left_out": dict(participants.left_out),
    }  # fmt: skip


@pytest.mark.skipif(not memory.STATUS.exists(), reason="reads /proc")
@pytest.mark.parametrize("form", ["whole", "arrays"])
def test_encode_memory(
    benchmark: BenchmarkFixture, participants_of: Callable[[str], Participants], sizes: Sizes, tmp_path: Path, form: str
) -> None:
    """Peak of resident memory that encoding adds, cold, in a fresh process each."""
    participants = participants_of(VOCABULARY)
    path = tmp_path / "text"
    text = whole_text(CORPUS, sizes)
    path.write_text(text, "utf-8", newline="\n")
    names = list(participants.able(form))
    found: dict[str, Any] = {}

    def measure(name: str) -> None:
        found[name] = new_process.memory_of(name, participants.vocabulary, form, path)

    def others() -> None:
        for name in names:
            if name != OURS:
                try:
                    measure(name)
                except subprocess.CalledProcessError as error:
                    participants.left_out[name] = f"ended with {error.returncode}"

    benchmark.pedantic(measure, args=(OURS,), setup=others, rounds=1)  # type: ignore[no-untyped-call]
    benchmark.extra_info |= {
        "topic": "memory", "form": form, "vocabulary": VOCABULARY, "corpus": CORPUS, "bytes": size_of([text]),
        **found.pop(OURS), "peers": found, "left_out": dict(participants.left_out),
    }  # fmt: skip
