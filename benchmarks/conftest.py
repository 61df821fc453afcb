"""What all benchmarks share: sizes, texts, the vocabulary, the tokenizers, and what the report says of the run."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from typing import Any

import pytest

import fastlm
from benchmarks import corpus, peers
from benchmarks.measure import OURS
from benchmarks.peers import Encoder
from benchmarks.sizes import FULL, QUICK, Sizes
from benchmarks.trainers import TRAINERS
from benchmarks.vocabulary import SharedVocabulary, shared_vocabulary
from fastlm.kernels import bpe

VOCABULARY_NAME = pytest.StashKey[str]()
PROCESSORS = pytest.StashKey[int]()
LIBRARIES = ("numpy", "numba", *(name for name in peers.ADAPTERS if name != OURS))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--quick", action="store_true", help="small texts, to see that all works; the figures mean little")
    parser.addoption(
        "--threads", type=int, default=1, help="run the benchmarks of so many threads, on as many processors"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Keeps the process on as many processors as there are to be threads, before a peer makes its pool of them.

    A pool of two threads on one processor would be slower than a pool of one: each thread has caches of its own.
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


def _parameters(item: pytest.Item) -> dict[str, Any]:
    return item.callspec.params if hasattr(item, "callspec") else {}


def pytest_benchmark_update_json(config: pytest.Config, benchmarks: list[Any], output_json: dict[str, Any]) -> None:
    """Adds what the report says of the run to pytest-benchmark's JSON."""
    names = sorted({*LIBRARIES, *TRAINERS} - {OURS})
    versions = {name: peers.version_of(name) for name in names}
    output_json["fastlm"] = {
        "vocabulary": config.stash.get(VOCABULARY_NAME, None),
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
def documents() -> Callable[[str], list[str]]:
    """Documents of a corpus by name; skips where it is not there."""
    found = corpus.corpora()

    def get(name: str) -> list[str]:
        if name not in found:
            pytest.skip(f"there are no {name} texts in FASTLM_DATA")
        return found[name]

    return get


@pytest.fixture(scope="session")
def base_corpus() -> str:
    """The corpus that the grown one grows from: English where it is there, else the demo corpus."""
    return "english" if corpus.paths_of("english") else "demo"


@pytest.fixture(scope="session")
def vocabulary(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> SharedVocabulary:
    bpe.compiled()  # once a process, and not what any benchmark measures
    shared = shared_vocabulary(tmp_path_factory.mktemp("vocabulary"))
    request.config.stash[VOCABULARY_NAME] = shared.name
    return shared


@pytest.fixture(scope="session")
def encoders(vocabulary: SharedVocabulary) -> dict[str, Encoder]:
    """fastlm and every installed peer; they stay for the session and get warm."""
    return {name: peers.fresh(name, vocabulary) for name in peers.installed()}
