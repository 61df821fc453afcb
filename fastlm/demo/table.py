"""The table that a demo prints and keeps."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from fastlm.text.escapes import escaped

MB = 1e6


@dataclass
class DemoTable:
    """The table of a demo, and the wall times of its phases.

    Attributes:
        rows: Names and values of the table.
        seconds: Wall time of each `timed` block.
    """

    rows: list[tuple[str, str]] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)

    def add(self, name: str, value: str) -> None:
        """Adds a row."""
        self.rows.append((name, escaped(value)))

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Measures a phase."""
        start = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - start

    def add_rate(self, name: str, phase: str, size: int) -> None:
        """Adds a row with the time of a phase and its rate on `size` bytes."""
        seconds = self.seconds[phase]
        self.add(name, f"{seconds:.3f} s, {size / MB / seconds:,.1f} MB/s")

    def text(self) -> str:
        """The table as aligned lines."""
        width = max(len(name) for name, _ in self.rows)
        return "\n".join(f"{name:<{width}}  {value}" for name, value in self.rows)


def next_lines(commands: list[str]) -> str:
    """The last lines of a demo, which are commands to run next."""
    return "\n".join(["", "next:", *(f"  {escaped(command)}" for command in commands)])
