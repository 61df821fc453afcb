"""The error policy for input that cannot be read: raise with its location, or skip and count."""

from __future__ import annotations

from collections import Counter
from typing import Literal, TypeAlias

OnError: TypeAlias = Literal["raise", "skip"]


class SkippedRecords:
    """Counts the records that were skipped, by reason, or raises at the first one.

    Args:
        on_error: "raise" or "skip".

    Raises:
        ValueError: for another `on_error`.
    """

    def __init__(self, on_error: OnError) -> None:
        if on_error not in ("raise", "skip"):
            raise ValueError(f"on_error must be 'raise' or 'skip', got {on_error!r}")
        self.skips = on_error == "skip"
        self.counts: Counter[str] = Counter()

    def record(self, reason: str, location: str, message: str, number: int = 1) -> None:
        """Counts `number` records under `reason`. Raises ValueError with location and message unless it skips."""
        if not self.skips:
            raise ValueError(f"{location}: {message}")
        self.counts[reason] += number
