"""One BPE training in a separate process, whose peak memory is the training's: `python -m
fastlm.report.training_job VOCAB_SIZE OUT THREADS INPUT...` prints the figures as JSON."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path

from fastlm.bpe_training.trainer import train_bpe
from fastlm.corpus.read import Blocks, Corpus
from fastlm.process_memory import peak_bytes
from fastlm.tokenizer import Tokenizer
from fastlm.tokenizer_files import load

PACKAGE_ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Measured:
    """The figures of a training.

    Attributes:
        bytes: Size of the text, decompressed.
        threads: Number of threads that counted; 0 for all processors.
        seconds: Wall time.
        cpu_seconds: CPU time of all threads.
        counting_seconds: Wall time until the last block of the text was counted.
        counting_cpu_seconds: CPU time until then.
        merging_seconds: Wall time from the first merge to the last.
        base_bytes: Resident memory before the training.
        peak_bytes: Peak resident memory of the process.
    """

    bytes: int
    threads: int
    seconds: float
    cpu_seconds: float
    counting_seconds: float
    counting_cpu_seconds: float
    merging_seconds: float
    base_bytes: int
    peak_bytes: int


class _Clock:
    """Notes wall and CPU time at the first and the last report of each phase."""

    def __init__(self) -> None:
        self.first: dict[str, tuple[float, float]] = {}
        self.last: dict[str, tuple[float, float]] = {}

    def report(self, phase: str, done: int, total: int | None) -> None:
        now = (time.perf_counter(), time.process_time())
        self.first.setdefault(phase, now)
        self.last[phase] = now


def measure(inputs: list[str], vocab_size: int, threads: int | None) -> tuple[Tokenizer, Measured]:
    """Trains a tokenizer in this process and measures it."""
    clock = _Clock()
    base = peak_bytes()
    start, cpu_start = time.perf_counter(), time.process_time()
    with warnings.catch_warnings():
        # a stand-in may have too few pairs; the report shows the number of tokens
        warnings.simplefilter("ignore", UserWarning)
        tokenizer = train_bpe(Corpus(inputs), vocab_size, num_threads=threads, progress=clock.report)
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu_start
    counted, counted_cpu = clock.last["count"]
    merged = clock.last.get("merge", (0.0, 0.0))[0] - clock.first.get("merge", (0.0, 0.0))[0]
    peak = peak_bytes()
    return tokenizer, Measured(
        bytes=_text_bytes(Blocks(Corpus(inputs), tokenizer.splitter)),
        threads=threads or 0,
        seconds=seconds,
        cpu_seconds=cpu_seconds,
        counting_seconds=counted - start,
        counting_cpu_seconds=counted_cpu - cpu_start,
        merging_seconds=merged,
        base_bytes=base,
        peak_bytes=peak,
    )


def _text_bytes(blocks: Blocks) -> int:
    """The bytes of the text: the sizes of plain files, or else a count, which reads everything again."""
    files = blocks.files or []
    if blocks.total_bytes is not None and all(file.kind == "text" and not file.compression for file in files):
        return blocks.total_bytes
    return sum(len(block.text) for block in blocks)


def measured_in_child(
    inputs: tuple[str, ...], vocab_size: int, out: Path, threads: int | None
) -> tuple[Tokenizer, Measured]:
    """Trains a tokenizer in a child process.

    Args:
        inputs: Files, directories, globs and addresses.
        vocab_size: Maximum number of tokens.
        out: Directory for the tokenizer.
        threads: Number of threads; None for all processors.

    Returns:
        The tokenizer and the figures.

    Raises:
        ValueError: The training failed; the message is the last line of its error.
    """
    command = [sys.executable, "-m", "fastlm.report.training_job", str(vocab_size), str(out), str(threads or 0)]
    path = os.pathsep.join(filter(None, [str(PACKAGE_ROOT), os.environ.get("PYTHONPATH")]))
    child = subprocess.run(
        [*command, *inputs], capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": path}
    )
    if child.returncode:
        last = (child.stderr.strip().splitlines() or [f"exit code {child.returncode}"])[-1]
        raise ValueError(f"training on {', '.join(inputs)} failed: {last}")
    return load(out), Measured(**json.loads(child.stdout.splitlines()[-1]))


def main(arguments: list[str]) -> None:
    """Trains, saves the tokenizer, and prints the figures."""
    vocab_size, out, threads, *inputs = arguments
    tokenizer, found = measure(inputs, int(vocab_size), int(threads) or None)
    tokenizer.save(out)
    print(json.dumps(asdict(found)))


if __name__ == "__main__":
    main(sys.argv[1:])
