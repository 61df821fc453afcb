"""Import, load, and the first ids of a new process, from each file that each library reads."""

from __future__ import annotations

import statistics
import subprocess
from collections.abc import Callable
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks import OURS, new_process, vocabulary
from benchmarks.participants import Participants
from benchmarks.peers import SOURCES, installed
from benchmarks.sizes import Sizes


@pytest.mark.parametrize("vocabulary_name", vocabulary.names()[-2:])
def test_load(
    benchmark: BenchmarkFixture, participants_of: Callable[[str], Participants], sizes: Sizes, vocabulary_name: str
) -> None:
    shared = participants_of(vocabulary_name).vocabulary
    runs: dict[tuple[str, str], list[dict[str, Any]]] = {
        (peer, source): [] for source in SOURCES for peer in installed()
    }
    left_out: dict[str, str] = {}

    def load(peer: str, source: str) -> None:
        if figures := new_process.load_of(peer, shared, source):
            runs[peer, source].append(figures)
        else:
            del runs[peer, source]

    def others() -> None:
        for peer, source in list(runs):
            if (peer, source) != (OURS, "native") and peer not in left_out:
                try:
                    load(peer, source)
                except subprocess.CalledProcessError as error:
                    left_out[peer] = f"ended with {error.returncode}"

    benchmark.pedantic(load, args=(OURS, "native"), setup=others, rounds=sizes.fresh_rounds)  # type: ignore[no-untyped-call]
    expected = runs[OURS, "native"][0]["ids"]
    rows = []
    for (peer, source), done in runs.items():
        if peer in left_out:
            continue
        if any(run["ids"] not in (expected, [len(expected)]) for run in done):
            left_out[peer] = f"wrong ids from {source}"
            continue
        keys = ("load_seconds", "load_cpu_seconds", "seconds", "cpu_seconds")
        medians = {key: statistics.median(run[key] for run in done) for key in keys}
        rows.append({"name": peer, "source": source, **medians})
    assert OURS not in left_out
    benchmark.extra_info |= {"topic": "load", "vocabulary": vocabulary_name, "rows": rows, "left_out": left_out}
