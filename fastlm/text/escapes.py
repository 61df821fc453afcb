"""Escapes of characters on which terminals act."""

from __future__ import annotations

import unicodedata


def escaped(text: str, keep: str = "") -> str:
    """The text with control characters, bidirectional controls and lone surrogates as escapes of Python.

    A terminal acts on such characters, and they may come from the name of a file or from a token.

    Args:
        text: Any text.
        keep: Control characters that stay.

    Example:
        >>> escaped("a\\x1b[31mb")
        'a\\\\x1b[31mb'
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        _escape(character) if _acts_on_terminals(character) and character not in keep else character
        for character in text
    )


def _acts_on_terminals(character: str) -> bool:
    # Cc: controls; Cs: surrogates; Zl, Zp: separators of lines; the others are marks and overrides of direction
    return (
        unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")
        or character in "\u061c\u200e\u200f"
        or ("\u202a" <= character <= "\u202e" or "\u2066" <= character <= "\u2069")
    )


def _escape(character: str) -> str:
    if "\udc80" <= character <= "\udcff":  # a byte of a file name that is not UTF-8
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")
