"""Rows 6, 12, 13 and 15: damaged vocabularies and models, killed encode jobs, failing writes."""

from __future__ import annotations

import hashlib
import json
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import fastlm
from tests import texts
from tests.hostile_files import limits
from tests.reliability import failing, limited
from tests.reliability.row import Row, Trial

SLOWEST = 1.0  # seconds of CPU time


def _changed(chance: random.Random, content: bytes) -> bytes:
    """Flipped bits, a cut, swapped lines, other numbers, deep JSON, NUL bytes, a byte order mark, CRLF."""
    kind = chance.randrange(8)
    if kind == 0:
        return content[: chance.randrange(len(content))]
    if kind == 1:
        lines = content.splitlines(keepends=True)
        chance.shuffle(lines)
        return b"".join(lines)
    if kind == 2:
        numbers = list(re.finditer(rb"\d+", content))
        if numbers:
            at = chance.choice(numbers)
            other = chance.choice([b"-1", b"0", b"1", b"4294967296", b"99999999999", b"1e9", at.group() * 2])
            return content[: at.start()] + other + content[at.end() :]
    if kind == 3:
        at = chance.randrange(len(content))
        return content[:at] + chance.choice([b"[" * 5000, b'{"a":' * 5000, b"\0" * 9, b"\xef\xbb\xbf"]) + content[at:]
    if kind == 4:
        return content.replace(b"\n", b"\r\n")
    changed = bytearray(content)
    for _ in range(chance.choice((1, 1, 2, 8))):
        changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def vocabularies(trial: Trial) -> None:
    """Each mutation is refused with ValueError, KeyError or OSError, or loads, within a second of CPU time."""
    chance = random.Random(7)
    tokenizer = fastlm.train_bpe(texts.DOCUMENTS[:4], 400, ["<|endoftext|>"], num_threads=1)
    silent = native = 0
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        tokenizer.save(folder, ["fastlm", "tokenizer.json", "gpt2", "transformers"])
        minbpe = fastlm.Tokenizer(
            {k: bytes([k]) for k in range(256)} | {256: b"ab"}, [(b"a", b"b")], pattern="minbpe-gpt4"
        )
        minbpe.save(folder, ["minbpe", "tiktoken"])
        good = {path: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}
        while trial.goes_on():
            path = chance.choice(list(good))
            content = _changed(chance, good[path])
            is_native = path.suffix == ".fastlm"
            recomputed = is_native and chance.random() < 0.5
            if recomputed:
                content = content[:-32] + hashlib.sha256(content[:-32]).digest()
            path.write_bytes(content)
            start, fault = time.process_time(), ""
            try:
                fastlm.load(path, pattern=None if path.suffix in (".json", ".fastlm", ".model") else "gpt2")
                silent += content != good[path]
                if is_native and not recomputed and content != good[path]:
                    fault = "accepted with a wrong checksum"
            except (ValueError, KeyError, OSError, MemoryError):
                native += is_native
            except Exception as error:  # noqa: BLE001 - any other exception is the fault that is looked for
                fault = f"{type(error).__name__}: {error}"
            seconds = time.process_time() - start
            if seconds > SLOWEST:
                fault = fault or f"{seconds:.1f} s"
            trial.count(not fault, f"{path.name}: {fault:.200}")
            trial.figure(seconds, f"{seconds:.2f} s; {silent:,} changed files are vocabularies too")
            path.write_bytes(good[path])


def hostile(trial: Trial) -> None:
    """The folder of hostile files, each in a process with 1 s of CPU time and 100 MB."""
    vocabularies(trial)
    limits.prepare()
    with tempfile.TemporaryDirectory() as folder:
        for file in limits.hostile_files():
            path = limits.write(file, Path(folder))
            fault = limits.fault_of(file, path, limits.outcome_of(file, path))
            trial.count(not fault, f"{file.name}: {fault}")
            shutil.rmtree(Path(folder) / file.name)


