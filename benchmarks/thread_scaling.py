"""The gain of two threads, against two processes that share nothing and have half of a text each."""

from __future__ import annotations

import multiprocessing
import os
import statistics
import time
from collections.abc import Callable
from functools import partial
from multiprocessing.connection import Connection, wait

from benchmarks import MB
from benchmarks.corpus import size_of
from fastlm import Tokenizer

ROUNDS = 15
COLD_ROUNDS = 9


class HalfProcess:
    """A process that encodes documents with a tokenizer of its own, on the processor of that number, when told to."""

    def __init__(self, tokenizer: Tokenizer, documents: list[str], number: int) -> None:
        spawning = multiprocessing.get_context("spawn")
        self.connection, theirs = spawning.Pipe()
        self.process = spawning.Process(target=_serve, args=(theirs, tokenizer, documents, number), daemon=True)
        self.process.start()

    def ready(self, cold: bool) -> None:
        """Has it prepare a pass, and waits for that."""
        self.connection.send(cold)
        self.connection.recv()

    def end(self) -> None:
        self.connection.send(None)
        self.process.join()


def _serve(connection: Connection, tokenizer: Tokenizer, documents: list[str], number: int) -> None:
    if hasattr(os, "sched_setaffinity"):
        processors = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {processors[number % len(processors)]})
    tokenizer.encode_batch_flat(documents, num_threads=1)
    while (cold := connection.recv()) is not None:
        encode = _encoding(tokenizer, cold, documents, 1)
        connection.send(None)
        connection.recv()
        start = time.perf_counter()
        encode()
        connection.send((start, time.perf_counter()))


def _encoding(tokenizer: Tokenizer, cold: bool, documents: list[str], threads: int) -> Callable[[], object]:
    """A pass by the tokenizer, or by one of the same vocabulary that has seen no text."""
    if cold:
        tokenizer = Tokenizer.from_vocabulary(tokenizer.vocabulary)
        tokenizer.encode("a first text sets everything up")
    return partial(tokenizer.encode_batch_flat, documents, num_threads=threads)


def _wall(encode: Callable[[], object]) -> float:
    start = time.perf_counter()
    encode()
    return time.perf_counter() - start


def _apart(halves: list[HalfProcess], cold: bool) -> float:
    """Seconds from when the first process begins to when the last one ends."""
    for half in halves:
        half.ready(cold)
    for half in halves:
        half.connection.send(None)
    spans = []
    waiting = [half.connection for half in halves]
    while waiting:
        for connection in wait(waiting):
            spans.append(connection.recv())  # type: ignore[union-attr, call-arg]
            waiting.remove(connection)  # type: ignore[arg-type]
    return max(end for _, end in spans) - min(start for start, _ in spans)


def pair_table(tokenizer: Tokenizer, corpora: dict[str, list[str]]) -> str:
    """One thread, two processes and two threads in turn, by wall time.

    The best passes, when nothing disturbed them, and the middle half of the ratios of all rounds.
    """
    lines = [
        "| corpus | state | one thread | two processes | two threads | of the limit |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for corpus, documents in corpora.items():
        middle = len(documents) // 2
        halves = [HalfProcess(tokenizer, half, k) for k, half in enumerate((documents[:middle], documents[middle:]))]
        for state, rounds in (("warm", ROUNDS), ("cold", COLD_ROUNDS)):
            cold = state == "cold"
            for _ in range(3):
                tokenizer.encode_batch_flat(documents, num_threads=2)
            alone, apart, together = [], [], []
            for _ in range(rounds):
                alone.append(_wall(_encoding(tokenizer, cold, documents, 1)))
                apart.append(_apart(halves, cold))
                together.append(_wall(_encoding(tokenizer, cold, documents, 2)))
            possible, found = (min(alone) / min(times) for times in (apart, together))
            lines.append(
                f"| {corpus} | {state} | {size_of(documents) / min(alone) / MB:.0f} MB/s "
                f"| {possible:.2f}x {_spread(alone, apart)} | {found:.2f}x {_spread(alone, together)} "
                f"| {found / possible:.0%} |"
            )
        for half in halves:
            half.end()
    return "\n".join(lines)


def _spread(alone: list[float], others: list[float]) -> str:
    """The middle half of the ratios, round by round."""
    low, _, high = statistics.quantiles([one / other for one, other in zip(alone, others, strict=True)], n=4)
    return f"({low:.2f} to {high:.2f})"
