"""What the commands print: one line at a time, without control characters from names, files or tokens."""

from __future__ import annotations

import contextlib
import io
import logging
import sys
import warnings
from collections.abc import Iterator
from typing import Any, TextIO

from fastlm.text.escapes import escaped


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
    """Prints warnings and log messages of fastlm as notes, without the line of code that raised them."""
    handler = _Notes(logging.WARNING)
    logger = logging.getLogger("fastlm")
    with warnings.catch_warnings():

        def show(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
            note(f"warning: {message}")

        warnings.showwarning = show
        logger.addHandler(handler)
        try:
            yield
        finally:
            logger.removeHandler(handler)


class _Notes(logging.Handler):
    """Prints log messages as notes."""

    def emit(self, record: logging.LogRecord) -> None:
        note(record.getMessage())


@contextlib.contextmanager
def escaped_errors() -> Iterator[None]:
    """Escapes the output on standard error within a block, except for ends of lines."""
    printed = io.StringIO()
    try:
        with contextlib.redirect_stderr(printed):
            yield
    finally:
        for line in printed.getvalue().splitlines():
            _write(sys.stderr, escaped(line))


def plural(number: int, noun: str) -> str:
    """A number and its noun, such as "1 document" and "2 documents"."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