def _module(trial: Trial, name: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", name, *arguments], capture_output=True, text=True, check=False
    )  # fmt: skip
    if done.returncode:
        trial.count(False, f"{name}: {(done.stdout + done.stderr)[-300:]}")
    return done.stdout


def kills(trial: Trial) -> None:
    """As many kills as fit: one takes about a second on an idle machine."""
    number = max(2, int(trial.seconds / 3))
    found = re.search(r"(\d+) tried, (\d+) survived", _module(trial, "tests.corpus_kills", "--kills", str(number)))
    if found:
        tried, survived = map(int, found.groups())
        trial.count(True, times=survived)
        if tried > survived:
            trial.count(False, "shards differ", times=tried - survived)


OPERATIONS_OF_FILES = (
    *("save fastlm", "save four", "shards bin", "shards npy", "shards megatron", "training checkpoint"),
    *("model", "llama", "checkpoint of a model"),
)
OPERATIONS_OF_MEMORY = ("load", "encode", "batch", "offsets", "decode", "train")


def _calls(
    trial: Trial,
    tried: Callable[..., Iterator[tuple[str, int, str]]],
    kind: str,
    names: tuple[str, ...],
    seconds: float,
) -> int:
    """Lets operations fail in turn, each for its part of the seconds. Returns the largest number of a call."""
    most = 0
    for name in names:
        for operation, k, fault in tried(kind, name, max(1.0, seconds / len(names))):
            trial.count(not fault, f"{kind}: {operation}: {k}: {fault}")
            most = max(most, k)
    return most


def failing_writes(trial: Trial) -> None:
    """The k-th call fails, then files are limited in size, then a disk is full."""
    most = _calls(trial, failing.tried, "files", OPERATIONS_OF_FILES, trial.seconds * 0.6)
    of_calls = trial.tried
    _calls(trial, limited.tried, "file_size", OPERATIONS_OF_FILES, trial.seconds * 0.2)
    of_sizes, disk = trial.tried - of_calls, limited.reason_without_disk()
    if not disk:
        _calls(trial, limited.tried, "disk", OPERATIONS_OF_FILES, trial.seconds * 0.2)
    full = disk or f"{trial.tried - of_calls - of_sizes:,} full disks"
    trial.worst = f"{of_calls:,} calls, the largest k {most}; {of_sizes:,} limits of the size of a file; {full}"


def failing_allocations(trial: Trial) -> None:
    """The k-th allocation fails, then the address space is limited."""
    most = _calls(trial, failing.tried, "memory", OPERATIONS_OF_MEMORY, trial.seconds * 0.6)
    of_calls = trial.tried
    _calls(trial, limited.tried, "memory", OPERATIONS_OF_MEMORY, trial.seconds * 0.4)
    of_limits = trial.tried - of_calls
    trial.worst = f"{of_calls:,} allocations, the largest k {most}; {of_limits:,} limits of the address space"


def models(trial: Trial) -> None:
    from tests.model import mutations

    number = max(10, int(trial.seconds * 4))
    for name in mutations.FORMATS:
        with tempfile.TemporaryDirectory() as folder:
            outcomes = mutations.run_mutations(name, number, 1, Path(folder))
        right = outcomes["refused"] + outcomes["same"]
        trial.count(True, times=right)
        if sum(outcomes.values()) > right:
            trial.count(False, f"{name}: {json.dumps(outcomes)}", times=sum(outcomes.values()) - right)


ROWS = [
    Row(6, "damaged vocabularies, and small hostile files", "refused by name, under 1 s and 100 MB", hostile, share=3),
    Row(12, "SIGKILL in encoding to shards, then resume", "all bit-identical, no partial shard", kills),
    Row(
        13,
        "the k-th write, open, sync or rename fails; files limited in size; a full disk",
        "OSError, old files intact, nothing temporary left, works after",
        failing_writes,
        share=6,
    ),
    Row(
        14,
        "the k-th allocation of 16 kB or more fails; a limited address space",
        "MemoryError or a result; works after",
        failing_allocations,
        share=5,
    ),
    Row(15, "damaged models of three formats", "refused or the same model; no code runs", models),
]
