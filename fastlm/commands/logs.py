"""Options of all commands for their logs."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from fastlm import interrupts, progress
from fastlm.commands.output import logs_as_notes

_JSON, _SECONDS = "--log-json", "--log-seconds"


@dataclass(frozen=True)
class LogOptions:
    """How the logs of a command are written.

    Attributes:
        as_json: Write each line of the standard error as a JSON object.
        seconds: Seconds between two lines about the progress, where there is no terminal.
    """

    as_json: bool = False
    seconds: float = progress.line_seconds.get()


def split_log_options(arguments: Sequence[str]) -> tuple[list[str], LogOptions]:
    """Takes the options for logs, which every command has at any place, out of its arguments.

    Raises:
        ValueError: The seconds are missing or not a positive number.
    """
    rest, as_json, seconds = [], False, LogOptions.seconds
    left = iter(arguments)
    for argument in left:
        name, equals, value = argument.partition("=")
        if argument == "--":
            rest += [argument, *left]
        elif argument == _JSON:
            as_json = True
        elif name == _SECONDS:
            seconds = _seconds(value if equals else next(left, ""))
        else:
            rest.append(argument)
    return rest, LogOptions(as_json, seconds)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise ValueError(f"{_SECONDS} must be a number above 0, got {text!r}")
    return seconds


@contextlib.contextmanager
def logged(options: LogOptions) -> Iterator[None]:
    """Within the block, logs and progress are written as the options say, and SIGINT and SIGTERM raise exceptions."""
    token = progress.line_seconds.set(options.seconds)
    try:
        with logs_as_notes(options.as_json), interrupts.raised():
            yield
    finally:
        progress.line_seconds.reset(token)


@contextlib.contextmanager
def resumes_with(hint: str) -> Iterator[None]:
    """Adds a hint how to resume to an interrupt within the block that has no message."""
    try:
        yield
    except interrupts.INTERRUPTS as error:
        if error.args:
            raise
        raise type(error)(hint) from None
