"""A file to merges: throughput and peak memory, each trainer in a fresh process, in turns."""

from __future__ import annotations

import statistics
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks import OURS, corpus, trainers
from benchmarks.corpus import BLOCK_BYTES, MIXED, documents, grown_corpus
from benchmarks.hard_texts import LONG_PRETOKENS
from benchmarks.measure import Timing, compared
from benchmarks.peers import version_of
from benchmarks.sizes import Sizes
from benchmarks.trainers import Task, TooSlowError, Trained

SEED = 336
# the others take minutes on the larger tasks
QUICKEST = (OURS, "gigabpe", "gigatoken")
QUICK = (*QUICKEST, "rustbpe", "ffbpe")
ENGLISH = corpus.names()[0]

File = Callable[[str, int], Path]
Names = Callable[[tuple[str, ...]], tuple[str, ...]]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> File:
    """A text to train on by corpus and size, a document a line, each made once and kept until another is asked for."""
    path = tmp_path_factory.mktemp("train") / "text"
    last: list[tuple[str, int]] = []

    def get(name: str, size: int) -> Path:
        if [(name, size)] != last:
            last[:] = [(name, size)]
            with open(path, "wb") as out:
                out.writelines(grown_corpus(documents(name), size, SEED))
        return path

    return get


def distinct_bytes(path: Path) -> int:
    """How many of the 256 bytes occur in a file."""
    text = np.memmap(path, np.uint8, "r")
    blocks = (text[start : start + BLOCK_BYTES] for start in range(0, len(text), BLOCK_BYTES))
    return int(np.count_nonzero(sum(np.bincount(block, minlength=256) for block in blocks)))


class Training:
    """Runs of several trainers of one task."""

    def __init__(self, path: Path, vocab_size: int, threads: int, names: tuple[str, ...], sizes: Sizes) -> None:
        # 256 bytes and the special token
        self.task = Task(path, vocab_size - 257, distinct_bytes(path), threads)
        self.sizes = sizes
        self.limit = sizes.trainer_limit
        self.runs: dict[str, list[Trained]] = {
            name: [] for name in trainers.TRAINERS if name in names and (name == OURS or version_of(name))
        }
        self.left_out = {name: "left out; --long" for name in trainers.TRAINERS if name not in names}

    def measure(self, benchmark: BenchmarkFixture, rounds: int) -> None:
        """Everyone in turns; one that takes long sits out further rounds."""

        def train(name: str) -> None:
            self.runs[name].append(trainers.run(name, self.task, self.limit))

        def others() -> None:
            for name, done in list(self.runs.items()):
                if name != OURS and sum(run.seconds for run in done) <= self.sizes.train_seconds:
                    try:
                        train(name)
                    except (TooSlowError, subprocess.CalledProcessError) as error:
                        self.left_out[name] = str(error) if isinstance(error, TooSlowError) else "fails"
                        del self.runs[name]

        benchmark.pedantic(train, args=(OURS,), setup=others, rounds=rounds)  # type: ignore[no-untyped-call]
        self._compare_merges()
        timings = {
            name: Timing([run.seconds for run in done], [run.cpu_seconds for run in done])
            for name, done in self.runs.items()
        }
        figures: dict[str, Any] = compared(timings, self.task.path.stat().st_size)
        for name, done in self.runs.items():
            entry = figures if name == OURS else figures["peers"][name]
            entry["peak_mb"] = statistics.median(run.peak_mb for run in done)
            entry["start_mb"] = statistics.median(run.start_mb for run in done)
            entry["differs"] = trainers.DIFFERING.get(name)
        counted = [run.count_cpu_seconds for run in self.runs[OURS] if run.count_cpu_seconds]
        benchmark.extra_info |= figures
        benchmark.extra_info |= {
            "vocab_size": self.task.vocab_size,
            "threads": self.task.threads,
            "merges": self.runs[OURS][0].merges,
            "count_cpu_seconds": statistics.median(counted) if counted else None,
            "left_out": self.left_out,
        }

    def _compare_merges(self) -> None:
        """Fails where two runs of a trainer differ, or a peer's merges from fastlm's, but for those known to differ."""
        ours = self.runs[OURS][0]
        for name, done in self.runs.items():
            expected = done[0] if name in trainers.DIFFERING else ours
            for run in done:
                if run.digest != expected.digest:
                    pytest.fail(f"{name} learned {run.merges} merges that are not the {expected.merges} expected")


@pytest.fixture
def trainers_of(pytestconfig: pytest.Config) -> Names:
    """The trainers to run where these are quick enough."""
    return lambda names: tuple(trainers.TRAINERS) if pytestconfig.getoption("--long") else names


@pytest.mark.parametrize(("size", "threads"), [("train", 1), ("train", 2), ("long_train", 1)])
def test_train(
    benchmark: BenchmarkFixture, file: File, trainers_of: Names, sizes: Sizes, size: str, threads: int
) -> None:
    names = trainers_of(tuple(trainers.TRAINERS) if (size, threads) == ("train", 1) else QUICKEST)
    path = file(MIXED, getattr(sizes, f"{size}_bytes"))
    training = Training(path, sizes.train_vocab_size, threads, names, sizes)
    training.measure(benchmark, sizes.train_rounds)
    benchmark.extra_info |= {"topic": "train", "corpus": MIXED, "size": size}


def test_count(benchmark: BenchmarkFixture, file: File, trainers_of: Names, sizes: Sizes) -> None:
    """A vocabulary without a merge: the cost is counting, and the preparation of merging."""
    training = Training(file(ENGLISH, sizes.train_bytes), 257, 1, trainers_of(QUICK), sizes)
    training.measure(benchmark, sizes.train_rounds)
    benchmark.extra_info |= {"topic": "count", "corpus": ENGLISH}


def test_one_word(benchmark: BenchmarkFixture, trainers_of: Names, sizes: Sizes, tmp_path: Path) -> None:
    """One word of random letters that is the whole text."""
    path = tmp_path / "word"
    path.write_text(LONG_PRETOKENS["random letters"](sizes.word_bytes), "ascii")
    training = Training(path, sizes.word_vocab_size, 1, trainers_of((*QUICK, "tokenizers")), sizes)
    training.limit = sizes.word_limit
    training.measure(benchmark, 1)
    benchmark.extra_info |= {"topic": "word", "corpus": "one word"}
