"""Progress bars on a terminal: the progress, the rate, and the remaining time."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tqdm import tqdm


@contextmanager
def bars() -> Iterator[Callable[[str, int, int | None], None]]:
    """A progress callback that draws one bar for each phase on a terminal, and nothing elsewhere."""
    drawn: dict[str, tqdm[None]] = {}

    def report(phase: str, done: int, total: int | None) -> None:
        if phase not in drawn:
            for bar in drawn.values():
                bar.close()
            unit = "token" if phase == "merge" else "B"
            drawn[phase] = tqdm(desc=phase, total=total, unit=unit, unit_scale=True, disable=None, file=sys.stderr)
        drawn[phase].update(done - drawn[phase].n)

    try:
        yield report
    finally:
        for bar in drawn.values():
            bar.close()
