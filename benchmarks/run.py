"""Measures everything and writes RESULTS.md: `python -m benchmarks.run`."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.report import RESULTS, render

ROOT = Path(__file__).resolve().parents[1]
THREADS = (1, 2)


def measure(threads: int, quick: bool, directory: Path) -> dict[str, Any]:
    """pytest-benchmark's JSON of the benchmarks of so many threads, in a process of their own.

    Raises CalledProcessError where ids differ or anything else fails.
    """
    result = directory / f"{threads}.json"
    command = [sys.executable, "-m", "pytest", "benchmarks", "--override-ini=addopts=", "-p", "no:cacheprovider"]
    # the texts to train on are large, so they go with the directory
    command += [f"--basetemp={directory / 'texts'}", "--benchmark-columns=median,rounds", f"--benchmark-json={result}"]
    command += [f"--threads={threads}", *(["--quick"] if quick else [])]
    subprocess.run(command, cwd=ROOT, check=True)
    content: dict[str, Any] = json.loads(result.read_text("utf-8"))
    return content


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="small texts; prints the report and leaves RESULTS.md alone"
    )
    parser.add_argument("--json", type=Path, help="keep the figures here, for benchmarks.report")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        content, *more = (measure(threads, arguments.quick, Path(directory)) for threads in THREADS)
    content["benchmarks"] += [benchmark for other in more for benchmark in other["benchmarks"]]
    if arguments.json:
        arguments.json.write_text(json.dumps(content), "utf-8")
    if arguments.quick:
        print(render(content))
    else:
        RESULTS.write_text(render(content), "utf-8")


if __name__ == "__main__":
    main()
