"""Ids to text, from an array and from a list of ints."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.corpus import FILES, sample
from benchmarks.measure import OURS, Prepare, compared, take_turns
from benchmarks.peers import Encoder
from benchmarks.sizes import Sizes


@pytest.mark.parametrize("corpus", ["demo", *FILES])
@pytest.mark.parametrize("form", ["array", "list"])
def test_decode(
    benchmark: BenchmarkFixture,
    encoders: dict[str, Encoder],
    documents: Callable[[str], list[str]],
    sizes: Sizes,
    corpus: str,
    form: str,
) -> None:
    text = "".join(sample(documents(corpus), sizes.encode_bytes))
    utf8 = text.encode()
    ours = encoders[OURS]
    (ids,) = ours.ids_of(ours.one(text))
    prepares: dict[str, Prepare] = {}
    for name, encoder in encoders.items():
        decode: Callable[[Any], str | bytes] | None = encoder.decode_array if form == "array" else encoder.decode_list
        if decode is None:
            continue
        own_ids = encoder.own_ids(ids)
        argument = own_ids if form == "array" else own_ids.tolist()
        decoded = decode(argument)
        if decoded != (text if isinstance(decoded, str) else utf8):
            pytest.fail(f"{name} does not decode to the text")
        prepares[name] = partial(partial, decode, argument)
    timings = take_turns(benchmark, prepares, sizes.rounds, sizes.encode_seconds)
    benchmark.extra_info |= compared(timings, len(utf8))
    benchmark.extra_info |= {"case": [form], "corpus": corpus, "tokens": len(ids)}
