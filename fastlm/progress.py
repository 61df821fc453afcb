"""Shows the progress of long work: bars on a terminal and in a notebook, log lines everywhere else.

Without a terminal, a line with the rate, the part that is done, the remaining time and the memory of the process goes
to the logger `fastlm.progress` every 30 seconds, at the level INFO. Its record has the same values as numbers in the
attribute `progress`, for handlers that write JSON.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any, TypeAlias

from fastlm.process_memory import resident_bytes

Report: TypeAlias = Callable[[str, int, int | None], None]
"""Called with the phase, the amount that is done, and the total or None."""

logger = logging.getLogger("fastlm.progress")

line_seconds: ContextVar[float] = ContextVar("line_seconds", default=30.0)
"""Seconds between two log lines."""

# phase -> unit, where it is not bytes
_UNITS = {"merge": "token", "decode": "id", "train": "step"}


@contextlib.contextmanager
def shown() -> Iterator[Display]:
    """Shows the progress that the display is told within the block.

    In a program that has not set up logging, lines go to the standard error.
    """
    make_bar = _bar_class()
    with _heard():
        display = Lines(line_seconds.get()) if make_bar is None else Bars(make_bar)
        try:
            yield display
        finally:
            display.close()


@contextlib.contextmanager
def _heard() -> Iterator[None]:
    """Writes the lines of the logger to the standard error, if it has no handler."""
    if logger.hasHandlers():
        yield
        return
    handler, level = logging.StreamHandler(), logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)


@contextlib.contextmanager
def reporting(progress: Callable[..., None] | bool | None, phase: str | None = None) -> Iterator[Callable[..., None]]:
    """The function to call with the progress, for the argument `progress` of a function.

    Args:
        progress: A function, which is called as it is; True to show the progress; None or False for neither.
        phase: The phase, for work whose function is called without one.
    """
    if callable(progress):
        yield progress
    elif progress:
        with shown() as display:
            yield display if phase is None else lambda done, total: display(phase, done, total)
    else:
        yield lambda *_: None


def check_progress(progress: object) -> None:
    """Raises TypeError for an argument that `reporting` does not take."""
    if progress is not None and not isinstance(progress, bool) and not callable(progress):
        raise TypeError(f"progress must be callable, got {type(progress).__name__}")


class Display:
    """Shows the progress of one phase after the other. Call it as a Report."""

    def __call__(self, phase: str, done: int, total: int | None) -> None:
        """Takes the progress of a phase."""
        raise NotImplementedError

    def describe(self, text: str) -> None:
        """Sets a text to show with the progress, such as a loss."""
        raise NotImplementedError

    def say(self, text: str) -> None:
        """Shows a line of text at once, and keeps the display."""
        logger.info("%s", text)

    def close(self) -> None:
        """Ends the display."""
        raise NotImplementedError


class Bars(Display):
    """One bar for each phase.

    Args:
        make: The class of a bar, as in tqdm.
    """

    def __init__(self, make: Callable[..., Any]) -> None:
        self._make, self._phase = make, ""
        self._bar: Any = None

    def __call__(self, phase: str, done: int, total: int | None) -> None:
        if self._bar is None or phase != self._phase:
            self.close()
            unit = _UNITS.get(phase, "B")
            # a phase that resumes begins with what was done before
            self._bar = self._make(
                desc=phase, initial=done, total=total, unit=unit, unit_scale=unit != "step", disable=False,
                file=sys.stderr,
            )  # fmt: skip
            self._phase = phase
        self._bar.update(done - self._bar.n)

    def describe(self, text: str) -> None:
        if self._bar is not None:
            self._bar.set_postfix_str(text, refresh=False)

    def say(self, text: str) -> None:
        with contextlib.nullcontext() if self._bar is None else self._bar.external_write_mode(file=sys.stderr):
            super().say(text)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


class Lines(Display):
    """A log line at regular intervals, and one at the end of a phase that had such lines.

    Args:
        seconds: The interval.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._lock = threading.Lock()
        self._phase, self._done, self._text = "", 0, ""
        self._total: int | None = None
        self._first, self._started, self._logged = 0, time.monotonic(), False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._log_regularly, name="fastlm progress", daemon=True)
        self._thread.start()

    def __call__(self, phase: str, done: int, total: int | None) -> None:
        with self._lock:
            if phase != self._phase:
                self._finish()
                self._phase, self._first, self._started, self._text = phase, done, time.monotonic(), ""
            self._done, self._total = done, total

    def describe(self, text: str) -> None:
        with self._lock:
            self._text = text

    def close(self) -> None:
        self._ended.set()
        self._thread.join()
        with self._lock:
            self._finish()

    def _log_regularly(self) -> None:
        while not self._ended.wait(self._seconds):
            with self._lock:
                if self._phase:
                    self._log()
                    self._logged = True

    def _finish(self) -> None:
        if self._logged:
            self._log()
        self._logged = False

    def _log(self) -> None:
        values = progress_values(
            self._phase, self._done, self._total, self._done - self._first, time.monotonic() - self._started
        )
        text = f"{progress_line(values)}{f'; {self._text}' if self._text else ''}"
        logger.info("%s", text, extra={"progress": {**values, **({"text": self._text} if self._text else {})}})


