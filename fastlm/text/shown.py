"""Bytes of tokens as people read them."""

from __future__ import annotations

import unicodedata

SIGNS = {" ": "·", "\n": "⏎", "\t": "⇥", "\r": "␍"}
"""The signs for whitespace that texts often have."""


def shown(token: bytes) -> str:
    r"""The bytes of a token as text that a terminal, a notebook or Markdown can print.

    Whitespace has signs. Other invisible characters and controls are written as `\u{...}`, and bytes that are not UTF-8
    as `\x..`. A combining mark at the start gets a dotted circle.

    Example:
        >>> shown(b" a\n\x1b\xf0\x9f")
        '·a⏎\\u{1b}\\xf0\\x9f'
    """
    text = token.decode("utf-8", "backslashreplace")
    if text.isascii() and text.isprintable():
        return text.replace(" ", "·")
    visible = "".join(map(_shown_character, text))
    return f"◌{visible}" if unicodedata.category(text[0])[0] == "M" else visible


def _shown_character(character: str) -> str:
    if unicodedata.category(character)[0] not in "CZ":
        return character
    return SIGNS.get(character) or f"\\u{{{ord(character):x}}}"
