"""Compares a tokenizer with the other libraries that are installed."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Sequence
from pathlib import Path

from fastlm._version import __version__
from fastlm.corpus.read import Blocks, Source
from fastlm.corpus.text_blocks import Block
from fastlm.machine import processor_name
from fastlm.pretokenize import _scan
from fastlm.pretokenize._scan import InvalidUTF8Error
from fastlm.pretokenize.patterns import PatternLike
from fastlm.pretokenize.text_splitter import DOCUMENT_END
from fastlm.testing.cost import costs
from fastlm.testing.differences import Pair
from fastlm.testing.peers import LIBRARIES, OnSpecial, Peer, UnsupportedPeerError, installed, peer_of, peer_of_object
from fastlm.testing.results import Comparison, Cost, Result
from fastlm.testing.trainers import compare_trainers
from fastlm.tokenizer import Tokenizer
from fastlm.tokenizer_files import load

BATCH_BYTES = 4_000_000
LIMIT_BYTES = 64_000_000
SAMPLE_BYTES = 4_000_000


def compare(
    tokenizer: Tokenizer | str | os.PathLike[str],
    texts: Source,
    *,
    pattern: PatternLike | None = None,
    peers: Sequence[object] | None = None,
    on_special: OnSpecial = "token",
    most_differences: int = 3,
    limit_bytes: int | None = LIMIT_BYTES,
    sample_bytes: int = SAMPLE_BYTES,
    rounds: int = 5,
    train: int | None = None,
) -> Comparison:
    """Compares the ids of a tokenizer with the ids of tiktoken and tokenizers, and then time and memory.

    Ids are compared first, on all texts. Only then the libraries are timed, in turns and in one thread, on the first
    texts. Memory is measured in a new process for each library.

    Args:
        tokenizer: The tokenizer, or its file. From a file, tokenizers reads the same file if it can.
        texts: The documents: paths, a `Corpus`, or an iterable of str. A file of plain text is read in blocks.
        pattern: The pattern, for a rank file that does not tell it. See `fastlm.load`.
        peers: Names of libraries, `tiktoken.Encoding` and `tokenizers.Tokenizer` objects. By default the libraries that
            are installed.
        on_special: "token": special tokens in texts are tokens in all libraries. "text": they are ordinary text.
        most_differences: How many different texts are explained for each library.
        limit_bytes: The bytes of text to compare; None for all. All of them are kept in memory.
        sample_bytes: The bytes of text to time.
        rounds: How often each library is timed; 0 measures neither time nor memory.
        train: Also train a vocabulary of this size, with the pattern of the tokenizer, with fastlm and tokenizers, and
            compare the merges.

    Returns:
        The comparison. `equal` says whether all ids and merges are equal.

    Raises:
        OSError, ValueError: The tokenizer or the texts cannot be read. Or there is no text, or no library.
        TypeError: A peer is neither a name nor a tokenizer.

    Example:
        >>> import fastlm
        >>> from fastlm.testing import compare
        >>> tokenizer = fastlm.train_bpe(["low lower lowest"] * 9, 264)
        >>> comparison = compare(tokenizer, ["low and lower"], peers=["tokenizers"], rounds=0)
        >>> comparison.equal, comparison.results[0].library
        (True, 'tokenizers')
    """
    path = None if isinstance(tokenizer, Tokenizer) else Path(tokenizer)
    loaded = tokenizer if isinstance(tokenizer, Tokenizer) else load(tokenizer, pattern=pattern)
    found, skipped = _peers(loaded, path, peers)
    documents = list(_documents(loaded, texts, limit_bytes))
    sizes = [len(text.encode()) for text in documents]
    if not sum(sizes):
        raise ValueError("the input holds no text")
    pairs = [Pair(loaded, peer, on_special) for peer in found]
    differing = [[k for batch in _batches(sizes) for k in _differing(pair, documents, batch)] for pair in pairs]
    explained = [
        [pair.explained(documents[k], k) for k in rows[:most_differences]]
        for pair, rows in zip(pairs, differing, strict=True)
    ]
    sample = documents[: next(_batches(sizes, sample_bytes)).stop]
    measured: list[Cost | None] = [None] * (len(found) + 1)
    if rounds:
        # a library that raises for a text cannot be timed
        timed = [peer for peer, rows in zip(found, explained, strict=True) if all(row.kind != "error" for row in rows)]
        ours, *theirs = costs(loaded, timed, sample, on_special, rounds)
        measured = [ours, *(theirs[timed.index(peer)] if peer in timed else None for peer in found)]
    results = [
        Result(peer.library, peer.version, peer.source, len(rows), shown, cost)
        for peer, rows, shown, cost in zip(found, differing, explained, measured[1:], strict=True)
    ]
    training = [] if train is None else [compare_trainers(documents, train, loaded.vocabulary.pattern)]
    return Comparison(
        tokenizer=str(path) if path is not None else repr(loaded),
        version=__version__,
        machine=_machine(),
        texts=len(documents),
        text_bytes=sum(sizes),
        ids=sum(loaded.count(text, on_special=on_special) for text in documents),
        sample_bytes=sum(sizes[: len(sample)]),
        cost=measured[0],
        results=results,
        skipped=skipped,
        training=training,
    )


def _peers(
    tokenizer: Tokenizer, path: Path | None, wanted: Sequence[object] | None
) -> tuple[list[Peer], dict[str, str]]:
    """The peers, and the libraries that are skipped with the reason."""
    names = installed()
    found: list[Peer] = []
    skipped = {} if wanted is not None else {name: "not installed" for name in LIBRARIES if name not in names}
    for one in names if wanted is None else wanted:
        if not isinstance(one, str):
            found.append(peer_of_object(one))
            continue
        if one in LIBRARIES and one not in names:
            raise ValueError(f"{one} is not installed; pip install {one}")
        try:
            found.append(peer_of(one, tokenizer, path))
        except UnsupportedPeerError as error:
            skipped[one] = str(error)
    if not found:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in skipped.items())
        raise ValueError(f"there is no library to compare with: {reasons or 'peers is empty'}")
    return found, skipped


def _documents(tokenizer: Tokenizer, source: Source, limit_bytes: int | None) -> Iterator[str]:
    """The documents of a source, up to a number of bytes."""
    left = limit_bytes
    for block in Blocks(source, tokenizer.splitter):
        for text in _texts_of(block):
            content = text if left is None else text[:left]
            # the limit may cut a character
            yield content.decode("utf-8", "ignore")
            if left is not None:
                left -= len(content)
                if left <= 0:
                    return


def _texts_of(block: Block) -> Iterator[bytes]:
    """The documents of a block that are not empty."""
    view, rows = memoryview(block.text), block.boundaries
    try:
        _scan.check_utf8(bytes(view))
    except InvalidUTF8Error as error:
        raise block.located(error) from None
    start = 0
    parts = []
    for end, after, kind in rows.tolist():
        if kind == DOCUMENT_END:
            parts.append(bytes(view[start:end]))
            start = after
    parts.append(bytes(view[start:]))
    block.release()
    yield from filter(None, parts)


def _batches(sizes: Sequence[int], limit: int = BATCH_BYTES) -> Iterator[range]:
    """Ranges of texts that have about `limit` bytes together."""
    start = total = 0
    for k, size in enumerate(sizes):
        total += size
        if total >= limit:
            yield range(start, k + 1)
            start, total = k + 1, 0
    if start < len(sizes):
        yield range(start, len(sizes))


def _differing(pair: Pair, documents: Sequence[str], batch: range) -> list[int]:
    return [batch.start + k for k in pair.differing([documents[k] for k in batch])]


def _machine() -> str:
    """The processor, the system and Python, in words."""
    return f"{processor_name()}, {os.cpu_count()} threads, {platform.system()}, Python {platform.python_version()}"
