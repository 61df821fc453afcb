"""Rows 16, 17 and 18: threads, forks and other start methods, memory that stays flat."""

from __future__ import annotations

import gc
import importlib.util
import multiprocessing
import os
import random
import re
import subprocess
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fastlm
from tests import texts
from tests.encoding.test_concurrency import calls_of
from tests.reliability.children import outcome_of
from tests.reliability.row import Row, Trial

ROOT = Path(__file__).resolve().parents[2]
END = "<|endoftext|>"
METHODS = ("fork", "spawn", "forkserver")
# seconds of a row from which on it starts processes that import torch, and tries the numbers of the table
LONG = 20.0
PARALLEL_SECONDS = 30.0
PARALLEL_THREADS = 4
PARALLEL_TESTS = (
    *("tests/native", "tests/text", "tests/decoding", "tests/vocabulary", "tests/normalizers", "tests/encoding"),
    *("tests/pretokenize", "tests/formats", "tests/bpe_training/test_merge.py", "tests/bpe_training/test_count.py"),
)


def _tokenizer() -> fastlm.Tokenizer:
    return fastlm.train_bpe(texts.DOCUMENTS[:10], 600, [END], num_threads=1)


def threads(trial: Trial) -> None:
    """Calls with all options in 2, 8 and 32 threads, the first ones at once, on one object; training next to it."""
    vocabulary, chance = _tokenizer().vocabulary, random.Random(8)
    reference = fastlm.Tokenizer.from_vocabulary(vocabulary)
    merges = fastlm.train_bpe(texts.DOCUMENTS[:5], 300, [], num_threads=1).merges
    while trial.goes_on():
        samples = [texts.random_string(chance) + chance.choice(["", END]) for _ in range(12)]
        expected = [{name: call() for name, call in calls_of(reference, text, 7).items()} for text in samples]
        for number in (2, 8, 32):
            shared = fastlm.Tokenizer.from_vocabulary(vocabulary)
            together = threading.Barrier(number)

            def work(
                worker: int,
                shared: fastlm.Tokenizer = shared,
                together: threading.Barrier = together,
                samples: list[str] = samples,
                expected: list[dict[str, object]] = expected,
            ) -> list[tuple[bool, str]]:
                own, found = random.Random(worker), []
                together.wait()
                if worker == 1:
                    same = fastlm.train_bpe(texts.DOCUMENTS[:5], 300, [], num_threads=2).merges == merges
                    return [(same, "training next to encoding")]
                for _ in range(8):
                    at = own.randrange(len(samples))
                    name, call = own.choice(list(calls_of(shared, samples[at], 7).items()))
                    found.append((call() == expected[at][name], f"{name}: {samples[at]!r:.80}"))
                return found

            with ThreadPoolExecutor(number) as pool:
                for found in pool.map(work, range(number)):
                    for right, what in found:
                        trial.count(right, what)
    trial.worst = "2, 8 and 32 threads"
    if trial.seconds >= PARALLEL_SECONDS and importlib.util.find_spec("pytest_run_parallel"):
        passed, report = _run_parallel()
        trial.count(True, times=passed)
        if report:
            trial.count(False, f"pytest-run-parallel: {report}")
        trial.worst += f"; {passed:,} tests that {PARALLEL_THREADS} threads run at once"


def _run_parallel() -> tuple[int, str]:
    """Runs each test of the extension modules in several threads at once. Returns how many passed, and a report."""
    # the threads of a test share the files of these fixtures, so a test that changes them runs in one thread
    shared_files = "thread_unsafe_fixtures=saved\nfolder"
    options = [
        "-q",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:xdist",
        f"--parallel-threads={PARALLEL_THREADS}",
        "-o",
        shared_files,
    ]
    command = [sys.executable, "-m", "pytest", *options, *PARALLEL_TESTS]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ | {"FASTLM_TEST_PROFILE": "brief"},
        capture_output=True,
        text=True,
        check=False,
        timeout=1800,
    )
    found = re.search(r"(\d+) passed", done.stdout)
    return int(found[1]) if found else 0, "" if done.returncode == 0 else (done.stdout + done.stderr)[-600:]


class Encoded:
    """A dataset for a DataLoader, whose items are encoded in its workers."""

    def __init__(self, tokenizer: fastlm.Tokenizer, samples: list[str]) -> None:
        self.tokenizer, self.samples = tokenizer, samples

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, number: int) -> list[int]:
        return self.tokenizer.encode(self.samples[number], num_threads=2)


