"""Measures the compatibility layers against tiktoken and tokenizers and writes docs/migrate/speed.md:

    python -m benchmarks.compat_speed

With GPT-2's vocabulary where FASTLM_DATA has it, else one trained on the spot; results are compared before anything is
timed. Times are processor time on one thread, and the libraries take turns. Where FASTLM_NEXT_TOKENIZERS names a folder
with another version of tokenizers, that takes part too.
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
from benchmarks.peers import NEXT_TOKENIZERS, next_tokenizers, version_of
from benchmarks.vocabulary import SharedVocabulary, shared_vocabulary
from fastlm.compat import tiktoken as our_tiktoken
from fastlm.compat import tokenizers as our_tokenizers
from fastlm.pretokenize.patterns import R50K

PAGE = Path(__file__).resolve().parents[1] / "docs" / "migrate" / "speed.md"
TEXT_CHARACTERS = 1_000_000
ROUNDS = 5

# processor seconds of a process from its start to its first ids, most of which loading takes
FIRST_TEXT = """
import sys, time
sys.path[:0] = sys.argv[2:]
import {module} as library
k = library.Tokenizer.from_file(sys.argv[1])
k.encode("the first text").ids
print(time.process_time())
"""

# what an Encoding has, but `overflowing`, which is empty without truncation
ATTRIBUTES = (
    "ids", "type_ids", "tokens", "offsets", "attention_mask", "special_tokens_mask", "word_ids", "sequence_ids",
)  # fmt: skip

# what is measured, and the time of each library, fastlm's last; None where it lacks an attribute
Row = tuple[str, Sequence[float | None]]
Call = Callable[[Any], object]


def pieces(text: str, size: int) -> list[str]:
    return [text[start : start + size] for start in range(0, len(text), size)]


def passed(call: Call, items: Sequence[object]) -> float:
    """Microseconds of processor time an item, over one pass."""
    start = time.process_time()
    for item in items:
        call(item)
    return (time.process_time() - start) / len(items) * 1e6


def in_turns(calls: Sequence[Call], items: Sequence[object]) -> list[float]:
    """The median of each library over passes in which they take turns."""
    rounds = [[passed(call, items) for call in calls] for _ in range(ROUNDS)]
    return [statistics.median(times) for times in zip(*rounds, strict=True)]


def compared(name: str, calls: Sequence[Call], items: Sequence[object]) -> tuple[str, list[float]]:
    """A row of times. Raises AssertionError where the results differ."""
    for item in items:
        expected = calls[0](item)
        assert all(call(item) == expected for call in calls[1:]), name
    return name, in_turns(calls, items)


def unseen(name: str, makes: Sequence[Callable[[], Call]], items: Sequence[object]) -> tuple[str, list[float]]:
    """The same with new objects in each pass, which have met none of the items."""
    rounds = []
    for _ in range(ROUNDS):
        calls = [make() for make in makes]
        for call in calls:
            call("a first text, so that all is loaded")
        rounds.append([passed(call, items) for call in calls])
    return name, [statistics.median(times) for times in zip(*rounds, strict=True)]


def tiktoken_rows(vocabulary: SharedVocabulary, text: str) -> list[Row]:
    modules = (real_tiktoken, our_tiktoken)

    def encoding(module: Any) -> Any:
        return module.Encoding(
            "compat", pat_str=R50K, mergeable_ranks=vocabulary.ranks, special_tokens=vocabulary.special_tokens
        )

    makes = [lambda module=module: encoding(module).encode for module in modules]
    both = [encoding(module) for module in modules]
    rows: list[Row] = []
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
    modules = [real_tokenizers, *([next_tokenizers()] if NEXT_TOKENIZERS in os.environ else []), our_tokenizers]
    tokenizers = [module.Tokenizer.from_file(path) for module in modules]

    def reading(tokenizer: Any, attributes: Sequence[str], keep: bool) -> Call:
        def read(batch: Sequence[str]) -> list[object]:
            kept: list[object] = []
            for found in tokenizer.encode_batch(batch):
                values = [getattr(found, attribute) for attribute in attributes]
                if keep:
                    kept.append(values)
            return kept

        return read

    rows: list[Row] = []
    for size in (80, 2000):
        batches = [pieces(text, size)]
        for name, attributes in (
            ("`ids`", ATTRIBUTES[:1]),
            ("`ids`, `type_ids` and `attention_mask`", ("ids", "type_ids", "attention_mask")),
            ("`ids`, `offsets` and `tokens`", ("ids", "offsets", "tokens")),
            ("all attributes", ATTRIBUTES),
        ):
            # version 1.0 has three of the attributes
            having = [all(hasattr(module.Encoding, attribute) for attribute in attributes) for module in modules]
            having_all = [tokenizer for tokenizer, has in zip(tokenizers, having, strict=True) if has]
            results = [reading(tokenizer, attributes, keep=True)(batches[0]) for tokenizer in having_all]
            assert all(result == results[0] for result in results), name
            del results
            calls = [reading(tokenizer, attributes, keep=False) for tokenizer in having_all]
            times = iter(in_turns(calls, batches))
            each = [next(times) / len(batches[0]) if has else None for has in having]
            rows.append((f"`encode_batch`, {size:,} characters a text, reading {name}", each))
    return rows


def first_text_row(vocabulary: SharedVocabulary) -> Row:
    """Processor time of new processes, from their start."""

    def microseconds(module: str, *folders: str) -> float:
        command = [sys.executable, "-c", FIRST_TEXT.format(module=module), str(vocabulary.tokenizer_json), *folders]
        return 1e6 * float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    folder = os.environ.get(NEXT_TOKENIZERS)
    modules = [("tokenizers",), *([("tokenizers", folder)] if folder else []), ("fastlm.compat.tokenizers",)]
    rounds = [[microseconds(*module) for module in modules] for _ in range(3)]
    medians = [statistics.median(times) for times in zip(*rounds, strict=True)]
    return "a new process, `Tokenizer.from_file` and the first text", medians


def shown(microseconds: float) -> str:
    value, unit = (microseconds, "µs") if microseconds < 1e3 else (microseconds / 1e3, "ms")
    return f"{value:.3g} {unit}" if microseconds < 1e6 else f"{microseconds / 1e6:.3g} s"


def table(libraries: Sequence[str], rows: Sequence[Row]) -> str:
    """The times of all libraries, and how many times as fast as each of the others fastlm is."""
    factors = [f"x {library}" for library in libraries]
    lines = ["| " + " | ".join(["call", *libraries, "fastlm", *factors]) + " |"]
    lines.append("|---" + "|---:" * (2 * len(libraries) + 1) + "|")
    for name, times in rows:
        ours = times[-1]
        ratios = ["" if ours is None or time is None else f"{time / ours:.2g}" for time in times[:-1]]
        lines.append(
            "| " + " | ".join([name, *("" if time is None else shown(time) for time in times), *ratios]) + " |"
        )
    return "\n".join(lines)


def page(vocabulary: SharedVocabulary, text: str) -> str:
    libraries = (fastlm, real_tiktoken, real_tokenizers)
    versions = ", ".join(f"{library.__name__} {library.__version__}" for library in libraries)
    attributes = ", ".join(f"`{name}`" for name in ATTRIBUTES)
    found = filter(None, [real_tokenizers.__version__, version_of("tokenizers_next")])
    names_of_tokenizers = [f"tokenizers {version}" for version in found]
    return f"""# Speed of the compatibility layers

Written by `python -m benchmarks.compat_speed`; nothing here is typed by hand.

{versions}, Python {platform.python_version()}, {os.cpu_count()} processors ({platform.machine()}); vocabulary
{vocabulary.name}, {len(text):,} characters of English.

The figures are medians of {ROUNDS} passes, in CPU time for a text or a list of ids, on one thread. The libraries
take turns in each pass, and their results are compared first. "Not seen before" is measured with a new object, "again"
with an object that has encoded the same texts. "All attributes" are
{attributes}.
The lists of an encoding are read and dropped: to keep them costs Python's garbage collector the same for any library.

## tiktoken

{table(["tiktoken"], tiktoken_rows(vocabulary, text))}

## tokenizers

{table(names_of_tokenizers, [*tokenizers_rows(vocabulary, text), first_text_row(vocabulary)])}
"""


def main() -> None:
    os.environ |= {"RAYON_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    # the separators of documents are special tokens, which tiktoken refuses
    text = "".join(documents(names()[0])).replace(END_OF_TEXT, "")[:TEXT_CHARACTERS]
    with tempfile.TemporaryDirectory() as directory:
        PAGE.write_text(page(shared_vocabulary(Path(directory)), text), "utf-8")


if __name__ == "__main__":
    main()
