"""What becomes of what cannot be read: an error that says where it is, or a count."""

from __future__ import annotations

from collections import Counter
from typing import Literal, TypeAlias

OnError: TypeAlias = Literal["raise", "skip"]


class Faults:
    """Raises ValueError for what cannot be read or, with "skip", counts it by reason."""

    def __init__(self, on_error: OnError) -> None:
        if on_error not in ("raise", "skip"):
            raise ValueError(f"on_error must be 'raise' or 'skip', not {on_error!r}")
        self.skips = on_error == "skip"
        self.counts: Counter[str] = Counter()

    def meet(self, reason: str, place: str, what: str, number: int = 1) -> None:
        """One of them, or a number of one kind."""
        if not self.skips:
            raise ValueError(f"{place}: {what}")
        self.counts[reason] += number