def _data_loaders(trial: Trial, tokenizer: fastlm.Tokenizer) -> str:
    """Encodes in two workers of a DataLoader for each start method. Returns what was done."""
    if importlib.util.find_spec("torch") is None:
        return "torch is not installed"
    from torch.utils.data import DataLoader

    samples = texts.DOCUMENTS[:16]
    expected = [tokenizer.encode(text) for text in samples]
    for method in METHODS:
        loader = DataLoader(
            Encoded(tokenizer, samples),  # type: ignore[arg-type]
            batch_size=4,
            num_workers=2,
            multiprocessing_context=method,
            collate_fn=list,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            found = [ids for batch in loader for ids in batch]
        for ids, right in zip(found, expected, strict=True):
            trial.count(ids == right, f"DataLoader, {method}")
    return "DataLoader with each"


def forks(trial: Trial) -> None:
    """Children of a process in which another thread encodes all the time; then spawn, forkserver and DataLoaders."""
    least = 200 if trial.seconds >= LONG else 20
    tokenizer, text = _tokenizer(), "".join(texts.DOCUMENTS[:3]) + END
    expected, ended = tokenizer.encode(text), threading.Event()
    busy = fastlm.Tokenizer.from_vocabulary(tokenizer.vocabulary)

    def encode_until_the_end() -> None:
        while not ended.is_set():
            busy.encode(text, num_threads=2)

    def child() -> str:
        fresh = fastlm.Tokenizer.from_vocabulary(tokenizer.vocabulary)
        right = [busy.encode(text, num_threads=2) == expected, fresh.encode(text) == expected]
        return "" if all(right) else f"wrong ids: {right}"

    thread = threading.Thread(target=encode_until_the_end)
    thread.start()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            while trial.goes_on() or trial.tried < least:
                found = outcome_of(child, 30.0)
                trial.count(not found, found)
    finally:
        ended.set()
        thread.join()
    children = trial.tried
    for method in METHODS[1:]:
        with multiprocessing.get_context(method).Pool(2) as pool:
            for found in pool.map(tokenizer.encode, [text] * 4):
                trial.count(found == expected, method)
    loaders = _data_loaders(trial, tokenizer) if trial.seconds >= LONG else "no DataLoader"
    trial.worst = f"{children:,} children of fork; spawn and forkserver; {loaders}"


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def flat_memory(trial: Trial) -> None:
    """Growth over distinct texts, and over objects that are made and dropped, after a first part that warms up."""
    tokenizer, chance = _tokenizer(), random.Random(9)

    def texts_encoded() -> None:
        for _ in range(2000):
            tokenizer.encode(f"{chance.getrandbits(200):x} {chance.random()}")

    def objects_made() -> None:
        for _ in range(10):
            fastlm.Tokenizer.from_vocabulary(tokenizer.vocabulary).encode("some text")

    worst, done = 0.0, []
    least = {"texts": 500, "objects": 1000} if trial.seconds >= LONG else {"texts": 20, "objects": 20}
    for name, work, times, most in (("texts", texts_encoded, 2000, 1e3), ("objects", objects_made, 10, 1e5)):
        rounds = 0
        for _ in range(40):
            work()
        gc.collect()
        before, part = _resident(), Trial(trial.seconds / 2)
        while part.goes_on() or rounds < least[name]:
            work()
            rounds += 1
            part.count(True)
        gc.collect()
        slope = (_resident() - before) / (rounds * times) * (1000 if name == "texts" else 1)
        # the cache of one state may still grow to its bound of 16 MB
        limit = most if _resident() - before > 32 << 20 else float("inf")
        trial.count(slope <= limit, f"{name}: {slope:.0f} B", times=rounds * times)
        worst = max(worst, (_resident() - before) / 1e6)
        done.append(f"{rounds * times:,} {name}")
    trial.worst = f"{' and '.join(done)}: {worst:.1f} MB more at the end"


ROWS = [
    Row(16, "threads with different options on one object", "0 wrong, 0 exceptions", threads, share=4),
    Row(
        17,
        "fork next to encoding threads, spawn, forkserver, DataLoader",
        "all end in 30 s with the right ids",
        forks,
        share=3,
    ),
    Row(18, "memory over distinct texts and dropped objects", "no growth beyond the cache", flat_memory, share=2),
]
