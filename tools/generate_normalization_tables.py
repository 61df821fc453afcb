"""Writes fastlm/text/normalization_tables.h: how `tokenizers` decomposes, composes, reorders, lowercases and strips.

The tables are pinned to the Unicode version of tokenizers 0.23, which is older than CPython's. The library is asked
about each of the 1,112,064 Unicode scalars.

    python tools/generate_normalization_tables.py            # writes the header
    python tools/generate_normalization_tables.py --check    # fails if the header differs from the library
"""

from __future__ import annotations

import argparse
import sys
import unicodedata
from collections.abc import Callable, Iterable
from pathlib import Path

from tokenizers import normalizers

HEADER = Path(__file__).resolve().parents[1] / "fastlm" / "text" / "normalization_tables.h"
PAGE_BITS = 7
SCALARS = [*range(0xD800), *range(0xE000, 0x110000)]
HANGUL_SYLLABLES = range(0xAC00, 0xAC00 + 11172)
PAIR_SLOTS = 2048
PAIR_MULTIPLIERS = (0x9E3779B1, 0x85EBCA6B)

FORMS: dict[str, Callable[[str], str]] = {
    name: getattr(normalizers, name)().normalize_str
    for name in ("NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents")
}


def changes(name: str) -> dict[int, str]:
    """Code point -> the normalizer's result for this character alone, if the result differs."""
    normalize = FORMS[name]
    return {cp: made for cp in SCALARS if (made := normalize(chr(cp))) != chr(cp)}


def combining_classes(decompositions: dict[int, str]) -> dict[int, int]:
    """Code point -> canonical combining class, for the characters that the library reorders."""
    nfd = FORMS["NFD"]

    def moves(char: str) -> bool:
        # an overlay has the lowest class and a mark below a low one; the first moves before, the second stays behind
        return nfd(f"a{char}\u0334") != f"a{char}\u0334" or nfd(f"a\u0345{char}") != f"a\u0345{char}"

    known = {cp: unicodedata.combining(chr(cp)) for cp in SCALARS if cp not in decompositions}
    return {cp: number for cp, number in known.items() if number and moves(chr(cp))}


def compositions(decompositions: dict[int, str]) -> dict[tuple[int, int], int]:
    """(first, second) -> the character that canonical composition makes of the two. Without Hangul."""
    nfc = FORMS["NFC"]
    pairs = {}
    for cp in decompositions:
        parts = unicodedata.decomposition(chr(cp)).split()
        if cp in HANGUL_SYLLABLES or len(parts) != 2:
            continue
        first, second = (int(part, 16) for part in parts)
        if nfc(chr(first) + chr(second)) == chr(cp):
            pairs[first, second] = cp
    return pairs


class Pool:
    """Strings of code points that share one array."""

    def __init__(self) -> None:
        self.code_points: list[int] = []
        self._places: dict[str, tuple[int, int]] = {"": (0, 0)}

    def place(self, text: str) -> tuple[int, int]:
        """Start and length of a string in the array."""
        if text not in self._places:
            self._places[text] = len(self.code_points), len(text)
            self.code_points.extend(map(ord, text))
        return self._places[text]


def hashed(pairs: dict[tuple[int, int], int]) -> list[tuple[int, int, int]]:
    """A table of PAIR_SLOTS entries with linear probing; (0, 0, 0) is a free slot."""
    slots = [(0, 0, 0)] * PAIR_SLOTS
    for (first, second), composed in sorted(pairs.items()):
        slot = (first * PAIR_MULTIPLIERS[0] + second * PAIR_MULTIPLIERS[1] & 0xFFFFFFFF) >> 21
        while slots[slot] != (0, 0, 0):
            slot = (slot + 1) % PAIR_SLOTS
        slots[slot] = first, second, composed
    return slots


def rows(values: Iterable[object], width: int = 20) -> str:
    """Values as lines of a C initializer."""
    texts = [str(value) for value in values]
    return "\n".join("    " + ", ".join(texts[k : k + width]) + "," for k in range(0, len(texts), width))


