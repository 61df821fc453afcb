"""train_bpe: text to a tokenizer, in two phases, counting pretokens and learning merges."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from fastlm import _merge, _scan
from fastlm._count import PretokenCounter
from fastlm._encode import as_utf8
from fastlm._types import Int64Array
from fastlm.patterns import Pattern, find_pattern
from fastlm.segments import Cutter
from fastlm.tokenizer import Tokenizer, thread_count
from fastlm.vocabulary import BYTE_ORDER, special_bytes, vocabulary_from_tokens

if TYPE_CHECKING:
    from concurrent.futures import Future

Document: TypeAlias = str | bytes
Source: TypeAlias = str | os.PathLike[str] | Iterable[Document | os.PathLike[str]]
Progress: TypeAlias = Callable[[str, int, int | None], None]
"""Called with the phase ("count" or "merge"), what is done (bytes or tokens), and of how much, where that is known."""

BLOCK_BYTES = 1 << 22


def train_bpe(
    input: Source,
    vocab_size: int,
    special_tokens: Sequence[str] = ("<|endoftext|>",),
    *,
    pattern: str = "gpt2",
    tie_break: str = "cs336",
    num_threads: int | None = None,
    progress: Progress | None = None,
) -> Tokenizer:
    """A byte-level BPE tokenizer of `vocab_size` tokens, learned from text.

    input: the path of a UTF-8 file; or an iterable whose str and bytes are documents and whose path objects
    (pathlib.Path) are files. Files are read block by block, and documents are taken one by one, so neither need fit in
    memory; what must are the distinct pretokens.
    special_tokens: cut the text, never merge, and get the first ids in the order given. The 256 bytes follow in
    GPT-2's order (vocabulary.BYTE_ORDER), then the merged tokens.
    tie_break: of pairs that occur equally often, "cs336" merges the one with the lexicographically greatest bytes, "hf"
    the one with the smallest ids, as Hugging Face's trainer does.

    The result is the same to the bit for any number of threads and any division into blocks. Warns (UserWarning) and
    gives a smaller vocabulary where the text has no more pairs to merge.

    Raises ValueError for a vocab_size below 256 and the special tokens, an input without text, or bytes that are not
    UTF-8, with file and offset; OSError for files that cannot be read; TypeError for an input of another type.
    """
    special = _checked_special_tokens(special_tokens)
    smallest = 256 + len(special)
    if not isinstance(vocab_size, int) or isinstance(vocab_size, bool):
        raise TypeError(f"vocab_size must be an int, not {type(vocab_size).__name__}")
    if vocab_size < smallest:
        raise ValueError(
            f"vocab_size must be at least {smallest}, for 256 bytes and {len(special)} special tokens, not {vocab_size}"
        )
    if tie_break not in _merge.TIE_BREAKS:
        raise ValueError(f"tie_break must be one of {_merge.TIE_BREAKS}, not {tie_break!r}")
    threads = thread_count(num_threads)
    report: Progress = progress or (lambda phase, done, total: None)
    split = find_pattern(pattern)

    counter = count_pretokens(_blocks(input, Cutter(special, split), report), split, threads)
    if not len(counter):
        raise ValueError("the input holds no text")
    text, starts, counts = counter.words()
    del counter

    # a token is made of at least one symbol less, so more than this cannot be learned, nor need room
    wanted = min(vocab_size - smallest, len(text))
    symbol_of_byte = np.argsort(BYTE_ORDER).astype(np.int32)
    left, right, new = _merge.learn_merges(
        text, starts, counts, wanted, symbol_of_byte, tie_break, lambda done: report("merge", done, wanted)
    )
    tokens = [bytes([byte]) for byte in BYTE_ORDER]
    merges = []
    for a, b, merged in zip(left.tolist(), right.tolist(), new.tolist(), strict=True):
        merges.append((tokens[a], tokens[b]))
        if merged == len(tokens):
            tokens.append(tokens[a] + tokens[b])
    size = len(special) + len(tokens)
    if size < vocab_size:
        warnings.warn(
            f"the text has no more pairs to merge: the vocabulary has {size} tokens, not {vocab_size}", stacklevel=2
        )
    vocab = dict(enumerate([*(token.encode() for token in special), *tokens]))
    return Tokenizer.from_vocabulary(vocabulary_from_tokens(vocab, merges, special, split))


def _checked_special_tokens(special_tokens: Sequence[str]) -> list[str]:
    if isinstance(special_tokens, str):
        raise TypeError("special_tokens must be a list of str, not one str")
    special = list(special_tokens)
    for token in special:
        if not isinstance(token, str):
            raise TypeError(f"special tokens must be str, not {type(token).__name__}")
        special_bytes(token)
    if len(set(special)) < len(special):
        raise ValueError(f"special tokens must differ: {special}")
    return special


# --- reading ---


@dataclass
class Block:
    """Some text and the stretches of it to count; pretokens cross neither their ends nor the block's."""

    text: bytes | memoryview
    segments: Int64Array
    origin: str
    offset: int  # of the text in its origin
    release: Callable[[], None]  # to be called when the text is no longer needed


