"""Problem unicode2: UTF-8, UTF-16 and UTF-32 under a byte-level tokenizer, and decoding byte by byte."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.resources import files
from typing import Any

import numpy as np

from fastlm._types import Int64Array
from fastlm.report.content import Cell, Code, Figure, Figures, Section, Table, Text
from fastlm.report.session import executed

ENCODINGS = {"UTF-8": "utf-8", "UTF-16": "utf-16-le", "UTF-32": "utf-32-le"}
MERGES = 512
TEXT_NAME = "the beginning of the Universal Declaration of Human Rights"

WRONG_DECODER = """\
def decode_byte_by_byte(encoded):
    return "".join(bytes([byte]).decode("utf-8") for byte in encoded)

decode_byte_by_byte("hello".encode("utf-8"))
"é".encode("utf-8")
decode_byte_by_byte("é".encode("utf-8"))
"é".encode("utf-8").decode("utf-8")"""

NOT_UTF8 = """\
b"\\xc3\\x28".decode("utf-8")
b"\\xc0\\xaf".decode("utf-8")"""


def texts() -> dict[str, str]:
    """The multilingual text that ships with the package: language -> text."""
    content: dict[str, str] = json.loads(files("fastlm.report").joinpath("declaration.json").read_text("utf-8"))
    return content


def unicode2() -> Section:
    """The section: the three encodings measured on real text, and the failures executed."""
    section = Section("unicode2", "Unicode encodings")
    languages = texts()
    parts = {"all languages": "\n".join(languages.values()), "English": languages["English"]}
    lengths = {name: _merged_lengths(text) for name, text in parts.items()}
    best = {name: min(found, key=lambda encoding: found[encoding]) for name, found in lengths.items()}
    section.add(
        Text(
            f"The text is {TEXT_NAME} in {len(languages)} languages. UTF-8 takes one byte for each ASCII character, "
            "and has no order of bytes and no zero bytes. Most text of the Web is ASCII, which UTF-16 and UTF-32 store "
            "with one or three zeros for each character. "
            f"With {MERGES} merges of byte pairs, {best['all languages']} needs the fewest tokens for all languages, "
            f"and {best['English']} for English."
        ),
        Table(
            ["language", "characters", *ENCODINGS],
            [_row(name, text) for name, text in languages.items()],
            "Bytes per character of the same text in three encodings, without byte order marks.",
        ),
        Table(
            ["all languages, and English alone", *ENCODINGS],
            [row for name, text in parts.items() for row in _measures(name, text, lengths[name])],
            f"Byte-pair encoding of the raw bytes without pretokens, with {MERGES} merges for each encoding and text.",
        ),
    )
    section.add(
        Text(
            "A decoder that decodes each byte for itself is right for ASCII only. Every other character has two to "
            "four bytes, and none of them is UTF-8 alone."
        )
    )
    names: dict[str, Any] = {}
    section.add(Code(executed(WRONG_DECODER, names)))
    failures = sum(_fails(names["decode_byte_by_byte"], text.encode()) for text in languages.values())
    section.add(
        Figures([Figure("languages in which it fails", failures, f"of {len(languages)}", note="each was decoded")]),
        Text("Two bytes that are not UTF-8: a lead byte without its continuation byte, and an overlong form."),
        Code(executed(NOT_UTF8)),
        Figures(
            [Figure("pairs of bytes that are not UTF-8", undecodable_pairs(), "of 65,536", note="all were decoded")]
        ),
    )
    return section


def _row(language: str, text: str) -> list[Cell]:
    return [language, len(text), *(round(len(text.encode(codec)) / len(text), 3) for codec in ENCODINGS.values())]


def _merged_lengths(text: str) -> dict[str, int]:
    """Encoding -> number of tokens of the text after the merges."""
    return {name: merged_length(text.encode(codec), MERGES) for name, codec in ENCODINGS.items()}


def _measures(name: str, text: str, lengths: dict[str, int]) -> list[list[Cell]]:
    """The rows of a text in the table of encodings."""
    encoded = [text.encode(codec) for codec in ENCODINGS.values()]
    return [
        [f"{name}: bytes", *map(len, encoded)],
        ["zero bytes, %", *(round(100 * content.count(0) / len(content), 2) for content in encoded)],
        ["different bytes", *(len(set(content)) for content in encoded)],
        [f"tokens after {MERGES} merges", *lengths.values()],
        ["characters a token", *(round(len(text) / length, 3) for length in lengths.values())],
    ]


def _fails(decode: Callable[[bytes], str], encoded: bytes) -> bool:
    """Whether a decoder raises UnicodeDecodeError."""
    try:
        decode(encoded)
    except UnicodeDecodeError:
        return True
    return False


def undecodable_pairs() -> int:
    """The number of two-byte sequences that are not UTF-8."""
    count = 0
    for pair in range(1 << 16):
        try:
            pair.to_bytes(2, "big").decode("utf-8")
        except UnicodeDecodeError:
            count += 1
    return count


def merged_length(encoded: bytes, merges: int) -> int:
    """The number of tokens of bytes after `merges` merges of their most frequent pair.

    Ties go to the greatest pair of ids. It is plain BPE without pretokens, for bytes of any encoding; `train_bpe`
    takes UTF-8 only.
    """
    ids = np.frombuffer(encoded, np.uint8).astype(np.int64)
    most = 256 + merges
    for new in range(256, most):
        pairs = ids[:-1] * most + ids[1:]
        counts = np.bincount(pairs, minlength=1)
        if not len(counts) or counts.max() < 2:
            break
        pair = len(counts) - 1 - int(counts[::-1].argmax())
        ids = _merge(ids, np.flatnonzero(pairs == pair), new, same=pair // most == pair % most)
    return len(ids)


def _merge(ids: Int64Array, where: Int64Array, new: int, same: bool) -> Int64Array:
    """The ids with the pairs at `where` replaced. Of pairs that overlap, which only `same` ids do, every second one."""
    if same and len(where):
        begins = np.concatenate([[True], np.diff(where) != 1])
        first = where[begins][np.cumsum(begins) - 1]
        where = where[(where - first) % 2 == 0]
    merged = ids.copy()
    merged[where] = new
    return np.delete(merged, where + 1)
