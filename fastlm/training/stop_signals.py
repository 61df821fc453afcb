"""SIGINT and SIGTERM, which end a run after its step."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any, NoReturn

from fastlm.interrupts import Terminated


class StopSignals:
    """The first SIGINT or SIGTERM of a run, which ends it after its step.

    Attributes:
        received: The number of the signal; 0 if there was none.
    """

    def __init__(self) -> None:
        self.received = 0

    @contextlib.contextmanager
    def caught(self) -> Iterator[None]:
        """Records the first signal within a block. A second one has its usual effect.

        Only the main thread of a process can do this; in another thread signals keep their effect.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before: dict[int, Any] = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

        def stop(number: int, frame: Any) -> None:
            self.received = number
            signal.signal(number, before[number])

        for number in before:
            signal.signal(number, stop)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def end(self, message: str) -> NoReturn:
        """Ends the run: with Terminated, whose exit code is 143, after SIGTERM; with KeyboardInterrupt after SIGINT.

        Args:
            message: How to resume.
        """
        raise (Terminated if self.received == signal.SIGTERM else KeyboardInterrupt)(message)
