"""Text to ids: each form of output, cold and warm, beside the peers that have that form."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks import peers
from benchmarks.corpus import FILES, sample, size_of
from benchmarks.measure import OURS, Call, Prepare, compared, take_turns
from benchmarks.peers import Encoder
from benchmarks.sizes import Sizes
from benchmarks.vocabulary import SharedVocabulary

CASES = [
    ("arrays", "cold", 1),
    ("arrays", "warm", 1),
    ("lists", "warm", 1),
    ("lists", "cold", 2),
    ("lists", "warm", 2),
    ("whole", "cold", 1),
    ("whole", "warm", 1),
]
SHORT_LENGTH = 100

Encode = Callable[[Encoder], object]


def encoding(form: str, texts: list[str], threads: int) -> Encode:
    """One pass over all texts that gives their ids in a form, see peers.Encoder."""
    if form == "lists":
        return lambda encoder: encoder.lists(texts, threads)
    if form == "arrays":
        return lambda encoder: encoder.arrays(texts) if encoder.arrays else None
    whole = "".join(texts)
    return lambda encoder: encoder.whole(whole) if encoder.whole else None


def compare_ids(encoders: dict[str, Encoder], encode: Encode) -> int:
    """Fails where a peer's ids differ from fastlm's; returns their number."""
    expected = encoders[OURS].ids_of(encode(encoders[OURS]))
    for name, encoder in encoders.items():
        found = encoder.ids_of(encode(encoder))
        if len(found) != len(expected):
            pytest.fail(f"{name} gives ids of {len(found)} texts, not of {len(expected)}")
        for number, (ours, theirs) in enumerate(zip(expected, found, strict=True)):
            if not np.array_equal(ours, theirs):
                pytest.fail(f"{name} gives other ids than {OURS} for text {number}")
    return sum(map(len, expected))


@pytest.mark.parametrize("corpus", ["demo", *FILES])
@pytest.mark.parametrize(("form", "state", "threads"), CASES)
def test_encode(
    benchmark: BenchmarkFixture,
    encoders: dict[str, Encoder],
    vocabulary: SharedVocabulary,
    documents: Callable[[str], list[str]],
    sizes: Sizes,
    corpus: str,
    form: str,
    state: str,
    threads: int,
) -> None:
    texts = sample(documents(corpus), sizes.encode_bytes)
    encode = encoding(form, texts, threads)
    able = {name: encoder for name, encoder in encoders.items() if getattr(encoder, form)}
    tokens = compare_ids(able, encode)

    def prepare(name: str) -> Call:
        # cold: each round has a tokenizer of its own, which has seen no text
        return partial(encode, peers.fresh(name, vocabulary) if state == "cold" else encoders[name])

    prepares: dict[str, Prepare] = {name: partial(prepare, name) for name in able}
    rounds = sizes.cold_rounds if state == "cold" else sizes.rounds
    timings = take_turns(benchmark, prepares, rounds, sizes.encode_seconds)
    benchmark.extra_info |= compared(timings, size_of(texts))
    benchmark.extra_info |= {"case": [form, state, threads], "corpus": corpus, "tokens": tokens}


def test_encode_short_texts(
    benchmark: BenchmarkFixture, encoders: dict[str, Encoder], documents: Callable[[str], list[str]], sizes: Sizes
) -> None:
    """One call a text; the demo corpus is ASCII but for a few characters, so lengths are bytes."""
    text = "".join(sample(documents("demo"), sizes.encode_bytes // 3))
    texts = [text[start : start + SHORT_LENGTH] for start in range(0, len(text), SHORT_LENGTH)]

    def encode(encoder: Encoder) -> list[object]:
        one = encoder.one
        return [one(text) for text in texts]

    tokens = compare_ids(encoders, encode)
    prepares: dict[str, Prepare] = {name: partial(partial, encode, encoder) for name, encoder in encoders.items()}
    timings = take_turns(benchmark, prepares, sizes.rounds, sizes.encode_seconds)
    benchmark.extra_info |= compared(timings, size_of(texts))
    benchmark.extra_info |= {"case": ["short", "warm", 1], "corpus": "demo", "tokens": tokens, "calls": len(texts)}
