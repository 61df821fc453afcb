"""Fixtures of all benchmarks: sizes, tokenizers, and the facts of the run for the report."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import fastlm
from benchmarks import OURS, corpus, machine, peers, vocabulary
from benchmarks.participants import Participants
from benchmarks.peers import UnsupportedError
from benchmarks.sizes import FULL, QUICK, Sizes
from benchmarks.trainers import TRAINERS
from benchmarks.vocabulary import shared_vocabulary

PROCESSORS = pytest.StashKey[int]()
LIBRARIES = ("numpy", "numba", *(name for name in peers.ADAPTERS if name != OURS))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--quick", action="store_true", help="small texts, to see that all works; the figures mean little")
    parser.addoption("--long", action="store_true", help="also the slow trainers in all training benchmarks")
    parser.addoption(
        "--threads", type=int, default=1, help="number of threads; the benchmarks run on as many processors"
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
    """Adds the facts of the run to pytest-benchmark's JSON."""
    output_json["commit_info"] |= machine.commit()
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


@pytest.fixture(scope="session")
def participants_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Participants]:
    """The participants of a vocabulary by name. Only the last vocabulary is kept."""
    last: dict[str, Participants] = {}

    def get(name: str) -> Participants:
        if name not in last:
            last.clear()
            directory: Path = tmp_path_factory.mktemp(name)
            last[name] = made = Participants(shared_vocabulary(directory, name))
            for peer in peers.installed():
                try:
                    made.warm[peer] = made.cold(peer)
                except UnsupportedError as reason:
                    made.left_out[peer] = str(reason)
        return last[name]

    return get
