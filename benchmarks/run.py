"""Measures everything and writes RESULTS.md: `python -m benchmarks.run`."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.report import RESULTS, render

ROOT = Path(__file__).resolve().parents[1]


def main() -> int:
    """Returns the exit status: 0, or pytest's where ids differ or something fails; nothing is written then."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="small texts; prints the report and leaves RESULTS.md alone"
    )
    parser.add_argument("--json", type=Path, help="keep pytest-benchmark's JSON here")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        result = (arguments.json or Path(directory) / "result.json").resolve()
        command = [sys.executable, "-m", "pytest", "benchmarks", "--override-ini=addopts=", "-p", "no:cacheprovider"]
        # the texts to train on are large, so none is kept
        command += [f"--basetemp={directory}/texts", "--benchmark-columns=median,rounds", f"--benchmark-json={result}"]
        status = subprocess.run(command + ["--quick"] * arguments.quick, cwd=ROOT).returncode
        if status:
            return status
        report = render(json.loads(result.read_text("utf-8")))
    if arguments.quick:
        print(report)
    else:
        RESULTS.write_text(report, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
