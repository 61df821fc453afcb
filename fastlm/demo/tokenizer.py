"""`fastlm demo`: trains a tokenizer, encodes, decodes and compares, on English that ships with CPython or on a file."""

from __future__ import annotations

import itertools
import os
import re
import shlex
import shutil
import sys
import time
import warnings
from pathlib import Path

import numpy as np

from fastlm.bpe_training.trainer import train_bpe
from fastlm.corpus.encode_corpus import encode_corpus
from fastlm.corpus.manifest import MANIFEST
from fastlm.corpus.shard_formats import ids_dtype
from fastlm.demo import race
from fastlm.demo.table import DemoTable, next_lines
from fastlm.demo.texts import END_OF_TEXT, demo_corpus, paragraphs
from fastlm.files.atomic import write_files
from fastlm.files.reading import read_text
from fastlm.process_memory import peak_bytes
from fastlm.text.escapes import escaped
from fastlm.tokenizer import Tokenizer

VOCAB_SIZE = 10_000
MB = 1e6
WORD = re.compile(rb" [a-z]{4,}")
# characters in which the paragraph that is shown is looked for
LOOKED_AT = 50_000
# pale background colours of the 256-colour palette, for black letters
COLOURS = (224, 194, 159, 230, 189, 225)


def run_demo(source: Path | None, out: Path | None) -> None:
    """Runs the demo.

    Args:
        source: A UTF-8 file of text; None for the built-in corpus.
        out: Directory that keeps tokenizer, text, ids and report; None to keep nothing.

    Raises:
        OSError: A file cannot be read or written.
        ValueError: The file is not UTF-8, or is empty.
        RuntimeError: The decoded text differs from the text.
    """
    report = DemoTable()
    documents = demo_corpus() if source is None else [read_text(source)]
    text = END_OF_TEXT.join(documents)
    size = len(text.encode())
    documents_word = "document" if len(documents) == 1 else "documents"
    name = "CPython's help topics and standard library" if source is None else str(source)
    report.add("text", f"{name}: {size / MB:,.2f} MB in {len(documents):,} {documents_word}")

    tokenizer = _train(documents, size, report)
    ids = _encode_and_decode(tokenizer, text, size, report)
    report.add("tokens", f"{len(ids):,}, stored as {ids_dtype('npy', len(tokenizer.vocabulary)).name}")
    report.add("bytes per token", f"{size / len(ids):.3f}")
    report.add("longest words", longest_words(tokenizer))
    report.add("peak memory", f"{peak_bytes() / MB:,.0f} MB, text and ids included")
    print(report.text())
    raced = race.sample([document.replace(END_OF_TEXT, "") for document in documents])
    raced_size = len("".join(raced).encode())
    results = race.race(tokenizer, raced)
    title = f"race on {raced_size / MB:,.2f} MB, one thread, one call for each document; the ids are equal:"
    racing = f"{title}\n{race.table(results, raced_size)}"
    print(f"\n{racing}")
    print(f"\nhow it splits:\n{coloured_sample(tokenizer, text)}")
    if out is not None:
        _keep(tokenizer, text, f"{report.text()}\n\n{racing}\n", out)
        print(f"\nkept in {escaped(str(out))}: the tokenizer, corpus.txt, its ids, report.txt")
    print(_next(source, out))


def _next(source: Path | None, out: Path | None) -> str:
    """The commands to run after the demo."""
    file = "" if source is None else f" {shlex.quote(str(source))}"
    if out is None:
        return next_lines([f"fastlm demo{file} --out kept", f"fastlm demo{file} --model --out kept-model"])
    folder = shlex.quote(str(out))
    return next_lines(
        [
            f"fastlm count {shlex.quote(str(out / 'corpus.txt'))} --tokenizer {folder}",
            f"fastlm verify {shlex.quote(str(out / 'ids'))}",
            f"fastlm demo{file} --model --out kept-model",
        ]
    )


def longest_words(tokenizer: Tokenizer, number: int = 6) -> str:
    """The longest tokens that are a space and small letters, or the longest token of all if there is none."""
    special = set(tokenizer.special_tokens.values())
    tokens = [token for token_id, token in tokenizer.vocab.items() if token_id not in special]
    words = [token.decode("ascii") for token in tokens if WORD.fullmatch(token)]
    if not words:
        longest = max(tokens, key=len)
        return f"{longest.decode('utf-8', 'replace')!r}"
    longest_first = sorted({word.strip() for word in words}, key=lambda word: (-len(word), word))
    return ", ".join(longest_first[:number])


def _train(documents: list[str], size: int, report: DemoTable) -> Tokenizer:
    ends: dict[str, float] = {}
    start = time.perf_counter()
    with warnings.catch_warnings():
        # a short text has too few pairs for the vocabulary size; the table shows the number of tokens
        warnings.simplefilter("ignore", UserWarning)
        tokenizer = train_bpe(
            documents, VOCAB_SIZE, [END_OF_TEXT], progress=lambda phase, *_: ends.update({phase: time.perf_counter()})
        )
    report.seconds["train"] = time.perf_counter() - start
    counting = ends["count"] - start
    report.add("vocabulary", f"{tokenizer.vocab_size:,} tokens, {len(tokenizer.merges):,} merges")
    report.add_rate("train", "train", size)
    report.add("  of it counting", f"{counting:.3f} s, {size / MB / counting:,.1f} MB/s")
    return tokenizer


def _encode_and_decode(tokenizer: Tokenizer, text: str, size: int, report: DemoTable) -> np.ndarray:
    with report.timed("compile"):
        tokenizer.encode("")
    with report.timed("cold"):
        ids = tokenizer.encode_to_numpy(text)
    with report.timed("warm"):
        again = tokenizer.encode_to_numpy(text)
    with report.timed("decode"):
        decoded = tokenizer.decode(ids)
    if decoded != text or not np.array_equal(ids, again):
        raise RuntimeError("the decoded text differs from the text: please report this with the text")
    report.add("set up the encoder", f"{report.seconds['compile']:.3f} s")
    report.add_rate("encode, first time", "cold", size)
    report.add_rate("encode, again", "warm", size)
    report.add_rate("decode", "decode", size)
    report.add("round trip", "exact")
    return ids


def _keep(tokenizer: Tokenizer, text: str, report: str, out: Path) -> None:
    tokenizer.save(out)
    write_files(out, {"corpus.txt": text.encode(), "report.txt": report.encode()})
    if (out / "ids" / MANIFEST).exists():
        shutil.rmtree(out / "ids")
    encode_corpus(tokenizer, out / "corpus.txt", out / "ids")


def coloured_sample(tokenizer: Tokenizer, text: str, length: int = 400) -> str:
    """The tokens of a paragraph of the text: coloured on a terminal, else with bars between them."""
    start = max(0, text.find("\n\n", min(len(text) // 3, 20_000)))
    part = text[start : start + LOOKED_AT]
    shown = next(itertools.chain(paragraphs(part), paragraphs(text[:LOOKED_AT])), part.strip())
    ids = tokenizer.encode(shown[:length])
    tokens = [escaped(tokenizer.decode([token_id]), keep="\n\t") for token_id in ids]
    if not sys.stdout.isatty() or os.environ.get("NO_COLOR"):
        return "|".join(tokens)
    coloured = []
    for k, token in enumerate(tokens):
        paint = f"\x1b[30;48;5;{COLOURS[k % len(COLOURS)]}m"
        coloured.append(paint + token.replace("\n", f"\x1b[0m\n{paint}") + "\x1b[0m")
    return "".join(coloured)
