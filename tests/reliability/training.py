"""Rows 3, 9, 11 and 19: training against the reference, large counts, kills, the memory limit."""

from __future__ import annotations

import random
import subprocess
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import fastlm
from fastlm import _merge
from tests import texts, training_kills
from tests.reference import bpe
from tests.reliability.row import Row, Trial

SYMBOL_OF_BYTE = np.argsort(bpe.BYTE_ORDER).astype(np.int32)


def exact_training(trial: Trial) -> None:
    chance = random.Random(5)
    while trial.goes_on():
        documents = [texts.random_string(chance, any_scalar=False) for _ in range(chance.randrange(1, 12))]
        size, tie_break = 256 + chance.randrange(1, 40), chance.choice(("cs336", "hf"))
        _, expected = bpe.train(documents, size, (), tie_break=tie_break)
        for threads in (1, 2, 4):
            chance.shuffle(documents)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found = fastlm.train_bpe(documents, size, [], tie_break=tie_break, num_threads=threads).merges
            trial.count(found == expected, f"{documents!r:.200}, {size}, {tie_break}, {threads} threads")


def large_counts(trial: Trial) -> None:
    """Totals around the limits of 31, 32 and 63 bits, of words and of pairs, against Python's integers."""
    for bits in (31, 32, 40, 62):
        for difference in (-1, 0, 1):
            total = (1 << bits) + difference
            words = Counter({b"xy": total // 2 + 1, b"xyz": total - total // 2 - 1, b"ab": total - 1, b"q": 3})
            for tie_break in ("cs336", "hf"):
                found = _learned(words, 2, tie_break)
                trial.count(found == bpe.learn(words, 2, tie_break), f"{total}, {tie_break}: {found}")
    words = Counter({b"ab": 1 << 62, b"abc": 1 << 62})
    try:
        found = _learned(words, 1, "cs336")
        trial.count(False, f"2^63: {found}")
    except ValueError:
        trial.count(True)


def _learned(words: Counter[bytes], merges: int, tie_break: str) -> list[tuple[bytes, bytes]]:
    starts = np.cumsum([0, *map(len, words)])
    learner = _merge.MergeLearner(_merge.cells_of(starts), merges, SYMBOL_OF_BYTE, tie_break)
    learner.add(np.frombuffer(b"".join(words), np.uint8), starts, np.array(list(words.values()), np.int64))
    tokens, found = [bytes([byte]) for byte in bpe.BYTE_ORDER], []
    for left, right in zip(*learner.learn(), strict=True):
        found.append((tokens[left], tokens[right]))
        tokens.append(tokens[left] + tokens[right])
    return found


def kills(trial: Trial) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = training_kills.text_file(Path(folder), 10_000_000)
        worst = 0.0
        while trial.goes_on():
            _, seconds = training_kills.run(5, path, seed=336 + trial.tried)
            worst = max(worst, seconds)
            trial.count(True, times=5)
        trial.worst = f"{worst:.1f} s for the slowest last run"


def memory_limit(trial: Trial) -> None:
    """Distinct words in several times the limit's bytes: the peak of the process, and the merges."""
    program = """
import random, re, sys
import fastlm
from fastlm.process_memory import resident_bytes
limit = resident_bytes() + (96 << 20)
def documents():
    chance = random.Random(6)
    for _ in range(int(sys.argv[1])):
        yield " ".join("%x" % chance.getrandbits(64) for _ in range(20_000))
tokenizer = fastlm.train_bpe(documents(), 400, [], max_memory=limit, num_threads=1)
# ru_maxrss would begin with the memory of the process that started this one
peak = 1024 * int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])
print(peak / limit, tokenizer.vocabulary.fingerprint)
"""
    documents = 100 if trial.seconds >= 20 else 20
    done = subprocess.run([sys.executable, "-c", program, str(documents)], capture_output=True, text=True, check=True)
    ratio, fingerprint = done.stdout.split()

    def words() -> Iterator[str]:
        chance = random.Random(6)
        for _ in range(documents):
            yield " ".join(f"{chance.getrandbits(64):x}" for _ in range(20_000))

    same = fastlm.train_bpe(words(), 400, [], num_threads=1).vocabulary.fingerprint == fingerprint
    trial.count(same and float(ratio) <= 1.15, f"peak {float(ratio):.2f} of the limit; same merges: {same}")
    trial.worst = f"peak {float(ratio):.2f} of max_memory, {documents * 20_000:,} words"


ROWS = [
    Row(3, "training against the reference, 1, 2 and 4 threads", "0 differ", exact_training),
    Row(9, "64-bit counts", "right merges around 2^31, 2^32, 2^40 and 2^62; 2^63 refused", large_counts),
    Row(11, "SIGKILL in training, then resume", "all bit-identical, no partial file", kills),
    Row(19, "memory limit of training", "peak at most 1.15 of max_memory, same merges", memory_limit),
]
