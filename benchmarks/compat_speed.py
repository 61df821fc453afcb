"""Measures the compatibility layers against tiktoken and tokenizers and writes docs/migrate/speed.md:

    python -m benchmarks.compat_speed

With GPT-2's vocabulary where FASTLM_DATA has it, else one trained on the spot; results are compared before anything is
timed. Times are processor time on one thread, and both libraries take turns.
"""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import tiktoken as real_tiktoken
import tokenizers as real_tokenizers

import fastlm
from benchmarks import END_OF_TEXT
from benchmarks.corpus import documents, names
from benchmarks.vocabulary import SharedVocabulary, shared_vocabulary
from fastlm.compat import tiktoken as our_tiktoken
from fastlm.compat import tokenizers as our_tokenizers
from fastlm.pretokenize.patterns import R50K

PAGE = Path(__file__).resolve().parents[1] / "docs" / "migrate" / "speed.md"
TEXT_CHARACTERS = 1_000_000
ROUNDS = 5

# processor seconds of a process from its start to its first ids, of which loading and compiling are the most
FIRST_TEXT = """
import sys, time
import {module} as library
k = library.Tokenizer.from_file(sys.argv[1])
k.encode("the first text").ids
print(time.process_time())
"""

Row = tuple[str, float, float]
Call = Callable[[Any], object]


def pieces(text: str, size: int) -> list[str]:
    return [text[start : start + size] for start in range(0, len(text), size)]


def passed(call: Call, items: Sequence[object]) -> float:
    """Microseconds of processor time an item, over one pass."""
    start = time.process_time()
    for item in items:
        call(item)
    return (time.process_time() - start) / len(items) * 1e6


def compared(name: str, calls: Sequence[Call], items: Sequence[object]) -> Row:
    """A row of medians over passes in which the two take turns. Raises AssertionError where they differ."""
    real, ours = calls
    assert all(real(item) == ours(item) for item in items), name
    rounds = [(passed(real, items), passed(ours, items)) for _ in range(ROUNDS)]
    return (name, *(statistics.median(side) for side in zip(*rounds, strict=True)))


def unseen(name: str, makes: Sequence[Callable[[], Call]], items: Sequence[object]) -> Row:
    """The same with new objects in each pass, which have met none of the items."""
    rounds = []
    for _ in range(ROUNDS):
        calls = [make() for make in makes]
        for call in calls:
            call("a first text, so that all is loaded")
        rounds.append([passed(call, items) for call in calls])
    return (name, *(statistics.median(side) for side in zip(*rounds, strict=True)))


def tiktoken_rows(vocabulary: SharedVocabulary, text: str) -> list[Row]:
    modules = (real_tiktoken, our_tiktoken)

    def encoding(module: Any) -> Any:
        return module.Encoding(
            "compat", pat_str=R50K, mergeable_ranks=vocabulary.ranks, special_tokens=vocabulary.special_tokens
        )

    makes = [lambda module=module: encoding(module).encode for module in modules]
    both = [encoding(module) for module in modules]
    rows = []
    for size in (100, 10_000):
        texts = pieces(text, size)[:3000]
        rows.append(unseen(f"`encode`, {size:,} characters, not seen before", makes, texts))
        rows.append(compared(f"`encode`, {size:,} characters, again", [each.encode for each in both], texts))
    ids = [both[0].encode(piece) for piece in pieces(text, 10_000)]
    rows.append(compared("`decode`, a list of about 2,500 ids", [each.decode for each in both], ids))
    few = [tuple(each[:8]) for each in ids]
    rows.append(compared("`decode`, a tuple of 8 ids", [each.decode for each in both], few))
    odd = [f"{k}qqzzxx" for k in range(300)]
    rows.append(compared("`_encode_single_piece`, no token", [each._encode_single_piece for each in both], odd))
    broken = [piece.encode() + b"\xff" for piece in pieces(text, 20)[:300]]
    rows.append(compared("`_encode_bytes`, 21 bytes that are not UTF-8", [each._encode_bytes for each in both], broken))
    return rows


def tokenizers_rows(vocabulary: SharedVocabulary, text: str) -> list[Row]:
    path = str(vocabulary.tokenizer_json)
    both = [module.Tokenizer.from_file(path) for module in (real_tokenizers, our_tokenizers)]

    def ids(tokenizer: Any) -> Call:
        return lambda batch: [found.ids for found in tokenizer.encode_batch(batch)]

    def everything(tokenizer: Any) -> Call:
        return lambda batch: [(found.ids, found.offsets, found.tokens) for found in tokenizer.encode_batch(batch)]

    rows = []
    for size in (80, 2000):
        batches = [pieces(text, size)]
        for name, read in (("`ids`", ids), ("`ids`, `offsets` and `tokens`", everything)):
            calls = [read(tokenizer) for tokenizer in both]
            _, real, our = compared(name, calls, batches)
            count = len(batches[0])
            rows.append((f"`encode_batch`, {size:,} characters a text, reading {name}", real / count, our / count))
    return rows


def first_text_row(vocabulary: SharedVocabulary) -> Row:
    """Processor seconds, not microseconds."""

    def seconds(module: str) -> float:
        command = [sys.executable, "-c", FIRST_TEXT.format(module=module), str(vocabulary.tokenizer_json)]
        return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    modules = ("tokenizers", "fastlm.compat.tokenizers")
    rounds = [[seconds(module) for module in modules] for _ in range(3)]
    real, ours = (statistics.median(side) for side in zip(*rounds, strict=True))
    return "a new process, `Tokenizer.from_file` and the first text", real * 1e6, ours * 1e6


def shown(microseconds: float) -> str:
    value, unit = (microseconds, "µs") if microseconds < 1e3 else (microseconds / 1e3, "ms")
    return f"{value:.3g} {unit}" if microseconds < 1e6 else f"{microseconds / 1e6:.3g} s"


def table(library: str, rows: Sequence[Row]) -> str:
    lines = [f"| call | {library} | fastlm | times as fast |", "|---|---|---|---|"]
    lines += [f"| {name} | {shown(real)} | {shown(ours)} | {real / ours:.2g} |" for name, real, ours in rows]
    return "\n".join(lines)


def page(vocabulary: SharedVocabulary, text: str) -> str:
    libraries = (fastlm, real_tiktoken, real_tokenizers)
    versions = ", ".join(f"{library.__name__} {library.__version__}" for library in libraries)
    return f"""# Speed of the compatibility layers

Written by `python -m benchmarks.compat_speed`; nothing here is typed by hand.

{versions}, Python {platform.python_version()}, {os.cpu_count()} processors ({platform.machine()}); vocabulary
{vocabulary.name}, {len(text):,} characters of English.

The figures are medians of {ROUNDS} passes, in CPU time for a text or a list of ids, on one thread. Both libraries take
turns in each pass, and their results are compared first. "Not seen before" is measured with a new object, "again" with
an object that has encoded the same texts.

## tiktoken

{table("tiktoken", tiktoken_rows(vocabulary, text))}

## tokenizers

{table("tokenizers", [*tokenizers_rows(vocabulary, text), first_text_row(vocabulary)])}
"""


def main() -> None:
    os.environ |= {"RAYON_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    # the separators of documents are special tokens, which tiktoken refuses
    text = "".join(documents(names()[0])).replace(END_OF_TEXT, "")[:TEXT_CHARACTERS]
    with tempfile.TemporaryDirectory() as directory:
        PAGE.write_text(page(shared_vocabulary(Path(directory)), text), "utf-8")


if __name__ == "__main__":
    main()
