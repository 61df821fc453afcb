"""A row of the reliability table, and what a measurement of it counts."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple


@dataclass
class Trial:
    """Counts what was tried and survived, until the time of the row is over.

    Args:
        seconds: The wall time that the row should take. A row does at least one round.
    """

    seconds: float
    tried: int = 0
    survived: int = 0
    worst: str = ""
    findings: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._start = time.monotonic()
        self._figure = float("-inf")

    def goes_on(self) -> bool:
        """Whether time is left. The first call of a trial is true."""
        return not self.tried or time.monotonic() - self._start < self.seconds

    def count(self, survived: bool, finding: str = "", times: int = 1) -> None:
        """Counts cases, and keeps the first findings about those that failed."""
        self.tried += times
        self.survived += times if survived else 0
        if not survived and len(self.findings) < 20:
            self.findings.append(finding)

    def figure(self, value: float, text: str) -> None:
        """Keeps the text of the largest value."""
        if value > self._figure:
            self._figure, self.worst = value, text


class Row(NamedTuple):
    """A row: its number in the table, what is tried, the bar, and the function that measures it.

    Attributes:
        share: The part of the time that the row gets, relative to other rows.
    """

    number: int
    name: str
    bar: str
    measure: Callable[[Trial], None]
    share: float = 1.0
