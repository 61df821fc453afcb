"""Encoding on a Ray cluster of two processors, with one worker and with two: `python -m benchmarks.ray_encoding [MB]`.

Prints the wall time of each, their ratio, and the bytes of ids that passed the driver: those of arrays in the results
that it fetched and of the shards that it wrote. The shards of both jobs must be those of the local engine.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import fastlm
from benchmarks import END_OF_TEXT
from fastlm.corpus.manifest import read_manifest
from fastlm.corpus.read import Corpus
from fastlm.corpus.shard_writer import SplitWriter
from fastlm.demo.texts import demo_corpus
from fastlm.tokenizer import Tokenizer

STORE_BYTES = 100_000_000
ROUNDS = 3


class Counted:
    """Bytes of ids in this process."""

    size = 0


def write_text(path: Path, size: int) -> None:
    """Writes a text of about `size` bytes: paragraphs that ship with CPython, in a random order."""
    paragraphs = [paragraph for document in demo_corpus() for paragraph in document.split("\n\n")]
    order = np.random.default_rng(0)
    with open(path, "w", encoding="utf-8") as out:
        while out.tell() < size:
            chosen = order.integers(0, len(paragraphs), 4000)
            out.write("".join(paragraphs[k] + ("\n\n" if k % 9 else END_OF_TEXT) for k in chosen.tolist()))


def count_ids(ray: Any) -> None:
    """Counts the ids that this process fetches from the cluster or writes."""
    get, write = ray.get, SplitWriter.write

    def counting_get(found: Any) -> Any:
        result = get(found)
        values = result if isinstance(result, list | tuple) else [result]
        Counted.size += sum(value.nbytes for value in values if isinstance(value, np.ndarray))
        return result

    def counting_write(writer: SplitWriter, ids: Any, ends: Any) -> None:
        Counted.size += ids.nbytes
        write(writer, ids, ends)

    ray.get, SplitWriter.write = counting_get, counting_write  # type: ignore[assignment,method-assign]


def encoded(tokenizer: Tokenizer, corpus: Corpus, out: Path, workers: int) -> float:
    """Encodes with this number of workers, and returns the wall seconds."""
    start = time.perf_counter()
    fastlm.encode_corpus(
        tokenizer, corpus, out, engine="ray", num_threads=workers, end_of_text=END_OF_TEXT, shard_tokens=10_000_000
    )
    return time.perf_counter() - start


def main() -> None:
    """Runs the benchmark."""
    import ray

    size = int(sys.argv[1]) * 10**6 if len(sys.argv) > 1 else 400_000_000
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_text(folder / "text", size)
        corpus = Corpus([folder / "text"], separator=END_OF_TEXT)
        tokenizer = fastlm.train_bpe(demo_corpus(), 16_000, [END_OF_TEXT])
        expected = fastlm.encode_corpus(
            tokenizer, corpus, folder / "local", end_of_text=END_OF_TEXT, shard_tokens=10_000_000
        )
        root = str(Path(fastlm.__file__).parents[1])
        ray.init(
            "local",
            num_cpus=2,
            object_store_memory=STORE_BYTES,
            include_dashboard=False,
            log_to_driver=False,
            runtime_env={"env_vars": {"PYTHONPATH": root}},
        )
        try:
            count_ids(ray)
            times: dict[int, list[float]] = {1: [], 2: []}
            for turn in range(ROUNDS + 1):
                for workers, found in times.items():
                    out = folder / f"{workers}-{turn}"
                    seconds = encoded(tokenizer, corpus, out, workers)
                    if read_manifest(out) != expected:
                        raise AssertionError(f"{out}: other shards than those of the local engine")
                    # the first turn starts the workers
                    if turn:
                        found.append(seconds)
                        load = os.getloadavg()[0]
                        print(f"{workers} workers: {seconds:.2f} s (load {load:.1f})", flush=True)
        finally:
            ray.shutdown()
        one, two = (statistics.median(times[workers]) for workers in (1, 2))
        text = (folder / "text").stat().st_size / 1e6
        print(f"{text:.0f} MB of text, {expected.tokens / 1e6:.0f} million ids, medians of {ROUNDS} turns:")
        print(f"one worker {one:.2f} s, two workers {two:.2f} s, ratio {one / two:.2f}")
        print(f"bytes of ids that passed the driver: {Counted.size:,}")


if __name__ == "__main__":
    main()
