"""Texts to measure on: real documents, and a synthetic text of any size whose vocabulary grows as real text's."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from itertools import zip_longest
from pathlib import Path

import numpy as np

from benchmarks import DATA, END_OF_TEXT
from fastlm.demo.texts import demo_corpus

FILES = {
    "english": (
        "english/movie_reviews_pos.txt",
        "english/inaugural.txt",
        "english/tinyshakespeare.txt",
        "webtext/c4_0-499.txt",
    ),
    "code": ("code/*.txt",),
    "multilingual": ("multilingual/*",),
    "tinystories": ("tinystories/ts_v2_train_head.txt", "tinystories/ts_v1_sampleA.txt"),
    "openwebtext": ("webtext/owt_0-499.txt",),
}
DEMO = "demo"
MIXED = "mixed"
DOCUMENT_LENGTH = 3000

# the share of words that are spliced: it gives some 600,000 distinct pretokens in 100 MB of English
SPLICED = 1 / 13
SHORTEST_WORD = 3
BLOCK_BYTES = 4_000_000


def names() -> tuple[str, ...]:
    """The corpora of FILES that lie under DATA, else the one that can always be made."""
    return tuple(name for name in FILES if paths_of(name)) or (DEMO,)


@functools.cache
def documents(name: str) -> list[str]:
    """The documents of a corpus; MIXED takes documents of all corpora in turn."""
    if name == MIXED:
        mixed = zip_longest(*map(documents, names()))
        return [document for row in mixed for document in row if document is not None]
    texts: Iterable[str] = demo_corpus()
    if name != DEMO:
        texts = [path.read_bytes().decode("utf-8", "replace") for path in paths_of(name)]
    # tokenizers gives special tokens other ids than cl100k's file says, where a number before theirs is free
    return [part for text in texts for part in documents_of(text.replace(END_OF_TEXT, ""))]


def paths_of(name: str) -> list[Path]:
    """The files of a corpus that lie under DATA."""
    return [path for pattern in FILES[name] for path in sorted(DATA.glob(pattern))]


def documents_of(text: str, length: int = DOCUMENT_LENGTH) -> Iterator[str]:
    """The text in pieces that end with the first line end after `length` characters, or with the text."""
    start = 0
    while start < len(text):
        end = text.find("\n", start + length) + 1 or len(text)
        yield text[start:end]
        start = end


def sample(documents: list[str], size: int) -> list[str]:
    """Documents from all over the list, evenly spaced, of about `size` UTF-8 bytes together."""
    return documents[:: max(1, round(size_of(documents) / size))]


def size_of(documents: Iterable[str]) -> int:
    """UTF-8 bytes of all documents."""
    return sum(len(document.encode()) for document in documents)


def lines_of(documents: Iterable[str]) -> list[bytes]:
    """The lines in UTF-8 with their ends, without whitespace around them; none is empty, none holds a special token.

    So a trainer that reads line by line and one that reads the whole file see the same pretokens: no run of whitespace
    goes on past the end of a line.
    """
    stripped = (line.strip() for document in documents for line in document.split("\n"))
    return [line.encode() + b"\n" for line in stripped if line and "<|" not in line and "\r" not in line]


def grown_corpus(documents: Iterable[str], size: int, seed: int) -> Iterator[bytes]:
    """A training corpus of `size` bytes, or up to a line more, in blocks of whole lines; each line is a document.

    Lines of the documents are drawn with replacement, and of one word in thirteen only the head stays, with the tail
    of another word of the text behind it. Most of these are pretokens never seen before, so the number of distinct
    pretokens keeps growing with size, as it does in real text, and frequent words keep real text's frequencies.
    Repeating a file would prove nothing: after the first pass counting only meets known words, in a table that
    no longer grows. The same documents, size and seed give the same bytes.
    """
    lines = lines_of(documents)
    rng = np.random.default_rng(seed)
    draws = max(1, BLOCK_BYTES * len(lines) // sum(map(len, lines)))
    written = 0
    while written < size:
        block = _spliced(b"".join([lines[line] for line in rng.integers(len(lines), size=draws).tolist()]), rng)
        if written + len(block) > size:
            block = block[: block.index(b"\n", size - written - 1) + 1]
        yield block
        written += len(block)


def _spliced(text: bytes, rng: np.random.Generator) -> bytes:
    """The text with the share SPLICED of its words replaced by their heads and other words' tails."""
    codes = np.frombuffer(text, np.uint8)
    lower = np.concatenate([[False], (codes >= ord("a")) & (codes <= ord("z")), [False]])
    words = np.flatnonzero(lower[1:] != lower[:-1]).reshape(-1, 2)
    words = words[words[:, 1] - words[:, 0] >= SHORTEST_WORD]
    spliced = words[rng.random(len(words)) < SPLICED]
    if not len(spliced):
        return text
    donors = words[rng.integers(len(words), size=len(spliced))]
    heads = rng.integers(spliced[:, 0] + 1, spliced[:, 1])
    tails = rng.integers(donors[:, 0], donors[:, 1])
    # the text from the last spliced word's end to the next one's head, then a tail, and so on
    starts = np.append(np.stack([np.append(0, spliced[:-1, 1]), tails], axis=1), spliced[-1, 1])
    ends = np.append(np.stack([heads, donors[:, 1]], axis=1), len(text))
    return b"".join([text[start:end] for start, end in zip(starts.tolist(), ends.tolist(), strict=True)])
