"""Row 7: texts that make tokenizers slow or large: time is linear, and time and memory of a byte are bounded.

A call is measured with a new str, because CPython keeps the UTF-8 of a str once it was asked for, and with an allocator
that returns large arrays to the system, because new pages would slow down only the sizes that it does not keep. Peak
memory is the growth of the resident memory during a call: it includes the result and the UTF-8 of the text.
"""

from __future__ import annotations

import ctypes
import dataclasses
import itertools
import random
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import fastlm
from fastlm.pretokenize import patterns
from fastlm.process_memory import peak_bytes, resident_bytes
from fastlm.vocabulary.vocabulary import AddedToken, Rules
from tests import texts
from tests.reliability.row import Row, Trial

MOST_NANOSECONDS = 150.0
MOST_GROWTH = 13.0
MOST_MEMORY = 40.0
SIZES = (10_000, 100_000, 1_000_000, 10_000_000)
# smaller sizes are not judged: there the clock decides
JUDGED = 100_000
END = "<|endoftext|>"
# of no named pattern: the splits of a tokenizer.json that somebody wrote
FOREIGN = r"[A-Z]?[a-z]+|\s?\p{L}+\p{M}*|\p{N}{1,4}|\s+(?!\S)|\s+|(?:[^\s\p{L}\p{N}]+[\r\n]?)(?=\S|$)|."
TEMPLATE = "{% for m in messages %}<|user|>{{ m['content'] }}<|endoftext|>{% endfor %}"


