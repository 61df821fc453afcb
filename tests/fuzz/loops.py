"""Random calls of the extension modules, for a build with sanitizers.

    python -m tests.fuzz.loops --seconds 60 finder expressions

A target calls one module with random arguments until its time is over, and checks what can be checked in a few lines.
Prints the calls of each target. A wrong answer is an AssertionError; a report of a sanitizer ends the process. `make
test-sanitize` says how to preload the sanitizers.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

import fastlm
from fastlm.corpus.read import Blocks
from fastlm.decoding._decoder import Decoder
from fastlm.pretokenize.patterns import find_pattern
from fastlm.pretokenize.text_splitter import TextSplitter
from fastlm.text._token_finder import TokenFinder
from tests import texts
from tests.fuzz.arrow_arrays import arrow_array
from tests.pretokenize.expressions import ATOMS, CHARACTERS, OPENINGS, REPEATS

Target = Callable[[random.Random, Path], None]


def finder(chance: random.Random, _: Path) -> None:
    """Added tokens in a part of a text, against the longest match at each place."""
    tokens = sorted(
        {bytes(chance.choices(b"ab<|\xc3\xa9", k=chance.randrange(1, 6))) for _ in range(chance.randrange(1, 9))}
    )
    text = bytes(chance.choices(b"ab<|x\xc3\xa9", k=chance.randrange(200)))
    start = chance.randrange(len(text) + 1)
    stop = chance.randrange(start, len(text) + 1)
    part, expected, at = text[start:stop], [], 0
    while at < len(part):
        found = [token for token in tokens if part.startswith(token, at)]
        if found:
            longest = max(found, key=len)
            expected.append([at, at + len(longest), tokens.index(longest)])
        at += len(longest) if found else 1
    assert TokenFinder(tokens).find(memoryview(text)[start:stop]).tolist() == expected


def decoder(chance: random.Random, _: Path) -> None:
    """Ids in a list, a tuple and an array, against joined tokens."""
    tokens = [chance.randbytes(chance.choice([1, 2, 5, 14, 15, 16, 17, 40])) for _ in range(chance.randrange(1, 30))]
    offsets = np.cumsum([0, *map(len, tokens)])
    made = Decoder(np.frombuffer(b"".join(tokens), np.uint8), offsets)
    ids = chance.choices(range(len(tokens)), k=chance.choice([0, 1, 3, 511, 512, 513]))
    expected = b"".join(tokens[token_id] for token_id in ids)
    for given in (ids, tuple(ids), np.array(ids, np.int64), np.array(ids, np.uint16)[::1]):
        assert made.decode_bytes(given) == expected
    ids.append(chance.choice([-1, len(tokens), 1 << 40, -(1 << 63)]))
    try:
        made.decode_bytes(ids)
    except KeyError:
        return
    raise AssertionError(f"{ids[-1]} is no id")


def expressions(chance: random.Random, _: Path) -> None:
    """Any expression on any text: an error, or ends that ascend to the end of the text."""
    kinds = [ATOMS, ATOMS, REPEATS, OPENINGS, list("()[]|*+?\\{}^$.")]
    parts = [chance.choice(chance.choice(kinds)) for _ in range(chance.randrange(1, 9))]
    text = "".join(chance.choices([*CHARACTERS, "aa", "1a"], k=chance.randrange(80))).encode()
    try:
        ends = find_pattern(("".join(map(str, parts)),), "oniguruma").find_ends(text).tolist()
    except ValueError:
        return
    assert ends == sorted(set(ends))
    assert ends[-1:] == [len(text)][: len(text)]


def _damaged(chance: random.Random, content: bytes) -> bytes:
    changed = bytearray(content)
    for _ in range(chance.randrange(1, 5)):
        at = chance.randrange(len(changed))
        changed[at] = chance.choice([0, 1, 127, 128, 255, changed[at] ^ 1 << chance.randrange(8)])
    return bytes(changed[: chance.randrange(len(changed))] if chance.random() < 0.1 else changed)


def _columns(chance: random.Random, folder: Path, suffix: str) -> None:
    sources = sorted(folder.glob(f"good-*{suffix}"))
    path = folder / f"changed{suffix}"
    path.write_bytes(_damaged(chance, chance.choice(sources).read_bytes()))
    try:
        for block in Blocks(path, TextSplitter(["<|endoftext|>"], find_pattern("gpt2"))):
            bytes(block.text)
    except ValueError as error:
        assert path.name in str(error)  # noqa: PT017 - not a test


def arrow(chance: random.Random, folder: Path) -> None:
    """Arrow files with changed bytes: read, or refused by name."""
    _columns(chance, folder, ".arrow")


def parquet(chance: random.Random, folder: Path) -> None:
    """Parquet files with changed bytes: read, or refused by name."""
    _columns(chance, folder, ".parquet")


def tokenizer_file(chance: random.Random, folder: Path) -> None:
    """A tokenizer.fastlm with changed bytes and the right checksum: refused by name, or it encodes."""
    body = _damaged(chance, (folder / "tokenizer.fastlm").read_bytes()[:-32])
    path = folder / "changed.fastlm"
    path.write_bytes(body + hashlib.sha256(body).digest())
    try:
        tokenizer = fastlm.load(path)
        tokenizer.decode_bytes(tokenizer.encode("some text to encode, 123 <|endoftext|>", num_threads=2))
    except (ValueError, KeyError, MemoryError):
        return


TARGETS: dict[str, Target] = {
    target.__name__: target for target in (finder, decoder, expressions, arrow_array, arrow, parquet, tokenizer_file)
}


def prepare(folder: Path) -> None:
    """Writes the files that targets change."""
    fastlm.train_bpe(texts.DOCUMENTS[:3], 300, ["<|endoftext|>"]).save(folder, ["fastlm"])
    try:
        import pyarrow
        from pyarrow import parquet as writer
    except ImportError:
        return
    values = [f"text {number} of some length" for number in range(20)]
    kinds = {"string": pyarrow.string(), "large": pyarrow.large_string(), "view": pyarrow.string_view()}
    arrays = {name: pyarrow.array(values, kind) for name, kind in kinds.items()}
    arrays["dictionary"] = pyarrow.array(values * 2).dictionary_encode()
    for name, array in arrays.items():
        table = pyarrow.table({"text": array})
        for kind, new in (("file", pyarrow.ipc.new_file), ("stream", pyarrow.ipc.new_stream)):
            with new(str(folder / f"good-{name}-{kind}.arrow"), table.schema) as file:
                file.write_table(table)
        if name != "view":
            writer.write_table(table, folder / f"good-{name}.parquet")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(TARGETS)}; default: all")
    parser.add_argument("--seconds", type=float, default=60.0, help="of each target")
    parser.add_argument("--calls", type=int, help="end a target after this number of calls")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        prepare(Path(folder))
        for name in arguments.targets or TARGETS:
            calls, start, most = 0, time.monotonic(), arguments.calls or sys.maxsize
            while calls < most and time.monotonic() - start < arguments.seconds:
                TARGETS[name](random.Random(f"{arguments.seed} {name} {calls}"), Path(folder))
                calls += 1
            print(f"{name}: {calls:,} calls in {time.monotonic() - start:.0f} s, 0 reports", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
