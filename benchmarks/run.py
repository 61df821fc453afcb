"""Measures everything and writes RESULTS.md and RESULTS.svg: `python -m benchmarks.run`, in less than half an hour.

README.md and docs/index.md show some of the figures; benchmarks.figures brings them up to date. A run on a clean tree
adds its ratios to benchmarks/history/, which benchmarks.history shows over time and benchmarks.gate compares.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import history
from benchmarks.report import render, write

ROOT = Path(__file__).resolve().parents[1]
THREADS = (1, 2)
SUITES = tuple(path.stem.removeprefix("test_") for path in sorted(Path(__file__).parent.glob("test_*.py")))
NOTHING_COLLECTED = 5


def measure(threads: int, suites: list[str], options: list[str], directory: Path) -> dict[str, Any] | None:
    """pytest-benchmark's JSON of the benchmarks with this number of threads, in a new process; None without any.

    Raises CalledProcessError where fastlm's ids are wrong or anything else fails.
    """
    result = directory / f"{threads}.json"
    files = [f"benchmarks/test_{suite}.py" for suite in suites]
    command = [sys.executable, "-m", "pytest", *files, "--override-ini=addopts=", "-p", "no:cacheprovider", "-q"]
    # the texts to train on are large, so they go with the directory
    command += [f"--basetemp={directory / 'texts'}", "--benchmark-columns=median,rounds", f"--benchmark-json={result}"]
    # a suite may have no case for this number of threads, which the settings of the tests would make an error
    command += ["-W", "ignore:Not saving anything"]
    ended = subprocess.run([*command, f"--threads={threads}", *options], cwd=ROOT, check=False)
    if ended.returncode == NOTHING_COLLECTED:
        return None
    ended.check_returncode()
    content: dict[str, Any] = json.loads(result.read_text("utf-8"))
    return content


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small texts and few of them; prints the report")
    parser.add_argument("--long", action="store_true", help="all trainers in all training benchmarks: half an hour")
    parser.add_argument("--only", action="append", choices=SUITES, help="these suites; prints the report")
    parser.add_argument("--json", type=Path, help="keep the figures here, for benchmarks.report")
    arguments = parser.parse_args()
    options = [f"--{name}" for name in ("quick", "long") if getattr(arguments, name)]
    suites = arguments.only or list(SUITES)
    with tempfile.TemporaryDirectory() as directory:
        runs = [measure(threads, suites, options, Path(directory)) for threads in THREADS]
    content, *more = (run for run in runs if run)
    content["benchmarks"] += [benchmark for other in more for benchmark in other["benchmarks"]]
    if arguments.json:
        arguments.json.write_text(json.dumps(content), "utf-8")
    if not arguments.quick:
        history.keep(content)
    if arguments.quick or arguments.only:
        print(render(content))
    else:
        write(content)


if __name__ == "__main__":
    main()
