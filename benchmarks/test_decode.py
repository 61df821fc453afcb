"""Ids to text, from an array and from a list of ints."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks import OURS, corpus, vocabulary
from benchmarks.corpus import documents, sample
from benchmarks.measure import Prepare, compared, take_turns
from benchmarks.participants import Participants
from benchmarks.sizes import Sizes

VOCABULARIES = vocabulary.names()


@pytest.mark.parametrize("corpus_name", corpus.names())
@pytest.mark.parametrize("form", ["array", "list"])
@pytest.mark.parametrize("vocabulary_name", VOCABULARIES[:2])
def test_decode(
    benchmark: BenchmarkFixture,
    participants_of: Callable[[str], Participants],
    sizes: Sizes,
    vocabulary_name: str,
    form: str,
    corpus_name: str,
) -> None:
    participants = participants_of(vocabulary_name)
    expected = "".join(sample(documents(corpus_name), sizes.decode_bytes))
    utf8 = expected.encode()
    encode = participants.warm[OURS].whole
    assert encode is not None
    ids = np.asarray(encode(expected, 1))
    argument = ids if form == "array" else ids.tolist()
    left_out = dict(participants.left_out)
    prepares: dict[str, Prepare] = {}
    for peer, encoder in participants.able(f"decode_{form}").items():
        decode = encoder.way(f"decode_{form}", 1)
        assert decode is not None
        decoded = decode(argument)
        if decoded == (expected if isinstance(decoded, str) else utf8):
            prepares[peer] = partial(partial, decode, argument)
        elif peer == OURS:
            pytest.fail(f"{peer} does not decode to the text")
        else:
            left_out[peer] = "another text"
    timings = take_turns(benchmark, prepares, sizes.rounds, sizes.encode_seconds)
    benchmark.extra_info |= compared(timings, len(utf8))
    benchmark.extra_info |= {
        "topic": "decode", "form": form, "vocabulary": vocabulary_name, "corpus": corpus_name, "threads": 1,
        "tokens": len(ids), "left_out": left_out,
    }  # fmt: skip
