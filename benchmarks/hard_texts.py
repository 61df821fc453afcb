"""Hard texts: single pretokens of any length, and texts for which some tokenizers take more than linear time."""

from __future__ import annotations

import base64
import random
from collections.abc import Callable

SEED = 336
LOWER = "abcdefghijklmnopqrstuvwxyz"


def _drawn(characters: str) -> Callable[[int], str]:
    return lambda size: "".join(random.Random(SEED).choices(characters, k=size // len(characters[0].encode())))


def _repeated(text: str, end: str = "") -> Callable[[int], str]:
    return lambda size: text * (size // len(text.encode())) + end


Text = Callable[[int], str]
"""Makes a text of about this number of UTF-8 bytes, the same each time."""

LONG_PRETOKENS: dict[str, Text] = {
    "repeats": _repeated("a"),
    "base64": lambda size: base64.b64encode(random.Random(SEED).randbytes(size * 3 // 4)).decode(),
    "random letters": _drawn(LOWER),
}

ADVERSARIAL: dict[str, Text] = {
    **LONG_PRETOKENS,
    "two letters": _drawn("ab"),
    "mixed case": _drawn(LOWER + LOWER.upper()),
    "spaces": _repeated(" "),
    "spaces, then a letter": _repeated(" ", "x"),
    "line ends": _repeated("\n"),
    "punctuation": _repeated("^"),
    "digits": _drawn("0123456789"),
    "random CJK": _drawn("".join(map(chr, range(0x4E00, 0x9FA6)))),
    "combining marks": _repeated("e\u0301"),
    "emoji sequences": _repeated("\U0001f469\u200d\U0001f4bb"),
    "contractions": _repeated("'s'll"),
}
