"""One training or one encoding of a whole corpus, in a process of its own that prints its figures as JSON.

By hand: `python -m benchmarks.corpus_jobs train TEXT OUT VOCAB_SIZE THREADS MAX_MEMORY`, in which 0 means no limit, and
`encode TEXT TOKENIZER OUT THREADS`. Resident memory is told by Linux's /proc.
"""

from __future__ import annotations

import itertools
import json
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks import END_OF_TEXT, MB, memory
from benchmarks.measure import Timing
from fastlm import _merge, load, train_bpe
from fastlm.bpe_training import phases, run_files
from fastlm.bpe_training.memory_limit import merge_bytes
from fastlm.corpus.encode_corpus import encode_corpus
from fastlm.corpus.manifest import TRAIN
from fastlm.corpus.read import Blocks, Corpus
from fastlm.corpus.text_blocks import BLOCK_BYTES
from fastlm.threads import map_in_order

SAMPLE_BYTES = 256_000_000
"""Of the text that the encoder is given in memory."""

Clock = tuple[float, float]


def clock() -> Clock:
    """Wall seconds, and CPU seconds of all threads of this process."""
    return time.perf_counter(), time.process_time()


class Observed(_merge.MergeLearner):
    """A learner that records its words, its times and its memory."""

    words = used_cells = 0
    peak_before = resident_before = 0.0
    began: Clock
    ended: Clock

    def add(self, text: Any, starts: Any, counts: Any) -> None:
        if not Observed.words:
            Observed.peak_before, Observed.resident_before = memory.peak_mb(), memory.resident_mb()
            memory.reset_peak()
            Observed.began = clock()
        Observed.words += len(counts)
        Observed.used_cells += _merge.cells_of(starts)
        super().add(text, starts, counts)

    def learn(self, progress: Any = None) -> Any:
        learned = super().learn(progress)
        Observed.ended = clock()
        return learned


class ObservedRuns(run_files.RunFiles):
    """Run files that note how many tables were written to them."""

    spilled = 0

    def spill(self, counter: Any) -> None:
        ObservedRuns.spilled += len(counter) > 0
        super().spill(counter)


def train(path: str, out: str, vocab_size: str, threads: str, max_memory: str) -> dict[str, Any]:
    """Seconds of a training from file and of its phases, peaks of memory in MB, what was counted, and the tokenizer's
    fingerprint; the tokenizer is saved in `out`."""
    _merge.MergeLearner = Observed  # type: ignore[misc]
    phases.RunFiles = ObservedRuns  # type: ignore[misc,attr-defined]
    counted: list[Clock] = []

    def progress(phase: str, done: int, total: int | None) -> None:
        if phase == "count":
            counted[:] = [clock()]

    base = memory.resident_mb()
    start = clock()
    tokenizer = train_bpe(
        path,
        int(vocab_size),
        [END_OF_TEXT],
        num_threads=int(threads),
        max_memory=int(max_memory) or None,
        progress=progress,
    )
    end = clock()
    merge_peak = memory.peak_mb()
    tokenizer.save(out)
    return {
        "threads": int(threads),
        "max_memory": int(max_memory),
        "vocab_size": tokenizer.vocab_size,
        **_between(start, end, ""),
        **_between(start, counted[0], "count_"),
        **_between(Observed.began, Observed.ended, "merge_"),
        "base_mb": base,
        "count_peak_mb": Observed.peak_before,
        "merge_peak_mb": merge_peak,
        "peak_mb": max(Observed.peak_before, merge_peak),
        "distinct": Observed.words,
        # memory that learning took beyond the memory before it, and the estimate of memory_limit
        "merge_taken_mb": merge_peak - Observed.resident_before,
        "merge_stated_mb": merge_bytes(Observed.used_cells) / MB,
        "spills": ObservedRuns.spilled,
        "fingerprint": tokenizer.vocabulary.fingerprint,
    }


def _between(start: Clock, end: Clock, phase: str) -> dict[str, float]:
    return {f"{phase}seconds": end[0] - start[0], f"{phase}cpu_seconds": end[1] - start[1]}


def encode(path: str, folder: str, out: str, threads: str) -> dict[str, Any]:
    """MB/s from file to shards and, after it, of the encoder alone on the first SAMPLE_BYTES in memory."""
    tokenizer = load(folder)
    tokenizer.encode("a")  # loads the compiled kernel
    number = int(threads)
    shards = Timing()
    shards.run(
        lambda: encode_corpus(
            tokenizer,
            Corpus([path], separator=END_OF_TEXT),
            out,
            format="bin",
            end_of_text=END_OF_TEXT,
            num_threads=number,
        )
    )
    peak = memory.peak_mb()
    size = Path(path).stat().st_size
    manifest = json.loads((Path(out) / "manifest.json").read_text())
    texts = []
    for block in itertools.islice(Blocks(path, tokenizer.splitter), SAMPLE_BYTES // BLOCK_BYTES):
        texts.append(bytes(block.text))
        block.release()
    alone = Timing()
    alone.run(lambda: [None for _ in map_in_order(lambda text: tokenizer.encode_to_numpy(text).size, texts, number)])
    tokens = sum(shard["tokens"] for shard in manifest["splits"][TRAIN])
    own = alone.rates(sum(map(len, texts)))
    return {
        "threads": number,
        "seconds": shards.seconds[0],
        "cpu_seconds": shards.cpu_seconds[0],
        **shards.rates(size),
        "own_mb_per_s": own["mb_per_s"],
        "own_cpu_mb_per_s": own["cpu_mb_per_s"],
        "peak_mb": peak,
        "tokens": tokens,
        "bytes_per_token": size / tokens,
        "shards": len(manifest["splits"][TRAIN]),
    }


if __name__ == "__main__":
    what, *arguments = sys.argv[1:]
    measure: Any = {"train": train, "encode": encode}[what]
    print(json.dumps(measure(*arguments)))
