"""Runs programs that showed faults, and counts those whose output is right: `python -m tests.repro [FOLDER]`."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import fastlm
from tests.conftest import DATA
from tests.repro.runner import programs, run
from tests.repro.table import RIGHT


def main() -> int:
    """Runs the command; returns the number of programs that are wrong, at most 125."""
    parser = argparse.ArgumentParser(prog="python -m tests.repro", description=__doc__)
    parser.add_argument(
        "folder", nargs="?", type=Path, default=DATA.parent / "repro", help="by default next to the data"
    )
    parser.add_argument("--only", default="", metavar="PREFIX", help="programs whose name begins so, such as model/a0")
    parser.add_argument("--fastlm", type=Path, default=Path(fastlm.__file__).parents[1], help="another built checkout")
    arguments = parser.parse_args()
    found = {
        name: path for name, path in programs(arguments.folder.resolve()).items() if name.startswith(arguments.only)
    }
    if not found:
        parser.error(f"{arguments.folder}: no programs")
    wrong = 0
    for name, path in found.items():
        start = time.perf_counter()
        right = RIGHT.get(name)
        if right is None:
            complaints = ["the table has no right outcome for it"]
        else:
            complaints = right.complaints(run(path, arguments.fastlm.resolve(), right.arguments))
        wrong += bool(complaints)
        print(f"{'WRONG' if complaints else 'right'}  {name:16} {time.perf_counter() - start:5.1f} s", flush=True)
        for complaint in complaints:
            print(f"         {complaint[:300]}", flush=True)
    print(f"{len(found) - wrong} of {len(found)} right")
    return min(wrong, 125)


if __name__ == "__main__":
    sys.exit(main())
