"""Measures the rates for an estimate on this machine, in a few seconds."""

from __future__ import annotations

import itertools
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from fastlm import _merge
from fastlm._types import Int32Array
from fastlm.bpe_training.base import byte_symbols, grown_vocabulary, new_vocabulary
from fastlm.bpe_training.counting import count_pretokens
from fastlm.bpe_training.phases import Progress
from fastlm.corpus.encode_corpus import encode_corpus
from fastlm.corpus.read import Blocks, Source
from fastlm.corpus.shard_writer import HashedFile
from fastlm.corpus.text_blocks import BLOCK_BYTES
from fastlm.planning.estimate import Rates
from fastlm.pretokenize.patterns import find_pattern
from fastlm.pretokenize.text_splitter import TextSplitter
from fastlm.progress import reporting
from fastlm.tokenizer import Tokenizer

SAMPLE_BYTES = 128_000_000
# ids that are written at a time, about as many as a block has
WRITE_IDS = 1 << 20
Result = TypeVar("Result")


def measure_rates(
    source: Source,
    vocab_size: int,
    tokenizer: Tokenizer | None = None,
    sample_bytes: int = SAMPLE_BYTES,
    progress: Progress | bool | None = None,
) -> Rates:
    """Measures the CPU time of one thread on the start of a text.

    Args:
        source: The text, as train_bpe takes it.
        vocab_size: Vocabulary size to which merges are learned.
        tokenizer: Splits and encodes the text. Default: GPT-2's pattern, and the tokenizer learned here.
        sample_bytes: Bytes of text that are used.
        progress: Called as in train_bpe, with the phases "count", "merge" and "encode".

    Raises:
        ValueError: The text is too short, or not readable (see corpus.read.Blocks).
        OSError: A file cannot be read.
    """
    with reporting(progress) as report:
        return _measured(source, vocab_size, tokenizer, sample_bytes, report)


def _measured(
    source: Source, vocab_size: int, tokenizer: Tokenizer | None, sample_bytes: int, report: Progress
) -> Rates:
    vocabulary = tokenizer.vocabulary if tokenizer else new_vocabulary(["<|endoftext|>"], find_pattern("gpt2"))
    splitter = tokenizer.splitter if tokenizer else TextSplitter(["<|endoftext|>"], vocabulary.pattern)
    blocks = list(itertools.islice(Blocks(source, splitter), max(2, sample_bytes // BLOCK_BYTES)))
    if len(blocks) < 2:
        raise ValueError(f"the text is too short to measure rates on; expected more than {BLOCK_BYTES:,} bytes")
    size, consumed = sum(len(block.text) for block in blocks), sum(block.consumed for block in blocks)
    texts = [bytes(block.text) for block in blocks]
    half = len(blocks) // 2
    first, first_seconds = _timed(
        lambda: count_pretokens(blocks[:half], vocabulary.pattern, 1, lambda done: report("count", done, consumed))
    )
    before = sum(block.consumed for block in blocks[:half])
    second, second_seconds = _timed(
        lambda: count_pretokens(
            blocks[half:], vocabulary.pattern, 1, lambda done: report("count", before + done, consumed)
        )
    )
    added = len(second)
    _, add_seconds = _timed(lambda: first.merge(second))

    text, starts, counts = first.words()
    symbols = byte_symbols(new_vocabulary([], vocabulary.pattern))
    cells = _merge.cells_of(starts)

    merges = min(max(1, vocab_size - 257), cells)

    def learn() -> tuple[Int32Array, Int32Array]:
        learner = _merge.MergeLearner(cells, merges, symbols, tie_break="cs336")
        learner.add(text, starts, counts)
        return learner.learn(lambda done: report("merge", done, merges))

    (left, right), merge_seconds = _timed(learn)
    encoder = tokenizer or Tokenizer.from_vocabulary(grown_vocabulary(vocabulary, left, right))
    encoder.encode("a")  # loads the compiled kernel
    with tempfile.TemporaryDirectory() as folder:
        manifest, encode_seconds = _timed(
            lambda: encode_corpus(
                encoder,
                texts,
                Path(folder) / "ids",
                format="npy",
                num_threads=1,
                progress=lambda done, _: report("encode", done, size),
            )
        )
        ids = manifest.map(Path(folder) / "ids")
        written, write_seconds = _timed(lambda: _written(Path(folder) / "again", ids))
    return Rates(
        count_bytes=size / (first_seconds + second_seconds),
        add_words=added / add_seconds,
        merge_words=len(counts) / merge_seconds,
        encode_bytes=size / encode_seconds,
        token_bytes=size / manifest.tokens,
        word_bytes=len(text) / len(counts),
        write_bytes=written / write_seconds,
    )


def _written(path: Path, arrays: list[np.ndarray[Any, np.dtype[Any]]]) -> int:
    """Hashes and writes ids as shards are; returns their bytes."""
    file = HashedFile(path)
    for ids in arrays:
        for start in range(0, len(ids), WRITE_IDS):
            file.append(ids[start : start + WRITE_IDS])
    file.close()
    return sum(ids.nbytes for ids in arrays)


def _timed(work: Callable[[], Result]) -> tuple[Result, float]:
    start = time.process_time()
    result = work()
    return result, max(time.process_time() - start, 1e-6)
