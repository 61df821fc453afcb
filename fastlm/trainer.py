"""train_bpe: text to a tokenizer, in two phases, counting pretokens and learning merges."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import TypeAlias

import numpy as np

from fastlm import _merge, _scan
from fastlm._count import PretokenCounter
from fastlm._scan import InvalidUTF8Error
from fastlm.blocks import Block
from fastlm.corpus.read import Blocks, Source
from fastlm.patterns import Pattern, find_pattern
from fastlm.segments import Cutter
from fastlm.threads import map_in_order, thread_count
from fastlm.tokenizer import Tokenizer
from fastlm.vocabulary import BYTE_ORDER, checked_special_tokens, vocabulary_from_tokens

SYMBOL_OF_BYTE = np.argsort(BYTE_ORDER).astype(np.int32)
"""Byte -> symbol in training, so that symbols are in the order of ids."""

Progress: TypeAlias = Callable[[str, int, int | None], None]
"""Called with the phase ("count" or "merge"), what is done (bytes or tokens), and of how much, where that is known."""


def train_bpe(
    input: Source,
    vocab_size: int,
    special_tokens: Sequence[str] = ("<|endoftext|>",),
    *,
    pattern: str = "gpt2",
    tie_break: str = "cs336",
    min_frequency: int = 1,
    max_token_length: int | None = None,
    num_threads: int | None = None,
    progress: Progress | None = None,
) -> Tokenizer:
    """A byte-level BPE tokenizer of `vocab_size` tokens, learned from text.

    input: a path or address; an iterable whose str and bytes are documents and whose path objects (pathlib.Path) are
    files; a Hugging Face dataset; or a corpus.read.Corpus, which says what files are read and how: compressed text,
    JSON lines, Parquet, Arrow, directories. All is read block by block, so none of it need fit in memory; what must are
    the distinct pretokens.
    special_tokens: cut the text, never merge, and get the first ids in the order given. The 256 bytes follow in
    GPT-2's order (vocabulary.BYTE_ORDER), then the merged tokens.
    tie_break: of pairs that occur equally often, "cs336" merges the one with the lexicographically greatest bytes, "hf"
    the one with the smallest ids, as Hugging Face's trainer does.
    min_frequency: pairs that occur less often are not merged. max_token_length: nor are those that would make a token
    of more bytes.

    The result is the same to the bit for any number of threads and any division into blocks. Warns (UserWarning) and
    gives a smaller vocabulary where the text has no more pairs to merge.

    Raises ValueError for a vocab_size below 256 and the special tokens, a limit below 1, an input without text, or
    bytes that are not UTF-8, with file and offset; OSError for files that cannot be read; TypeError for an input of
    another type.
    """
    special = checked_special_tokens(special_tokens)
    smallest = 256 + len(special)
    if not isinstance(vocab_size, int) or isinstance(vocab_size, bool):
        raise TypeError(f"vocab_size must be an int, not {type(vocab_size).__name__}")
    if vocab_size < smallest:
        raise ValueError(
            f"vocab_size must be at least {smallest}, for 256 bytes and {len(special)} special tokens, not {vocab_size}"
        )
    if tie_break not in _merge.TIE_BREAKS:
        raise ValueError(f"tie_break must be one of {_merge.TIE_BREAKS}, not {tie_break!r}")
    for name, limit in (("min_frequency", min_frequency), ("max_token_length", max_token_length)):
        if limit is not None and limit < 1:
            raise ValueError(f"{name} must be at least 1, not {limit}")
    report: Progress = progress or (lambda phase, done, total: None)
    split = find_pattern(pattern)

    counter = count_pretokens(Blocks(input, Cutter(special, split)), split, thread_count(num_threads), report)
    if not len(counter):
        raise ValueError("the input holds no text")
    words = counter.words()
    del counter

    # a token is made of at least one symbol less, so more than this cannot be learned, nor need room
    wanted = min(vocab_size - smallest, len(words[0]))
    learner = _merge.MergeLearner(
        *words, wanted, SYMBOL_OF_BYTE, tie_break, min_count=min_frequency, max_token_length=max_token_length
    )
    del words
    left, right = learner.learn(lambda done: report("merge", done, wanted))
    del learner
    tokens = [bytes([byte]) for byte in BYTE_ORDER]
    merges = []
    for a, b in zip(left.tolist(), right.tolist(), strict=True):
        merges.append((tokens[a], tokens[b]))
        tokens.append(tokens[a] + tokens[b])
    size = len(special) + len(tokens)
    if size < vocab_size:
        warnings.warn(
            f"the text has no more pairs to merge: the vocabulary has {size} tokens, not {vocab_size}", stacklevel=2
        )
    vocab = dict(enumerate([*(token.encode() for token in special), *tokens]))
    return Tokenizer.from_vocabulary(vocabulary_from_tokens(vocab, merges, special, split))


def count_pretokens(blocks: Blocks, pattern: Pattern, threads: int, report: Progress) -> PretokenCounter:
    """Counts of all distinct pretokens, each thread counting blocks in a table of its own."""
    counted = 0
    scanner = _scan.scanner_address(pattern.scanner) if pattern.scanner else 0
    idle: SimpleQueue[PretokenCounter] = SimpleQueue()

    def count(block: Block) -> int:
        try:
            counter = idle.get_nowait()
        except Empty:
            counter = PretokenCounter()
        try:
            _count_block(block, counter, pattern, scanner)
        finally:
            idle.put(counter)
        return block.consumed

    for size in map_in_order(count, blocks, threads):
        counted += size
        report("count", counted, blocks.total_bytes)
    counters = sorted((idle.get() for _ in range(idle.qsize())), key=len, reverse=True) or [PretokenCounter()]
    while len(counters) > 1:
        half = (len(counters) + 1) // 2
        for _ in map_in_order(_add, zip(counters, counters[half:], strict=False), threads):
            pass
        del counters[half:]
    return counters[0]


def _add(tables: tuple[PretokenCounter, PretokenCounter]) -> None:
    tables[0].merge(tables[1])


def _count_block(block: Block, counter: PretokenCounter, pattern: Pattern, scanner: int) -> None:
    try:
        if scanner:
            counter.count(block.text, block.segments, scanner)
        else:
            for start, end in block.segments.tolist():
                stretch = bytes(block.text[start:end])
                counter.count_ends(stretch, pattern.find_ends(stretch))
    except InvalidUTF8Error as error:
        raise block.located(error) from None
    finally:
        block.release()
