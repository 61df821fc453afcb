"""What the commands print: one line at a time, without control characters from names, files or tokens."""

from __future__ import annotations

import contextlib
import sys
import unicodedata
import warnings
from collections.abc import Iterator
from typing import Any, TextIO


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


def say(text: str) -> None:
    """Prints one line of a result."""
    _write(sys.stdout, escaped(text))


def note(text: str) -> None:
    """Prints one line on standard error that starts with the name of the program."""
    _write(sys.stderr, f"fastlm: {escaped(text)}")


def _write(file: TextIO, line: str) -> None:
    encoding = file.encoding or "utf-8"
    print(line.encode(encoding, "backslashreplace").decode(encoding), file=file)


@contextlib.contextmanager
def warnings_as_notes() -> Iterator[None]:
    """Prints a warning as one line, without the line of code that raised it."""
    with warnings.catch_warnings():

        def show(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
            note(f"warning: {message}")

        warnings.showwarning = show
        yield


def plural(number: int, noun: str) -> str:
    """A number and its noun, such as "1 document" and "2 documents"."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
