"""A file to merges: throughput and peak memory, each trainer in a fresh process, in turns."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks import trainers
from benchmarks.corpus import grown_corpus, lines_of, sample
from benchmarks.measure import OURS, Timing, compared
from benchmarks.peers import version_of
from benchmarks.sizes import Sizes
from benchmarks.trainers import Task, Trained

SEED = 336


@pytest.fixture(scope="module")
def files(
    tmp_path_factory: pytest.TempPathFactory, documents: Callable[[str], list[str]], base_corpus: str, sizes: Sizes
) -> dict[str, Path]:
    """The texts to train on, a document a line."""
    directory = tmp_path_factory.mktemp("train")
    demo, grown = directory / "demo.txt", directory / "grown.txt"
    demo.write_bytes(b"".join(lines_of(sample(documents("demo"), sizes.demo_train_bytes))))
    with open(grown, "wb") as file:
        file.writelines(grown_corpus(documents(base_corpus), sizes.grown_train_bytes, SEED))
    return {"demo": demo, "grown": grown}


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("corpus", ["demo", "grown"])
def test_train(
    benchmark: BenchmarkFixture, files: dict[str, Path], base_corpus: str, sizes: Sizes, corpus: str, threads: int
) -> None:
    path = files[corpus]
    vocab_size = sizes.demo_vocab_size if corpus == "demo" else sizes.grown_vocab_size
    distinct_bytes = int(np.count_nonzero(np.bincount(np.fromfile(path, np.uint8))))
    task = Task(path, vocab_size - 257, distinct_bytes, threads)
    runs: dict[str, list[Trained]] = {name: [] for name in trainers.TRAINERS if name == OURS or version_of(name)}

    def train(name: str) -> None:
        runs[name].append(trainers.run(name, task))

    def others() -> None:
        for name, done in runs.items():
            if name != OURS and sum(run.seconds for run in done) <= sizes.train_seconds:
                train(name)

    benchmark.pedantic(train, args=(OURS,), setup=others, rounds=sizes.train_rounds)  # type: ignore[no-untyped-call]
    compare_merges(runs)
    timings = {
        name: Timing([run.seconds for run in done], [run.cpu_seconds for run in done]) for name, done in runs.items()
    }
    figures: dict[str, Any] = compared(timings, path.stat().st_size)
    for name, done in runs.items():
        entry = figures if name == OURS else figures["peers"][name]
        entry["peak_mb"] = statistics.median(run.peak_mb for run in done)
        entry["start_mb"] = statistics.median(run.start_mb for run in done)
        entry["differs"] = trainers.DIFFERING.get(name)
    text = corpus if corpus == "demo" else f"grown from {base_corpus}"
    benchmark.extra_info |= figures
    benchmark.extra_info |= {"case": [text, vocab_size, threads], "corpus": text, "merges": runs[OURS][0].merges}


def compare_merges(runs: dict[str, list[Trained]]) -> None:
    """Fails where two runs of a trainer differ, or a peer's merges from fastlm's, but for those known to differ."""
    ours = runs[OURS][0]
    for name, done in runs.items():
        expected = done[0] if name in trainers.DIFFERING else ours
        for run in done:
            if run.digest != expected.digest:
                pytest.fail(f"{name} learned {run.merges} merges that are not the {expected.merges} expected")
