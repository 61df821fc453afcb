"""Prints the characters that combine or compose by the regex module's Unicode but not in tokenizers' NFC.

    python tools/check_normalization.py

fastlm/normalization.py lists them; run this again when the pinned version of tokenizers changes.
"""

from __future__ import annotations

import unicodedata

import regex
from tokenizers import normalizers

nfc = normalizers.NFC().normalize_str
COMBINES = regex.compile(r"\P{ccc=0}")
MAY_COMPOSE = regex.compile(r"\p{NFC_QC=M}")
HANGUL_PARTS = [*range(0x1161, 0x1176), *range(0x11A8, 0x11C3)]


def moves(char: str) -> bool:
    """Whether tokenizers reorders it: before an overlay, of the lowest class, or as one after a mark below."""
    return any(nfc(text) != text for text in (f"\u0905{char}\u0334", f"\u0905\u0323{char}"))


def composing_seconds() -> set[str]:
    """Characters that tokenizers composes with the one before them."""
    seconds = {chr(cp) for cp in HANGUL_PARTS}
    for char in map(chr, range(0x110000)):
        parts = [chr(int(cp, 16)) for cp in unicodedata.decomposition(char).split() if "<" not in cp]
        if len(parts) == 2 and nfc("".join(parts)) == char:
            seconds.add(parts[1])
    return seconds


def main() -> None:
    seconds = composing_seconds()
    ranges: list[list[int]] = []
    for cp in (*range(0xD800), *range(0xE000, 0x110000)):
        char = chr(cp)
        if (COMBINES.match(char) and not moves(char)) or (MAY_COMPOSE.match(char) and char not in seconds):
            if ranges and ranges[-1][1] == cp - 1:
                ranges[-1][1] = cp
            else:
                ranges.append([cp, cp])
    for first, last in ranges:
        print(f"U+{first:04X}" + (f"-U+{last:04X}" if last > first else ""))


if __name__ == "__main__":
    main()
