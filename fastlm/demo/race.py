"""Races fastlm against the tokenizer libraries that are installed, after comparing their ids."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from fastlm.tokenizer import Tokenizer

OURS = "fastlm"
PEERS = ("tiktoken", "tokenizers")
ROUNDS = 2
MB = 1e6
BAR = 24
SAMPLE_BYTES = 2_000_000

Encode = Callable[[str], list[int]]


@dataclass(frozen=True)
class Result:
    """The result of one library.

    Attributes:
        name: The library.
        seconds: Its best time for all documents; None if it did not run.
        remark: Why it did not run.
    """

    name: str
    seconds: float | None
    remark: str = ""


def sample(documents: Sequence[str], most: int = SAMPLE_BYTES) -> list[str]:
    """The first documents, at most `most` characters of them, but at least a part of one."""
    found: list[str] = []
    left = most
    for document in documents:
        if left <= 0:
            break
        found.append(document[:left])
        left -= len(document)
    return found


def race(tokenizer: Tokenizer, documents: Sequence[str]) -> list[Result]:
    """Times the encoding of documents by each library, one call for each document, in one thread.

    A library whose ids differ from fastlm's does not race.

    Args:
        tokenizer: The tokenizer. The other libraries get its vocabulary.
        documents: Texts without special tokens.

    Returns:
        fastlm's result, then one for each library.
    """
    runners: dict[str, Encode] = {OURS: tokenizer.encode_ordinary}
    remarks: dict[str, str] = {}
    expected = [tokenizer.encode_ordinary(document) for document in documents]
    for name, make in {"tiktoken": _tiktoken, "tokenizers": _tokenizers}.items():
        try:
            encode = make(tokenizer)
        except ModuleNotFoundError:
            remarks[name] = "not installed"
            continue
        wrong = [number for number, document in enumerate(documents) if encode(document) != expected[number]]
        if wrong:
            remarks[name] = f"other ids in document {wrong[0]}"
        else:
            runners[name] = encode
    seconds = {name: float("inf") for name in runners}
    for _ in range(ROUNDS):
        for name, encode in runners.items():
            start = time.perf_counter()
            for document in documents:
                encode(document)
            seconds[name] = min(seconds[name], time.perf_counter() - start)
    return [Result(name, seconds.get(name), remarks.get(name, "")) for name in (OURS, *PEERS)]


def table(results: Sequence[Result], size: int) -> str:
    """The results as lines: MB/s, a bar, and how many times as fast fastlm is.

    Args:
        results: The results; fastlm's is the first.
        size: Bytes of the documents.
    """
    ours = results[0].seconds or 1e-9
    width = max(len(result.name) for result in results)
    lines = []
    for result in results:
        if result.seconds is None:
            lines.append(f"  {result.name:<{width}}  {result.remark}")
            continue
        bar = "█" * max(1, round(BAR * ours / result.seconds))
        times = "" if result.name == OURS else f"  fastlm is {result.seconds / ours:,.1f} times as fast"
        lines.append(f"  {result.name:<{width}}  {size / MB / result.seconds:8,.1f} MB/s  {bar}{times}")
    return "\n".join(lines)


def _tiktoken(tokenizer: Tokenizer) -> Encode:
    import tiktoken

    special = tokenizer.special_tokens
    ranks = {token: number for number, token in tokenizer.vocab.items() if number not in special.values()}
    (expression,) = tokenizer.vocabulary.pattern.splits
    encoding = tiktoken.Encoding("demo", pat_str=expression, mergeable_ranks=ranks, special_tokens=special)
    encode: Encode = encoding.encode_ordinary
    return encode


def _tokenizers(tokenizer: Tokenizer) -> Encode:
    import tokenizers

    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save(folder, ["tokenizer.json"])
        peer = tokenizers.Tokenizer.from_file(str(Path(folder) / "tokenizer.json"))

    def encode(text: str) -> list[int]:
        ids: list[int] = peer.encode(text, add_special_tokens=False).ids
        return ids

    return encode
