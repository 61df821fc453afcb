"""SIGINT and SIGTERM during long work: they raise an exception at a moment at which a checkpoint can be written."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any, TypeAlias


class Terminated(SystemExit):
    """Raised in the main thread by SIGTERM.

    A process that does not catch it ends without a traceback, with exit code 143, as a shell reports SIGTERM.
    """

    def __init__(self, *args: object) -> None:
        super().__init__(*args)
        self.code = 128 + signal.SIGTERM


INTERRUPTS = (KeyboardInterrupt, Terminated)
"""The exceptions that end work at the request of the user or of a scheduler."""

Interrupt: TypeAlias = KeyboardInterrupt | Terminated

_DEFAULTS = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
_depth = 0  # of `deferred` blocks in the main thread
_pending = 0  # the signal that came within them


@contextlib.contextmanager
def raised() -> Iterator[None]:
    """Within the block, SIGINT raises KeyboardInterrupt and SIGTERM raises Terminated in the main thread.

    A handler that the program has set itself is kept. In other threads the block changes nothing.
    """
    before: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        before = {number: signal.getsignal(number) for number in _DEFAULTS}
        before = {number: handler for number, handler in before.items() if handler == _DEFAULTS[signal.Signals(number)]}
    for number in before:
        signal.signal(number, _handle)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def deferred() -> Iterator[None]:
    """Delays the exceptions of `raised` to the end of the block. A second signal raises at once."""
    global _depth
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _depth += 1
    try:
        yield
    finally:
        _depth -= 1
        if not _depth:
            check()


def requested() -> bool:
    """Whether a `deferred` block has delayed an exception. Long work in such a block should then end."""
    return bool(_pending)


def check() -> None:
    """Raises the exception that a `deferred` block has delayed, if there is one."""
    global _pending
    if _pending:
        number, _pending = _pending, 0
        raise _exception(number)


def _handle(number: int, frame: Any) -> None:
    global _pending
    if _depth and not _pending:
        _pending = number
        return
    _pending = 0
    raise _exception(number)


def _exception(number: int) -> Interrupt:
    return Terminated() if number == signal.SIGTERM else KeyboardInterrupt()