def _blocks(input: Source, cutter: Cutter, report: Progress) -> Iterator[Block]:
    """The input in blocks of some megabytes, in order."""
    if isinstance(input, str | os.PathLike):
        input = [Path(input)]
    elif isinstance(input, bytes) or not isinstance(input, Iterable):
        raise TypeError(f"input must be a path or an iterable of documents or paths, not {type(input).__name__}")
    if isinstance(input, list | tuple):
        _refuse_paths_as_documents(input)
    sized = isinstance(input, list | tuple) and all(isinstance(item, os.PathLike) for item in input)
    total = sum(os.stat(path).st_size for path in input) if sized else None  # type: ignore[arg-type]
    done = 0
    free: SimpleQueue[bytearray] = SimpleQueue()
    documents: list[bytes] = []
    size = first = 0
    for number, item in enumerate(input):
        if isinstance(item, os.PathLike):
            for block in _file_blocks(Path(item), cutter, free):
                yield block
                done += len(block.text)
                report("count", done, total)
            continue
        if not isinstance(item, str | bytes):
            raise TypeError(f"document {number} must be str, bytes or a path, not {type(item).__name__}")
        utf8 = as_utf8(item)
        documents.append(utf8 if isinstance(utf8, bytes) else utf8.encode())
        size += len(documents[-1])
        if size >= BLOCK_BYTES // 4:
            yield _document_block(documents, first, cutter)
            done += size
            report("count", done, total)
            documents, size, first = [], 0, number + 1
    if documents:
        yield _document_block(documents, first, cutter)
        report("count", done + size, total)


def _refuse_paths_as_documents(items: Sequence[Any]) -> None:
    """In a list a str is a document; a list of nothing but names of files was surely meant otherwise."""
    if items and all(isinstance(item, str) and len(item) < 4096 and "\0" not in item for item in items):
        if all(os.path.isfile(item) for item in items):
            raise ValueError(f"{items[0]!r} is the path of a file: in a list, give files as pathlib.Path")


def _document_block(documents: list[bytes], first: int, cutter: Cutter) -> Block:
    segments, at = [np.empty((0, 2), np.int64)], 0
    for document in documents:
        segments.append(at + cutter.segments(document))
        at += len(document)
    last = first + len(documents) - 1
    origin = f"documents {first} to {last}" if last > first else f"document {first}"
    return Block(b"".join(documents), np.concatenate(segments), origin, 0, lambda: None)


def _file_blocks(path: Path, cutter: Cutter, free: SimpleQueue[bytearray]) -> Iterator[Block]:
    """A file in blocks, each in a buffer that `free` gets back; what follows the last safe cut starts the next block."""
    with open(path, "rb", buffering=0) as file:
        offset = kept = 0
        tail: bytes | memoryview = b""
        while True:
            buffer = bytearray(0) if free.empty() else free.get()
            if len(buffer) < kept + BLOCK_BYTES:
                buffer = bytearray(max(2 * kept, BLOCK_BYTES + kept))
            buffer[:kept] = tail
            size = kept
            view = memoryview(buffer)
            while size < len(buffer):
                read = file.readinto(view[size:])
                if not read:
                    break
                size += read
            at_end = size < len(buffer)
            text = view[:size]
            segments, cut = (cutter.segments(text), size) if at_end else cutter.partial_segments(text)
            tail, kept = bytes(text[cut:]), size - cut
            yield Block(text[:cut], segments, str(path), offset, lambda buffer=buffer: free.put(buffer))  # type: ignore[misc]
            offset += cut
            if at_end:
                return


# --- counting ---


def count_pretokens(blocks: Iterable[Block], pattern: Pattern, threads: int) -> PretokenCounter:
    """Counts of all distinct pretokens, each thread counting blocks in a table of its own."""
    scanner = _scan.scanner_address(pattern.scanner) if pattern.scanner else 0
    counters = [PretokenCounter() for _ in range(threads)]
    if threads == 1:
        for block in blocks:
            _count_block(block, counters[0], pattern, scanner)
        return counters[0]
    from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait

    idle: SimpleQueue[PretokenCounter] = SimpleQueue()
    for counter in counters:
        idle.put(counter)

    def count(block: Block) -> None:
        counter = idle.get()
        try:
            _count_block(block, counter, pattern, scanner)
        finally:
            idle.put(counter)

    with ThreadPoolExecutor(threads) as pool:
        running: set[Future[None]] = set()
        for block in blocks:
            running.add(pool.submit(count, block))
            if len(running) > threads:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    future.result()
        for future in running:
            future.result()
    first, *others = sorted(counters, key=len, reverse=True)
    for other in others:
        first.merge(other)
    return first


def _count_block(block: Block, counter: PretokenCounter, pattern: Pattern, scanner: int) -> None:
    try:
        if scanner:
            counter.count(block.text, block.segments, scanner)
        else:
            for start, end in block.segments.tolist():
                stretch = bytes(block.text[start:end])
                counter.count_ends(stretch, pattern.find_ends(stretch))
    except ValueError as error:
        raise ValueError(f"{block.origin}, from byte {block.offset}: {error}") from None
    finally:
        block.release()