def progress_values(phase: str, done: int, total: int | None, new: int, seconds: float) -> dict[str, Any]:
    """The values of a log line.

    Args:
        phase: The phase.
        done: The amount that is done.
        total: Its total, or None.
        new: What was done in `seconds`.
        seconds: The time of it.
    """
    rate = new / seconds if seconds > 0 else 0.0
    return {
        "phase": phase,
        "unit": _UNITS.get(phase, "B"),
        "done": done,
        "total": total,
        "rate": rate,
        "remaining_seconds": max(0, total - done) / rate if total is not None and rate else None,
        "memory_bytes": resident_bytes(),
    }


def progress_line(values: dict[str, Any]) -> str:
    """The text of a log line.

    Example:
        >>> values = {"phase": "encode", "unit": "B", "done": 1_200_000_000, "total": 10_000_000_000, "rate": 4e7,
        ...           "remaining_seconds": 220.0, "memory_bytes": 512_000_000}
        >>> progress_line(values)
        'encode: 1.20 GB of 10.0 GB (12.0 %), 40.0 MB/s, 03:40 left, 512 MB of memory'
    """
    unit, done, total = values["unit"], values["done"], values["total"]
    parts = [amount(done, unit)]
    if total:
        parts = [f"{parts[0]} of {amount(total, unit)} ({done / total:.1%})".replace("%", " %")]
    parts.append(f"{amount(values['rate'], unit)}/s")
    if values["remaining_seconds"] is not None:
        from tqdm import tqdm

        parts.append(f"{tqdm.format_interval(values['remaining_seconds'])} left")
    parts.append(f"{amount(values['memory_bytes'], 'B')} of memory")
    return f"{values['phase']}: {', '.join(parts)}"


def amount(number: float, unit: str) -> str:
    """A number with its unit: bytes with decimal prefixes, others with separators.

    Example:
        >>> amount(1_500_000, "B"), amount(1, "step"), amount(2_000, "id"), amount(0.25, "step")
        ('1.50 MB', '1 step', '2,000 ids', '0.25 steps')
    """
    if unit == "B":
        from tqdm import tqdm

        found = tqdm.format_sizeof(number)
        return f"{found[:-1]} {found[-1]}B" if found[-1].isalpha() else f"{found} B"
    shown = f"{number:,.0f}" if number >= 10 or number == int(number) else f"{number:.2f}"
    return f"{shown} {unit}{'' if number == 1 else 's'}"


def _bar_class() -> Callable[..., Any] | None:
    """The class of bars for a terminal or a notebook; None where neither shows the standard error."""
    if _in_notebook():
        import warnings

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # without ipywidgets the bar is text
            from tqdm.auto import tqdm as notebook_bar
        return notebook_bar  # type: ignore[no-any-return]
    if sys.stderr is not None and sys.stderr.isatty():
        from tqdm import tqdm

        return tqdm  # type: ignore[no-any-return]
    return None


def _in_notebook() -> bool:
    """Whether an IPython kernel runs this process."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return "IPKernelApp" in getattr(shell, "config", {})
