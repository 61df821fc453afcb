"""One adapter a trainer, each run in a process of its own that prints its figures as JSON.

By hand: `python -m benchmarks.trainers NAME FILE MERGES DISTINCT_BYTES THREADS`. fastlm, gigabpe and sentencepiece are
told the number of threads; the others' pools follow RAYON_NUM_THREADS, which `run` sets.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from benchmarks import END_OF_TEXT
from benchmarks.memory import peak_mb

GPT2_PATTERN = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"


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
    """The figures of one process: seconds from the file to the merges, peaks of resident memory in MB after training
    and before it, and number and digest of the merges. `count_cpu_seconds`: of counting, if the trainer reports it."""

    seconds: float
    cpu_seconds: float
    peak_mb: float
    start_mb: float
    merges: int
    digest: str
    count_cpu_seconds: float | None = None


Merges = Iterable[tuple[str, str]]
"""Pairs in GPT-2's spelling, in which each byte is a printable character."""


counted_at: list[float] = []
"""CPU seconds of this process when fastlm last reported that it counts."""


def fastlm(task: Task) -> Callable[[], Merges]:
    from fastlm import train_bpe
    from fastlm.formats.gpt2 import spell

    def progress(phase: str, done: int, total: int | None) -> None:
        if phase == "count":
            counted_at[:] = [time.process_time()]

    tokenizer = train_bpe(
        task.path, task.vocab_size, [END_OF_TEXT], tie_break="hf", num_threads=task.threads, progress=progress
    )
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


def ffbpe(task: Task) -> Callable[[], Merges]:
    import ffbpe

    trainer = ffbpe.BpeTrainer([END_OF_TEXT], tie_break="smallest_pair_id", initial_alphabet="byte_level")
    counter = ffbpe.PreTokenizer([END_OF_TEXT], pat_str=GPT2_PATTERN).word_counter()
    with open(task.path, encoding="utf-8", newline="\n") as lines:
        counter.add_source(lines)
    trainer.add_word_counter(counter)
    trainer.train(task.vocab_size)

    def merges() -> Merges:
        with tempfile.TemporaryDirectory() as directory:
            files = Path(directory) / "vocab.json", Path(directory) / "merges.txt"
            trainer.save_files(*files, format="gpt2")
            lines = files[1].read_text("utf-8").split("\n")
        # the pair, "=>", and how often it occurred
        pairs = (line.split(" ")[:2] for line in lines if line and not line.startswith("#version"))
        return [(left, right) for left, right in pairs]

    return merges


def gigatoken(task: Task) -> Callable[[], Merges]:
    import gigatoken

    _, merges = gigatoken.train_bpe(str(task.path), task.vocab_size, [END_OF_TEXT], "huggingface")
    return lambda: [(_spelled(left), _spelled(right)) for left, right in merges]


def _spelled(token: bytes) -> str:
    from fastlm.formats.gpt2 import spell

    return spell(token)


def sentencepiece(task: Task) -> Callable[[], Merges]:
    import sentencepiece

    with tempfile.TemporaryDirectory() as directory:
        sentencepiece.SentencePieceTrainer.train(
            input=str(task.path),
            model_prefix=str(Path(directory) / "model"),
            model_type="bpe",
            vocab_size=task.vocab_size,
            num_threads=task.threads,
            max_sentence_length=1 << 30,
            hard_vocab_limit=False,
            minloglevel=2,
        )
        pieces = (Path(directory) / "model.vocab").read_text("utf-8").split("\n")
    return lambda: [("", piece) for piece in pieces]


TRAINERS = {
    trainer.__name__: trainer for trainer in (tokenizers, gigabpe, gigatoken, rustbpe, ffbpe, sentencepiece, fastlm)
}
DIFFERING = {"rustbpe": "breaks ties by byte values", "sentencepiece": "another task: characters, not bytes"}
"""Trainers whose merges are known to differ from fastlm's with tie_break="hf", and why."""


class TooSlowError(Exception):
    """A trainer did not end in time."""


def run(name: str, task: Task, limit: float) -> Trained:
    """Trains in a fresh process.

    Raises CalledProcessError where that fails; it has then said why on stderr. Raises TooSlowError where it has not
    ended after `limit` seconds; it is ended then.
    """
    environment = os.environ | {"RAYON_NUM_THREADS": str(task.threads), "PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, "-m", "benchmarks.trainers", name, *map(str, vars(task).values())]
    try:
        told = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, timeout=limit)
    except subprocess.TimeoutExpired:
        raise TooSlowError(f"not done after {limit:.0f} s") from None
    return Trained(**json.loads(told.stdout.splitlines()[-1]))  # some print before that


def train(name: str, task: Task) -> Trained:
    """Trains in this process."""
    importlib.import_module(name)  # not timed
    start_mb = peak_mb()
    start, cpu_start = time.perf_counter(), time.process_time()
    merges_of = TRAINERS[name](task)
    cpu_end, end = time.process_time(), time.perf_counter()
    highest_mb = peak_mb()
    merges = list(merges_of())
    digest = hashlib.sha256("\n".join(map(" ".join, merges)).encode()).hexdigest()
    counted = counted_at[0] - cpu_start if counted_at else None
    return Trained(end - start, cpu_end - cpu_start, highest_mb, start_mb, len(merges), digest, counted)


if __name__ == "__main__":
    name, path, *numbers = sys.argv[1:]
    print(json.dumps(vars(train(name, Task(Path(path), *map(int, numbers))))))
