"""One adapter a trainer, each run in a process of its own that prints its figures as JSON.

By hand: `python -m benchmarks.trainers NAME FILE MERGES DISTINCT_BYTES THREADS`. fastlm and gigabpe are told the number
of threads; the others' pools follow RAYON_NUM_THREADS, which `run` sets.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

END_OF_TEXT = "<|endoftext|>"
GPT2_PATTERN = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
MB = 1e6


@dataclass(frozen=True)
class Task:
    """A text file, how many merges to learn from it, and in how many threads; `distinct_bytes` occur in the file."""

    path: Path
    merges: int
    distinct_bytes: int
    threads: int

    @property
    def vocab_size(self) -> int:
        """Of a vocabulary with all 256 bytes and END_OF_TEXT."""
        return 257 + self.merges


@dataclass(frozen=True)
class Trained:
    """What one process tells: seconds from the file to the merges, peaks of resident memory in MB after training and
    before it, and the merges' number and digest."""

    seconds: float
    cpu_seconds: float
    peak_mb: float
    start_mb: float
    merges: int
    digest: str


Merges = Iterable[tuple[str, str]]
"""Pairs in GPT-2's spelling, in which each byte is a printable character."""


def fastlm(task: Task) -> Callable[[], Merges]:
    from fastlm import train_bpe
    from fastlm.formats.gpt2 import spell

    tokenizer = train_bpe(task.path, task.vocab_size, [END_OF_TEXT], tie_break="hf", num_threads=task.threads)
    return lambda: [(spell(left), spell(right)) for left, right in tokenizer.merges]


def tokenizers(task: Task) -> Callable[[], Merges]:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from tokenizers.trainers import BpeTrainer

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = BpeTrainer(
        vocab_size=task.vocab_size,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train([str(task.path)], trainer)
    return lambda: [tuple(merge) for merge in json.loads(tokenizer.to_str())["model"]["merges"]]


def gigabpe(task: Task) -> Callable[[], Merges]:
    import gigabpe

    # its vocabulary has only the bytes that occur
    vocab_size = task.vocab_size - 256 + task.distinct_bytes
    _, merges = gigabpe.train_bpe(
        [str(task.path)], vocab_size, special_tokens=[END_OF_TEXT], pretokenizer="bytelevel", threads=task.threads
    )
    return lambda: merges


def rustbpe(task: Task) -> Callable[[], Merges]:
    import rustbpe

    tokenizer = rustbpe.Tokenizer()
    with open(task.path, encoding="utf-8", newline="\n") as lines:
        # it knows no special tokens
        tokenizer.train_from_iterator(lines, task.vocab_size - 1, pattern=GPT2_PATTERN)
    # it does not tell the two sides
    return lambda: [("", bytes(token).hex()) for token, rank in tokenizer.get_mergeable_ranks() if rank >= 256]


TRAINERS = {trainer.__name__: trainer for trainer in (tokenizers, gigabpe, rustbpe, fastlm)}
DIFFERING = {"rustbpe": "breaks ties by byte values"}
"""Trainers whose merges are known to differ from fastlm's with tie_break="hf", and why."""


def run(name: str, task: Task) -> Trained:
    """Trains in a fresh process. Raises CalledProcessError where that fails; it has then said why on stderr."""
    environment = os.environ | {"RAYON_NUM_THREADS": str(task.threads), "PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, "-m", "benchmarks.trainers", name, *map(str, vars(task).values())]
    told = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE)
    return Trained(**json.loads(told.stdout))


def train(name: str, task: Task) -> Trained:
    """Trains in this process."""
    importlib.import_module(name)  # not timed
    start_mb = _peak_mb()
    start, cpu_start = time.perf_counter(), time.process_time()
    merges_of = TRAINERS[name](task)
    cpu_end, end = time.process_time(), time.perf_counter()
    peak_mb = _peak_mb()
    merges = list(merges_of())
    digest = hashlib.sha256("\n".join(map(" ".join, merges)).encode()).hexdigest()
    return Trained(end - start, cpu_end - cpu_start, peak_mb, start_mb, len(merges), digest)


def _peak_mb() -> float:
    """Peak of this process's resident memory in MB. Linux counts the parent's into ru_maxrss, hence VmHWM there."""
    status = Path("/proc/self/status")
    if status.exists():
        fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(fields["VmHWM"].split()[0]) * 1024 / MB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / MB


if __name__ == "__main__":
    name, path, *numbers = sys.argv[1:]
    print(json.dumps(vars(train(name, Task(Path(path), *map(int, numbers))))))
