"""Row 7: texts that make tokenizers slow: time grows with the length, and stays below a bound for each byte."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Iterator

import fastlm
from fastlm.pretokenize import patterns
from tests import texts
from tests.reliability.row import Row, Trial

MOST_NANOSECONDS = 150.0
MOST_GROWTH = 13.0


def _repeated(part: str) -> Callable[[int], str]:
    return lambda size: part * (size // len(part) + 1)


def _random(characters: str) -> Callable[[int], str]:
    return lambda size: "".join(random.Random(1).choices(characters, k=size))


TEXTS: dict[str, Callable[[int], str]] = {
    "one letter": _repeated("a"),
    "random letters": _random("abcdefghijklmnopqrstuvwxyz"),
    "spaces": _repeated(" "),
    "spaces and a letter": lambda size: " " * size + "x",
    "a thousand spaces and a newline": _repeated(" " * 1000 + "\n"),
    "a thousand newlines and a letter": _repeated("\n" * 1000 + "a"),
    "carets": _repeated("^"),
    "digits": _repeated("0123456789"),
    "apostrophes": _repeated("'"),
    "an apostrophe and a long s": _repeated("'\u017f"),
    "a mark after punctuation": _repeated("!\u0301"),
    "punctuation and a letter": _repeated("!a"),
    "slashes and newlines": _repeated("!/\n/"),
    "random Han": lambda size: "".join(map(chr, random.Random(1).choices(range(0x4E00, 0x9C00), k=size // 3))),
    "marks": _repeated("\u0301"),
    "emoji": _repeated("\U0001f469\u200d"),
    "case changes": _repeated("aBcD"),
    "lone surrogates": _repeated("\ud800"),
    "special tokens": _repeated("<|endoftext|>"),
    "almost special tokens": _repeated("<|endoftext|"),
    "English": lambda size: _repeated("".join(texts.DOCUMENTS))(size)[:size],
}


def _cpu(call: Callable[[], object], rounds: int) -> float:
    found = []
    for _ in range(rounds):
        start = time.process_time()
        call()
        found.append(time.process_time() - start)
    return statistics.median(found)


def _subjects() -> Iterator[tuple[str, Callable[[str], object]]]:
    """Ways to encode: each named pattern, added tokens with options, offsets, a stream."""
    base = fastlm.train_bpe(texts.DOCUMENTS, 1000, ["<|endoftext|>"], num_threads=1)
    scanners = {}
    for name, pattern in patterns.PATTERNS.items():
        scanners.setdefault(pattern.scanner or name, name)
    for name in scanners.values():
        tokenizer = fastlm.Tokenizer(base.vocab, base.merges, ["<|endoftext|>"], pattern=name)
        yield name, tokenizer.encode_to_numpy
    yield "offsets", base.encode_with_offsets
    yield (
        "in pieces",
        lambda text: sum(1 for _ in base.encode_iterable(text[k : k + 4096] for k in range(0, len(text), 4096))),
    )
    yield "at most 10^9 ids", lambda text: base.encode_upto(text, 1 << 30)


def adversarial(trial: Trial) -> None:
    """Sizes from 10^4 characters up, as many as the time allows; a text that passed one size is tried at the next."""
    subjects, before = list(_subjects()), dict[tuple[str, str], float]()
    for size in (10_000, 100_000, 1_000_000, 10_000_000):
        for text_name, make in TEXTS.items():
            if not trial.goes_on():
                return
            text = make(size)
            length = len(text.encode("utf-8", "surrogatepass"))
            for name, encode in subjects:
                if not trial.goes_on():
                    return
                seconds = _cpu(lambda encode=encode, text=text: encode(text), 3 if size < 10_000_000 else 1)
                each, grown = 1e9 * seconds / length, seconds / before.get((text_name, name), float("inf"))
                what = f"{name}, {text_name}, {length:,} bytes: {each:.0f} ns a byte, {grown:.1f} times"
                # below a millisecond the clock decides
                right = size < 100_000 or (each <= MOST_NANOSECONDS and (grown <= MOST_GROWTH or seconds < 0.05))
                trial.count(right, what)
                if size >= 100_000:
                    trial.figure(each, f"{each:.0f} ns a byte ({name}, {text_name}, {size:,} characters)")
                before[text_name, name] = seconds


ROWS = [Row(7, "adversarial texts", "at most 150 ns a byte, 10 times the text at most 13 times the time", adversarial)]