def _repeated(part: str) -> Callable[[int], str]:
    return lambda size: part * (size // len(part) + 1)


def _random(characters: str) -> Callable[[int], str]:
    return lambda size: "".join(random.Random(1).choices(characters, k=size))


TEXTS: dict[str, Callable[[int], str]] = {
    "special tokens": _repeated(END),
    "an apostrophe and a long s": _repeated("'\u017f"),
    "punctuation and a letter": _repeated("!a"),
    "lone surrogates": _repeated("\ud800"),
    "a thousand spaces and a newline": _repeated(" " * 1000 + "\n"),
    "a thousand newlines and a letter": _repeated("\n" * 1000 + "a"),
    "one letter": _repeated("a"),
    "random letters": _random("abcdefghijklmnopqrstuvwxyz"),
    "spaces": _repeated(" "),
    "spaces and a letter": lambda size: " " * size + "x",
    "carets": _repeated("^"),
    "digits": _repeated("0123456789"),
    "apostrophes": _repeated("'"),
    "a mark after punctuation": _repeated("!\u0301"),
    "slashes and newlines": _repeated("!/\n/"),
    "random Han": lambda size: "".join(map(chr, random.Random(1).choices(range(0x4E00, 0x9C00), k=size // 3))),
    "marks": _repeated("\u0301"),
    "letters and marks out of order": _repeated("e\u0301\u0323"),
    "emoji": _repeated("\U0001f469\u200d"),
    "case changes": _repeated("aBcD"),
    "almost special tokens": _repeated(END[:-1]),
    "added tokens and spaces": _repeated("<m>  "),
    "English": lambda size: _repeated("".join(texts.DOCUMENTS))(size)[:size],
}

Subject = tuple[str, Callable[[str], object]]


def _subjects() -> Iterator[Subject]:
    """Ways to encode: each scanner, an expression, offsets, streams, normalization, added tokens, chat templates."""
    base = fastlm.train_bpe(texts.DOCUMENTS, 1000, [END], num_threads=1)
    made = base.vocabulary
    yield "offsets", base.encode_with_offsets
    scanners: dict[str, str] = {}
    for name, pattern in patterns.PATTERNS.items():
        scanners.setdefault(pattern.scanner or name, name)
    for name in scanners.values():
        yield name, fastlm.Tokenizer(base.vocab, base.merges, [END], pattern=name).encode_to_numpy
    yield "list", base.encode
    yield "count", base.count
    yield "pieces", lambda text: sum(1 for _ in base.encode_iterable(map("".join, _pieces(text))))
    yield "at most 10^9 ids", lambda text: base.encode_upto(text, 1 << 30)
    yield "an expression", _with(made, pattern=patterns.find_pattern((FOREIGN,), "oniguruma")).encode_to_numpy
    normalized = _with(made, rules=Rules(normalization="NFC"))
    yield "NFC", normalized.encode_to_numpy
    yield "offsets of NFC", normalized.encode_with_offsets
    for flag in ("lstrip", "rstrip", "single_word", "normalized"):
        added = [AddedToken("<m>", len(made), **{flag: True})]  # type: ignore[arg-type]
        tokenizer = fastlm.Tokenizer({**base.vocab, len(made): b"<m>"}, base.merges, [END, *added])
        yield f"added token with {flag}", tokenizer.encode_to_numpy
    if chat := _chat(base):
        yield "chat template", chat


def _pieces(text: str) -> Iterator[str]:
    return (text[k : k + 4096] for k in range(0, len(text), 4096))


def _with(vocabulary: fastlm.Vocabulary, **changes: object) -> fastlm.Tokenizer:
    return fastlm.Tokenizer.from_vocabulary(dataclasses.replace(vocabulary, **changes))  # type: ignore[arg-type]


def _chat(tokenizer: fastlm.Tokenizer) -> Callable[[str], object] | None:
    try:
        from fastlm.compat.transformers import FastLMTokenizer
    except ImportError:
        return None
    chat = FastLMTokenizer(tokenizer, chat_template=TEMPLATE)
    return lambda text: chat.apply_chat_template([{"role": "user", "content": text}])["input_ids"]


def _new(text: str) -> str:
    """An equal str whose UTF-8 CPython does not have yet."""
    return text[:1] + text[1:]


def _cpu(encode: Callable[[str], object], text: str) -> float:
    given = _new(text)
    start = time.process_time()
    encode(given)
    return time.process_time() - start


def _medians(encode: Callable[[str], object], *given: str) -> Iterator[float]:
    """The median of seven times for each text, measured by turns, so that other work slows all of them down alike."""
    rounds = [[_cpu(encode, text) for text in given] for _ in range(7)]
    return map(statistics.median, zip(*rounds, strict=True))


def _peak(encode: Callable[[str], object], text: str) -> int:
    """The bytes by which resident memory grows during a call; 0 where the system does not tell."""
    clear = Path("/proc/self/clear_refs")
    if not clear.exists():
        return 0
    given = _new(text)
    if hasattr(library := ctypes.CDLL(None), "malloc_trim"):
        library.malloc_trim(0)
    clear.write_text("5")
    before = resident_bytes()
    encode(given)
    return peak_bytes() - before


def _return_large_arrays() -> None:
    """Makes glibc's malloc take large arrays from the system, whatever was freed before."""
    if hasattr(library := ctypes.CDLL(None), "mallopt"):
        trim_threshold, mmap_threshold = -1, -3
        library.mallopt(mmap_threshold, 128 << 10)
        library.mallopt(trim_threshold, 128 << 10)


def adversarial(trial: Trial) -> None:
    """Sizes from 10^4 characters up, as many as the time allows: each size for all texts and ways to encode.

    Where 10 times the text takes too many times the time, both texts are measured again, by turns.
    """
    _return_large_arrays()
    subjects, before = list(_subjects()), dict[tuple[str, str], float]()
    most_growth = most_memory = 0.0
    tried = dict.fromkeys(SIZES, 0)
    for size, (text_name, make) in itertools.product(SIZES, TEXTS.items()):
        if not trial.goes_on():
            break
        text = make(size)
        length = len(text.encode("utf-8", "surrogatepass"))
        for name, encode in subjects:
            if not trial.goes_on():
                break
            if (name, text_name) == ("chat template", "lone surrogates"):
                continue  # tokenizers refuses them
            smaller = before.get((text_name, name), float("inf"))
            found = [_cpu(encode, text) for _ in range(1 if size == SIZES[-1] else 3)]
            seconds = statistics.median(found)
            if seconds > MOST_GROWTH * smaller:
                seconds, smaller = _medians(encode, text, make(size // 10))
            before[text_name, name] = seconds
            each, grown = 1e9 * seconds / length, seconds / smaller
            memory = _peak(encode, text) / length if size >= 1_000_000 else 0.0
            what = f"{name}, {text_name}, {length:,} bytes: {each:.0f} ns and {memory:.0f} B a byte, {grown:.1f} times"
            # below 50 ms the state of the caches and of the clock decide
            slow = each > MOST_NANOSECONDS or (grown > MOST_GROWTH and seconds > 0.05)
            trial.count(size < JUDGED or not (slow or memory > MOST_MEMORY), what)
            tried[size] += 1
            if size >= JUDGED:
                trial.figure(each, f"{each:.0f} ns a byte ({name}, {text_name}, {size:,} characters)")
                most_growth = max(most_growth, grown if seconds > 0.05 else 0.0)
                most_memory = max(most_memory, memory)
    trial.worst += f"; {most_memory:.0f} B a byte; 10 times the text {most_growth:.1f} times the time; "
    trial.worst += ", ".join(f"{number:,} of {size:,} characters" for size, number in tried.items() if number)


ROWS = [
    Row(
        7,
        "adversarial texts",
        "at most 150 ns and 40 B a byte, 10 times the text at most 13 times the time",
        adversarial,
        share=10,
    )
]
