"""Hard texts: single pretokens of megabytes, and texts for which some tokenizers take more than linear time."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks import LEADERS, OURS, vocabulary
from benchmarks.hard_texts import ADVERSARIAL, LONG_PRETOKENS
from benchmarks.measure import Call, Prepare, Timing, compared, take_turns
from benchmarks.participants import Participants
from benchmarks.peers import Encoder
from benchmarks.sizes import Sizes

VOCABULARY = vocabulary.names()[:2][-1]
ROUNDS = 3
ADVERSARIAL_ROUNDS = 7  # of hundredths of a second, which much else disturbs


@pytest.mark.parametrize("step", [0, 1])
@pytest.mark.parametrize("kind", LONG_PRETOKENS)
def test_long_pretoken(
    benchmark: BenchmarkFixture, participants_of: Callable[[str], Participants], sizes: Sizes, kind: str, step: int
) -> None:
    """By fastlm and the leaders, cold, so that no cache holds the pretoken."""
    participants = participants_of(VOCABULARY)
    text = LONG_PRETOKENS[kind](sizes.pretoken_bytes[step])

    def encode(encoder: Encoder) -> object:
        assert encoder.whole is not None
        return encoder.whole(text, 1)

    def prepare(name: str) -> Call:
        return partial(encode, participants.cold(name))

    # the shorter text speaks for the longer one
    names, tokens = participants.with_right_ids("whole", 1, encode, ("pretoken", kind), (OURS, *LEADERS))
    prepares: dict[str, Prepare] = {name: partial(prepare, name) for name in names}
    timings = take_turns(benchmark, prepares, 1 if step else ROUNDS, sizes.encode_seconds)
    benchmark.extra_info |= compared(timings, len(text))
    benchmark.extra_info |= {
        "topic": "pretoken", "vocabulary": VOCABULARY, "corpus": kind, "tokens": tokens,
        "left_out": dict(participants.left_out),
    }  # fmt: skip


@pytest.mark.parametrize("kind", ADVERSARIAL)
def test_adversarial(
    benchmark: BenchmarkFixture, participants_of: Callable[[str], Participants], sizes: Sizes, kind: str
) -> None:
    """fastlm alone, cold: time for a text and for one ten times as long. The tests check the ids."""
    participants = participants_of(VOCABULARY)
    timings: dict[int, Timing] = {size: Timing() for size in sizes.adversarial_bytes}
    texts = {size: ADVERSARIAL[kind](size) for size in timings}
    sizes_in_bytes = {size: len(text.encode()) for size, text in texts.items()}

    def run(size: int) -> None:
        encoder = participants.cold(OURS)
        assert encoder.whole is not None
        timings[size].run(partial(encoder.whole, texts[size], 1))

    short, long = timings

    benchmark.pedantic(run, args=(long,), setup=partial(run, short), rounds=ADVERSARIAL_ROUNDS)  # type: ignore[no-untyped-call]
    seconds = {size: statistics.median(timing.cpu_seconds) for size, timing in timings.items()}
    figures: dict[str, Any] = {
        "bytes": sizes_in_bytes[long],
        "ns_per_byte": seconds[long] / sizes_in_bytes[long] * 1e9,
        "growth": seconds[long] / seconds[short],
    }
    benchmark.extra_info |= figures | {"topic": "adversarial", "vocabulary": VOCABULARY, "corpus": kind}
