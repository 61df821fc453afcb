"""What the commands print: one line at a time, without control characters from names, files or tokens."""

from __future__ import annotations

import contextlib
import datetime
import json
import logging
import sys
import warnings
from collections.abc import Iterator, Mapping
from typing import Any, TextIO

from fastlm import progress
from fastlm.text.escapes import escaped

_notes_are_json = False  # set by `logs_as_notes`


def say(text: str) -> None:
    """Prints one line of a result."""
    _write(sys.stdout, escaped(text))


def note(text: str, level: str = "info", values: Mapping[str, Any] | None = None) -> None:
    """Prints one line on standard error that starts with the name of the program, or a JSON object.

    Args:
        text: The text.
        level: A level of logging, for the JSON object.
        values: More values for the JSON object.
    """
    if _notes_are_json:
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
        line = json.dumps({"time": now, "level": level, "message": text, **(values or {})})
    else:
        line = f"fastlm: {escaped(text)}"
    _write(sys.stderr, line)


def _write(file: TextIO, line: str) -> None:
    encoding = file.encoding or "utf-8"
    print(line.encode(encoding, "backslashreplace").decode(encoding), file=file)


@contextlib.contextmanager
def logs_as_notes(as_json: bool = False) -> Iterator[None]:
    """Prints warnings, log messages and lines about the progress as notes, without the line of code behind them.

    Args:
        as_json: Print each note as a JSON object.
    """
    global _notes_are_json
    handler, logger = _Notes(), logging.getLogger("fastlm")
    before = _notes_are_json, progress.logger.level
    with warnings.catch_warnings():

        def show(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
            note(f"warning: {message}", "warning")

        warnings.showwarning = show
        logger.addHandler(handler)
        progress.logger.setLevel(logging.INFO)
        _notes_are_json = as_json
        try:
            yield
        finally:
            _notes_are_json, level = before
            progress.logger.setLevel(level)
            logger.removeHandler(handler)


class _Notes(logging.Handler):
    """Prints log messages as notes, with the numbers of a line about the progress."""

    def emit(self, record: logging.LogRecord) -> None:
        note(record.getMessage(), record.levelname.lower(), getattr(record, "progress", None))
