"""What all benchmarks share: sizes, the tokenizers, and what the report says of the run."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastlm
from benchmarks import OURS, corpus, peers, vocabulary
from benchmarks.peers import Encoder, UnsupportedError, ids_of
from benchmarks.sizes import FULL, QUICK, Sizes
from benchmarks.trainers import TRAINERS
from benchmarks.vocabulary import SharedVocabulary, shared_vocabulary
from fastlm.kernels import bpe

PROCESSORS = pytest.StashKey[int]()
LIBRARIES = ("numpy", "numba", *(name for name in peers.ADAPTERS if name != OURS))
JUDGES = ("tiktoken", "tokenizers")
"""Whose ids are right: where fastlm's differ from theirs, the run fails."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--quick", action="store_true", help="small texts, to see that all works; the figures mean little")
    parser.addoption("--long", action="store_true", help="also the slow trainers in all training benchmarks")
    parser.addoption(
        "--threads", type=int, default=1, help="run the benchmarks of so many threads, on as many processors"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Keeps the process on as many processors as there are to be threads, before a peer makes its pool of them.

    A pool of two threads on one processor would be slower than a pool of one: each thread has caches of its own.
    fastokens makes two even where RAYON_NUM_THREADS is 1, so that alone would not do.
    """
    threads = config.getoption("--threads")
    os.environ["RAYON_NUM_THREADS"] = str(threads)
    if hasattr(os, "sched_setaffinity"):
        config.stash[PROCESSORS] = len(os.sched_getaffinity(0))
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    threads = config.getoption("--threads")
    # a benchmark that does not name a number of threads uses one
    items[:] = [item for item in items if _parameters(item).get("threads", 1) == threads]
    if config.getoption("--quick"):
        few: dict[str, tuple[str, ...]] = {
            "vocabulary_name": vocabulary.names()[:2][-1:],
            "corpus_name": corpus.names()[:2],
        }
        items[:] = [
            item for item in items if all(_parameters(item).get(key, names[0]) in names for key, names in few.items())
        ]


def _parameters(item: pytest.Item) -> dict[str, Any]:
    return item.callspec.params if hasattr(item, "callspec") else {}


def pytest_benchmark_update_json(config: pytest.Config, benchmarks: list[Any], output_json: dict[str, Any]) -> None:
    """Adds what the report says of the run to pytest-benchmark's JSON."""
    names = sorted({*LIBRARIES, *TRAINERS} - {OURS})
    versions = {name: peers.version_of(name) for name in names}
    output_json["fastlm"] = {
        "vocabularies": vocabulary.names(),
        "quick": config.getoption("--quick"),
        "python": platform.python_version(),
        "fastlm": fastlm.__version__,
        "versions": {name: version for name, version in versions.items() if version},
        "skipped": [name for name, version in versions.items() if not version],
        "processors": config.stash.get(PROCESSORS, os.cpu_count()),
        "load": os.getloadavg() if hasattr(os, "getloadavg") else None,
    }


@pytest.fixture(scope="session")
def sizes(request: pytest.FixtureRequest) -> Sizes:
    return QUICK if request.config.getoption("--quick") else FULL


@dataclass
class Field:
    """fastlm and the peers that have a vocabulary: tokenizers that stay and get warm, and makers of cold ones.

    `left_out` says why a peer does not run: what it cannot do, and what it does wrong.
    """

    vocabulary: SharedVocabulary
    warm: dict[str, Encoder] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    right: set[tuple[str, object]] = field(default_factory=set)

    def cold(self, name: str) -> Encoder:
        return peers.fresh(name, self.vocabulary)

    def able(self, form: str, threads: int = 1) -> dict[str, Encoder]:
        """Those that have such a way."""
        return {name: encoder for name, encoder in self.warm.items() if encoder.way(form, threads)}

    def with_right_ids(
        self,
        form: str,
        threads: int,
        encode: Callable[[Encoder], object],
        key: object,
        among: Collection[str] = tuple(peers.ADAPTERS),
    ) -> tuple[list[str], int]:
        """Names of those that have such a way and give fastlm's ids, fastlm's among them, and the number of ids.

        `key` names the texts: whose ids were right once is not asked again. A peer with other ids runs no more with
        this vocabulary; where it is one of JUDGES, the benchmark fails.
        """
        able = {name: encoder for name, encoder in self.able(form, threads).items() if name in among}
        expected = ids_of(encode(able[OURS]))
        for name, encoder in able.items():
            if name == OURS or (name, key) in self.right:
                continue
            try:
                wrong = difference(expected, ids_of(encode(encoder)))
            except Exception as error:
                wrong = f"raises {type(error).__name__}"
            if not wrong:
                self.right.add((name, key))
                continue
            if name in JUDGES:
                pytest.fail(f"{name} {wrong}, against {OURS}: {key}")
            self.left_out[name] = wrong
            del self.warm[name]
        return [name for name in able if name in self.warm], sum(len(row) for row in expected)


def difference(expected: list[np.ndarray[Any, Any]], found: list[np.ndarray[Any, Any]]) -> str | None:
    """What is wrong with the ids found."""
    if len(found) != len(expected):
        return f"gives ids of {len(found)} texts, not of {len(expected)}"
    wrong = sum(not np.array_equal(*pair) for pair in zip(expected, found, strict=True))
    return f"wrong ids in {wrong:,} of {len(expected):,} texts" if wrong else None


@pytest.fixture(scope="session")
def contest(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Field]:
    """The contestants of a vocabulary by name; those of the last one asked for stay."""
    bpe.compiled()  # once a process, and not what any benchmark measures
    last: dict[str, Field] = {}

    def get(name: str) -> Field:
        if name not in last:
            last.clear()
            directory: Path = tmp_path_factory.mktemp(name)
            last[name] = made = Field(shared_vocabulary(directory, name))
            for peer in peers.installed():
                try:
                    made.warm[peer] = made.cold(peer)
                except UnsupportedError as reason:
                    made.left_out[peer] = str(reason)
        return last[name]

    return get
