"""Time and instructions of each stage of encoding, and the memory bandwidth: `python -m benchmarks.encode_profile`.

Writes the tables of docs/performance.md between their marks. One thread, on one processor, by processor time, the best
of several passes: the cost of a stage on a quiet machine. Instructions are counted by valgrind where it is
installed, in the difference of two runs of which one has more passes. What two threads could gain is what two processes
do (benchmarks/thread_scaling.py).
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path

import cpuinfo
import numpy as np

import fastlm
from benchmarks import MB
from benchmarks.corpus import documents, names, sample
from benchmarks.thread_scaling import pair_table
from benchmarks.vocabulary import names as vocabulary_names
from benchmarks.vocabulary import shared_vocabulary
from fastlm import Tokenizer, load
from fastlm.pretokenize import _scan

PAGE = Path(__file__).resolve().parents[1] / "docs" / "performance.md"
TEXT_BYTES = 3_000_000
MEMORY_BYTES = 256_000_000
PASSES = 25
COLD_PASSES = 7
COUNTED_PASSES = (
    50  # the rest of the process differs by ten million instructions between runs, which is little next to these passes
)
CORPORA = ("english", "code", "multilingual")
INSTRUCTIONS = re.compile(r"Collected : (\d+)")


@dataclass(frozen=True)
class Subject:
    """A text, its documents, and the vocabulary it is encoded with."""

    tokenizer: Tokenizer
    documents: list[str]

    @property
    def scanner(self) -> str:
        name = self.tokenizer.vocabulary.pattern.scanner
        assert name is not None
        return name


def best(call: Callable[[], object], passes: int = PASSES) -> float:
    """Processor seconds of the fastest pass."""

    def passed() -> float:
        start = time.process_time()
        call()
        return time.process_time() - start

    return min(passed() for _ in range(passes))


def cold(subject: Subject) -> float:
    """Processor seconds of encoding by a tokenizer that has seen no text."""

    def passed() -> float:
        tokenizer = Tokenizer.from_vocabulary(subject.tokenizer.vocabulary)
        tokenizer.encode("a first text sets everything up")
        return best(partial(tokenizer.encode_batch_flat, subject.documents, num_threads=1), 1)

    return min(passed() for _ in range(COLD_PASSES))


def subject_of(corpus: str, tokenizer: Tokenizer) -> Subject:
    return Subject(tokenizer, sample(documents(corpus), TEXT_BYTES))


def machine() -> str:
    versions = f"Python {platform.python_version()}, fastlm {fastlm.__version__}, numba {version('numba')}"
    return f"{cpuinfo.get_cpu_info()['brand_raw']}, {versions}"


def memory_table() -> str:
    """What memory allows: the rates of reading a text and of copying one, larger than the caches."""
    text = np.ones(MEMORY_BYTES // 8, np.uint64)
    into = np.empty_like(text)
    reading = MEMORY_BYTES / best(text.sum, 5) / 1e9
    copying = MEMORY_BYTES / best(partial(np.copyto, into, text), 5) / 1e9
    return f"| reading | copying |\n|---:|---:|\n| {reading:.1f} GB/s | {copying:.1f} GB/s |"


def stage_table(tokenizer: Tokenizer, corpora: list[str]) -> str:
    lines = [
        "| corpus | bytes a pretoken | scan alone | encode warm | encode cold | known pretoken | new pretoken |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for corpus in corpora:
        subject = subject_of(corpus, tokenizer)
        text = "".join(subject.documents).encode()
        size, ends = len(text), _scan.pretoken_ends(text, subject.scanner)
        starts = [0, *ends[:-1].tolist()]
        known = set(tokenizer.vocabulary.tokens.values())
        new = {text[start:end] for start, end in zip(starts, ends.tolist(), strict=True)} - known
        encode = partial(tokenizer.encode_batch_flat, subject.documents, num_threads=1)
        encode()
        scanning, warm, first = best(partial(_scan.pretoken_ends, text, subject.scanner)), best(encode), cold(subject)
        lines.append(
            f"| {corpus} | {size / len(ends):.2f} | {size / scanning / MB:,.0f} MB/s | {size / warm / MB:.0f} MB/s "
            f"| {size / first / MB:.0f} MB/s | {(warm - scanning) / len(ends) * 1e9:.1f} ns "
            f"| {(first - warm) / len(new) * 1e9:.0f} ns |"
        )
    return "\n".join(lines)


def instructions(work: str, corpus: str, passes: int) -> int:
    """Instructions of a process that does this number of passes."""
    command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", sys.executable, "-m", __spec__.name]
    ended = subprocess.run(
        [*command, "--work", work, "--corpus", corpus, "--passes", str(passes)],
        check=True, capture_output=True, text=True, env={**os.environ, "PYTHONHASHSEED": "0"},
    )  # fmt: skip
    found = INSTRUCTIONS.search(ended.stderr)
    assert found, ended.stderr
    return int(found[1])


def instruction_table(tokenizer: Tokenizer, corpora: list[str]) -> str:
    if shutil.which("valgrind") is None:
        return "valgrind is not installed, so instructions were not counted."
    lines = ["| corpus | scan, a byte | scan, a pretoken | look-up and ids, a pretoken |", "|---|---:|---:|---:|"]
    for corpus in corpora:
        subject = subject_of(corpus, tokenizer)
        text = "".join(subject.documents).encode()
        pretokens = len(_scan.pretoken_ends(text, subject.scanner))
        instructions(
            "encode", corpus, 1
        )  # compiles the kernel for the processor that valgrind emulates; the disk cache keeps it
        scan, encode = (
            (instructions(work, corpus, 1 + COUNTED_PASSES) - instructions(work, corpus, 1)) / COUNTED_PASSES
            for work in ("scan", "encode")
        )
        lines.append(
            f"| {corpus} | {scan / len(text):.2f} | {scan / pretokens:.1f} | {(encode - scan) / pretokens:.1f} |"
        )
    return "\n".join(lines)


def do(work: str, subject: Subject, passes: int) -> None:
    """The work whose instructions are counted: passes that differ in nothing but their number."""
    text = "".join(subject.documents).encode()
    for _ in range(passes):
        if work == "scan":
            _scan.pretoken_ends(text, subject.scanner)
        else:
            subject.tokenizer.encode_batch_flat(subject.documents, num_threads=1)


def filled(page: str, tables: dict[str, str]) -> str:
    """The page with these tables between `<!-- name -->` and `<!-- /name -->`. Raises ValueError for a missing mark."""
    for name, table in tables.items():
        mark = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
        place = mark.search(page)
        if place is None:
            raise ValueError(f"{PAGE} has no place for {name}")
        page = f"{page[: place.end(1)]}\n{table}\n\n{page[place.start(2) :]}"
    return page


def _on_one_processor() -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", choices=("scan", "encode"), help="only do this, for a tool that watches")
    parser.add_argument("--only", choices=("machine", "pairs", "memory", "stages", "instructions"))
    parser.add_argument("--corpus", default="english")
    parser.add_argument("--passes", type=int, default=1)
    arguments = parser.parse_args()
    vocabulary = vocabulary_names()[:2][-1]
    with tempfile.TemporaryDirectory() as directory:
        tokenizer = load(shared_vocabulary(Path(directory), vocabulary).native)
    corpora = [name for name in names() if name in CORPORA] or list(names())
    if arguments.work:
        _on_one_processor()
        do(arguments.work, subject_of(arguments.corpus, tokenizer), arguments.passes)
        return
    tables: dict[str, Callable[[], str]] = {
        "machine": lambda: f"{machine()}; vocabulary {vocabulary}.",
        # before this process is kept on one processor
        "pairs": lambda: pair_table(tokenizer, {name: subject_of(name, tokenizer).documents for name in corpora}),
        "memory": memory_table,
        "stages": lambda: stage_table(tokenizer, corpora),
        "instructions": lambda: instruction_table(tokenizer, corpora[:1]),
    }
    made = {}
    for name, table in tables.items():
        if name not in ("machine", "pairs"):
            _on_one_processor()
        if arguments.only in (None, name):
            made[name] = table()
    PAGE.write_text(filled(PAGE.read_text("utf-8"), made), "utf-8")


if __name__ == "__main__":
    main()