def header() -> str:
    """The content of normalization_tables.h."""
    canonical, compatible, lower = changes("NFD"), changes("NFKD"), changes("Lowercase")
    composed, composed_compatible = changes("NFC"), changes("NFKC")
    classes = combining_classes(canonical)
    pairs = compositions(canonical)
    marks = changes("StripAccents")
    seconds = {second for _, second in pairs} | {*range(0x1161, 0x1176), *range(0x11A8, 0x11C3)}

    pool = Pool()
    records: dict[tuple[int, ...], int] = {(0,) * 8: 0}
    record_of = [0] * 0x110000
    for cp in SCALARS:
        if cp in HANGUL_SYLLABLES:
            continue
        decomposed = canonical.get(cp, "")
        decomposed_compatible = compatible.get(cp, "")
        ccc = classes.get(cp, 0)
        # in bit k: the k-th of NFC, NFD, NFKC, NFKD, lowercase and strip-marks may change a text because of it
        active = (
            (cp in composed or ccc > 0 or cp in seconds)
            | (bool(decomposed) or ccc > 0) << 1
            | (cp in composed_compatible or ccc > 0 or cp in seconds) << 2
            | (bool(decomposed_compatible) or ccc > 0) << 3
            | (cp in lower) << 4
            | (cp in marks) << 5
        )
        record = (
            *(ccc, int(active)),
            *pool.place(decomposed),
            *pool.place(decomposed_compatible),
            *pool.place(lower.get(cp, "")),
        )
        record_of[cp] = records.setdefault(record, len(records))

    size = 1 << PAGE_BITS
    pages: dict[tuple[int, ...], int] = {}
    page_of = []
    for start in range(0, 0x110000, size):
        page = tuple(record_of[start : start + size])
        page_of.append(pages.setdefault(page, len(pages)))
    assert len(pages) < 1 << 8
    assert max(len(records), len(pool.code_points)) < 1 << 16

    return f"""/* Generated by tools/generate_normalization_tables.py from tokenizers 0.23; do not edit. */
#ifndef FASTLM_NORMALIZATION_TABLES_H
#define FASTLM_NORMALIZATION_TABLES_H
#include <stdint.h>

/* A character: its canonical combining class; in bit k whether the k-th of NFC, NFD, NFKC, NFKD, lowercase and
 * strip-marks may change a text because of it; and its canonical decomposition, compatibility decomposition and
 * lowercase. Each is a start and a length in fastlm_normalized_code_points; the length is 0 where nothing changes. */
typedef struct {{
    uint8_t combining_class, active;
    uint16_t canonical, canonical_length, compatible, compatible_length, lower, lower_length;
}} fastlm_normalization_record;

#define FASTLM_NORMALIZATION_PAGE_BITS {PAGE_BITS}
#define FASTLM_COMPOSITION_SLOTS {PAIR_SLOTS}
#define FASTLM_COMPOSITION_FIRST {PAIR_MULTIPLIERS[0]:#x}u
#define FASTLM_COMPOSITION_SECOND {PAIR_MULTIPLIERS[1]:#x}u

static const uint8_t fastlm_normalization_page_of[{len(page_of)}] = {{
{rows(page_of, 30)}
}};

static const uint16_t fastlm_normalization_pages[{len(pages) * size}] = {{
{rows(number for page in pages for number in page)}
}};

static const fastlm_normalization_record fastlm_normalization_records[{len(records)}] = {{
{rows(("{" + ", ".join(map(str, record)) + "}" for record in records), 4)}
}};

static const uint32_t fastlm_normalized_code_points[{len(pool.code_points)}] = {{
{rows(map(hex, pool.code_points), 14)}
}};

/* Canonical composition without Hangul: first, second, composed; linear probing, a free slot is all 0. */
static const uint32_t fastlm_compositions[FASTLM_COMPOSITION_SLOTS][3] = {{
{rows(("{" + ", ".join(map(hex, entry)) + "}" for entry in hashed(pairs)), 4)}
}};

#endif
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    content = header()
    if not parser.parse_args().check:
        HEADER.write_text(content)
        return 0
    if HEADER.read_text() != content:
        print(f"{HEADER} differs from tokenizers; run without --check to write it again", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
