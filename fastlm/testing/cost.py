"""Time and memory of libraries that encode the same texts."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from fastlm.formats import native
from fastlm.testing.peers import OnSpecial, Peer
from fastlm.testing.results import Cost
from fastlm.tokenizer import Tokenizer

WORKER = Path(__file__).with_name("memory_worker.py")
SECONDS = 600
"""The longest time for a process that measures memory."""


def costs(
    tokenizer: Tokenizer, peers: Sequence[Peer], texts: Sequence[str], on_special: OnSpecial, rounds: int
) -> list[Cost]:
    """What fastlm and each peer need to encode texts in one thread.

    Each library encodes the texts once before it is timed. Then the libraries take turns.

    Args:
        tokenizer: The tokenizer of fastlm.
        peers: The others.
        texts: The texts.
        on_special: What becomes of special tokens in texts.
        rounds: How often each library is timed.
    """
    sample = list(texts)

    def ours() -> object:
        return tokenizer.encode_batch(sample, 1, on_special=on_special)

    def theirs(peer: Peer) -> Callable[[], object]:
        return lambda: peer.encode(sample, on_special)

    calls = [ours, *map(theirs, peers)]
    for call in calls:
        call()
    times = [[_timed(call) for call in calls] for _ in range(rounds)]
    memory = _memory(tokenizer, peers, sample, on_special)
    medians = [[statistics.median(row[k][kind] for row in times) for kind in (0, 1)] for k in range(len(calls))]
    return [Cost(wall, cpu, rounds, peak) for (wall, cpu), peak in zip(medians, memory, strict=True)]


def _timed(call: Callable[[], object]) -> tuple[float, float]:
    """Wall seconds and CPU seconds of a call."""
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - wall, time.process_time() - cpu


def _memory(tokenizer: Tokenizer, peers: Sequence[Peer], texts: list[str], on_special: OnSpecial) -> list[int]:
    """The growth of a new process for each library, in bytes."""
    with tempfile.TemporaryDirectory(prefix="fastlm-check-") as folder:
        directory = Path(folder)
        for name, content in native.write(tokenizer.vocabulary).items():
            (directory / name).write_bytes(content)
        sample = directory / "texts.json"
        sample.write_text(json.dumps(texts), "utf-8")
        jobs = [{"library": "fastlm", "path": folder}, *(peer.stored(directory) for peer in peers)]
        return [_growth({**job, "texts": str(sample), "on_special": on_special}) for job in jobs]


def _growth(job: dict[str, Any]) -> int:
    command = [sys.executable, str(WORKER), json.dumps(job)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    if result.returncode:
        raise RuntimeError(f"measuring the memory of {job['library']} failed: {result.stderr.strip()[-500:]}")
    return int(result.stdout)
