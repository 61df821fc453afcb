"""Texts to test with: real prose that comes with CPython, and random strings of the kinds that break scanners."""

import random
import unicodedata
from functools import cache
from pydoc_data.topics import topics

from hypothesis import strategies as st

DOCUMENTS = [
    *(topics[name] for name in sorted(topics)[:30]),
    "Ünïcode: naïve café, Привет мир, 你好,世界。　日本語のテキスト, שלום, مرحبا, हिन्दी में, 한국어 👩‍👩‍👧 1½ ٣",
    "x = {'a': 1,\t\"b\": [2, 3]}\r\n\r\n    return x  # it's they'll we've I'd\n\n\n",
]

# texts that the patterns treat specially: contractions, whitespace, digits, marks, letters that fold to ASCII
PIECES = [
    *"'sdmtlrevLLVE019 \n\r\t.,!?-_/\\\"#$<|>",
    *["'s", "'ll", "'ve", "'re", "'S", "  ", "   ", "\r\n", "\n\n", " \n", "''", "' ", " '", "don't", "<|endoftext|>"],
    *["é", "ß", "ſ", "K", "İ", "中", "文", "ー", "한", "ก", "ا", "ב", "\u0301", "\u200d", "\u0e31", "ᾳ", "ǅ", "ª", "ʰ"],
    *["\u00a0", "\u1680", "\u2003", "\u2028", "\u202f", "\u205f", "\u3000", "\x85", "\x0b", "\x0c", "\x1c", "\u200b"],
    *["½", "²", "٣", "Ⅷ", "①", "𝟘", "〇", "😀", "👩‍👩‍👧", "🇩🇪", "𐍈", "\ufeff", "\ufffd", "\x00", "\x7f", "\U0010ffff"],
    # for splits by case, script and punctuation: case changes, marks where no letter is, Han that is no letter, CJK
    # that is no letter, slashes among newlines, letters that end what ASCII began
    *[
        "A",
        "ABC",
        "aB",
        "中A",
        "中Ab",
        "'Ll",
        "'ſ",
        "É",
        "'é",
        "!\u0301",
        "!!",
        "😀\ufe0f",
        "⺀",
        "\U00016ff0",
        "々",
        "〩",
    ],
    *["・", "゛", "ア", "\u3040", "\u3097", "\n/", "!\n", "/\n", "12", "１"],
]


@cache
def settled_characters() -> list[str]:
    """Characters assigned in this Python's Unicode: on them the `regex` module agrees with the pinned table."""
    everything = map(chr, (*range(0xD800), *range(0xE000, 0x110000)))
    return [char for char in everything if unicodedata.category(char) != "Cn"]


def strings(max_size: int = 40) -> st.SearchStrategy[str]:
    """Strings of texts that the patterns treat specially, mixed with characters of all planes."""
    piece = st.one_of(st.sampled_from(PIECES), st.sampled_from(settled_characters()))
    return st.lists(piece, max_size=max_size).map("".join)


def random_string(rng: random.Random, any_scalar: bool = True) -> str:
    """One hostile string; with any_scalar also with characters that no Unicode version has assigned."""
    length = rng.choice([3, 10, 30, 100])
    kind = rng.randrange(4)
    if kind == 0:
        return "".join(rng.choices(PIECES, k=length))
    if kind == 1:
        return "".join(rng.choices(PIECES[:12], k=length))
    if kind == 2:
        return "".join(rng.choices(PIECES, k=3)) * (length // 2)
    characters = settled_characters()
    mixed = [rng.choice(characters) if rng.random() < 0.5 else rng.choice(PIECES) for _ in range(length)]
    if any_scalar:
        mixed += [chr(rng.choice([rng.randrange(0xD800), rng.randrange(0xE000, 0x110000)])) for _ in range(3)]
    rng.shuffle(mixed)
    return "".join(mixed)
