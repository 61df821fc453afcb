"""Fails if a ratio of the newest run is lower than its noise explains: `python -m benchmarks.gate`.

The newest run of each kind and machine in benchmarks/history/ is compared with the runs before it. A ratio may fall
below the median of the last runs by FACTOR times the largest of: the noise that the run measured between its rounds,
the noise that the earlier runs measured, the spread of the ratio among these runs, and LEAST_NOISE. Ratios to another
version of a peer are not compared, nor ratios to a peer that emulates a dtype.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.history import FOLDER, Run, by_machine, read
from benchmarks.ratios import Ratio
from benchmarks.tables import number

RUNS = 5
"""The number of earlier runs that a ratio is compared with."""
FACTOR = 3.0
"""Noise is half an interquartile range, about 0.7 standard deviations; between the medians of two runs of seven rounds
it is about one standard deviation of the difference."""
LEAST_NOISE = 0.02
"""What two builds of the same source differ by, measured by no single run: the places of code and memory."""


@dataclass(frozen=True)
class Change:
    """A ratio and its earlier value."""

    ratio: Ratio
    earlier: float
    noise: float

    @property
    def fall(self) -> float:
        """By which part of the earlier value the ratio is lower; negative if it is higher."""
        return 1 - self.ratio.ratio / self.earlier

    @property
    def failed(self) -> bool:
        return self.fall > FACTOR * self.noise

    def __str__(self) -> str:
        by = f"{self.ratio.case}, x {self.ratio.peer} by {self.ratio.by}"
        values = f"{number(self.earlier)} -> {number(self.ratio.ratio)}, {-100 * self.fall:+.1f} %"
        return f"{by}: {values} (allowed: -{100 * FACTOR * self.noise:.1f} %)"


def changes(run: Run, earlier: Sequence[Run]) -> list[Change]:
    """The ratios of a run that earlier runs of the same machine have too, with the same version of the peer."""
    before: dict[tuple[str, ...], list[Ratio]] = {}
    for other in earlier:
        for ratio in other.ratios:
            if not ratio.emulated:
                before.setdefault((*ratio.key, ratio.version), []).append(ratio)
    found = []
    for ratio in run.ratios:
        known = before.get((*ratio.key, ratio.version), [])[-RUNS:]
        if not known or ratio.emulated:
            continue
        values = [other.ratio for other in known]
        middle = statistics.median(values)
        noises = [LEAST_NOISE, ratio.noise or 0.0, statistics.median(other.noise or 0.0 for other in known)]
        if len(values) >= 3:
            low, _, high = statistics.quantiles(values, n=4, method="inclusive")
            noises.append((high - low) / 2 / middle)
        found.append(Change(ratio, middle, max(noises)))
    return found


def main(args: list[str] | None = None) -> int:
    """Prints the ratios that fell; returns 1 if there are any."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=FOLDER, help="the store, benchmarks/history by default")
    parser.add_argument("--all", action="store_true", help="print every ratio that was compared")
    options = parser.parse_args(args)
    failed = 0
    for (kind, machine), runs in by_machine(read(options.folder)).items():
        *earlier, newest = runs
        found = changes(newest, earlier)
        fallen = [change for change in found if change.failed]
        failed += len(fallen)
        print(f"{kind}, {machine}: {newest.date[:16]}, commit {newest.commit[:12]}, after {len(earlier)} earlier runs")
        for change in sorted(found if options.all else fallen, key=lambda change: -change.fall):
            print(f"  {'FELL ' if change.failed else ''}{change}")
        print(f"  {len(fallen)} of {len(found)} compared ratios fell; {len(newest.ratios) - len(found)} not compared")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
