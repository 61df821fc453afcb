"""Rows 16, 17 and 18: threads, forks and other start methods, memory that stays flat."""

from __future__ import annotations

import gc
import multiprocessing
import os
import random
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fastlm
from tests import texts
from tests.encoding.test_concurrency import calls_of
from tests.reliability.children import outcome_of
from tests.reliability.row import Row, Trial

END = "<|endoftext|>"


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


def forks(trial: Trial) -> None:
    """Children of a process in which another thread encodes all the time; then spawn and forkserver."""
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
            while trial.goes_on() or trial.tried < 20:
                found = outcome_of(child, 30.0)
                trial.count(not found, found)
    finally:
        ended.set()
        thread.join()
    for method in ("spawn", "forkserver"):
        with multiprocessing.get_context(method).Pool(2) as pool:
            for found in pool.map(tokenizer.encode, [text] * 4):
                trial.count(found == expected, method)
    trial.worst = f"{trial.tried} children, under fork, spawn and forkserver"


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

    worst = 0.0
    for name, work, times, most in (("texts", texts_encoded, 2000, 1e3), ("objects", objects_made, 10, 1e5)):
        rounds = 0
        for _ in range(40):
            work()
        gc.collect()
        before, part = _resident(), Trial(trial.seconds / 2)
        while part.goes_on() or rounds < 20:
            work()
            rounds += 1
            part.count(True)
        gc.collect()
        slope = (_resident() - before) / (rounds * times) * (1000 if name == "texts" else 1)
        # the cache of one state may still grow to its bound of 16 MB
        limit = most if _resident() - before > 32 << 20 else float("inf")
        trial.count(slope <= limit, f"{name}: {slope:.0f} B", times=rounds * times)
        worst = max(worst, (_resident() - before) / 1e6)
    trial.worst = f"{worst:.1f} MB more at the end"


ROWS = [
    Row(16, "threads with different options on one object", "0 wrong, 0 exceptions", threads),
    Row(17, "fork next to encoding threads, spawn, forkserver", "all end in 30 s with the right ids", forks),
    Row(18, "memory over distinct texts and dropped objects", "no growth beyond the cache", flat_memory),
]
