"""Lets the k-th allocation or file call of an operation fail, for k = 1, 2, ...: SQLite's way.

    python -m tests.reliability.failing memory --only encode

Each k is a forked process: the call fails or succeeds, and the same call after it must give the right result. A file
writer must also leave the files that were there before, or whole new ones, and nothing temporary. The memory of the
forked process is the one after the operation ran once, so imports are not part of it. Linux with gcc only.
"""

from __future__ import annotations

import argparse
import ctypes
import errno
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.reliability import operations
from tests.reliability.children import outcome_of
from tests.reliability.operations import Operation
from tests.reliability.survival import Rehearsed, fault_under, rehearsed

SOURCE = Path(__file__).with_name("failing.c")
MEMORY, FILES = 1, 2
# a fault that stays, as a full disk does, and one that passes
LENGTHS = (1, 1 << 30)


def library(folder: Path) -> Path:
    """Compiles failing.c. Raises CalledProcessError or FileNotFoundError where that is not possible."""
    path = folder / "failing.so"
    command = ["gcc", "-O1", "-w", "-shared", "-fPIC", "-o", str(path), str(SOURCE), "-ldl"]
    subprocess.run(command, check=True, capture_output=True)
    return path


def tried(kind: str, only: str, budget: float, most: int = 500) -> Iterator[tuple[str, int, str]]:
    """Runs this module in a process with the library, and yields (operation, k, fault) as it prints them."""
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"LD_PRELOAD": str(library(Path(folder)))}
        command = [sys.executable, "-m", __spec__.name, kind, "--json", "--only", only, "--most", str(most)]
        command += ["--budget", str(budget)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
            assert process.stdout is not None
            for line in process.stdout:
                name, k, fault = json.loads(line)
                yield name, k, fault
        if process.returncode:
            raise RuntimeError(f"{' '.join(command)}: exit status {process.returncode}")


def _fault(kind: int, rehearsal: Rehearsed, k: int, length: int) -> str:
    """What is wrong when the k-th call fails: nothing, or "none" if there are fewer calls."""
    native, calls = ctypes.CDLL(None), 0

    def begin() -> None:
        native.failing_arm(kind, k, length, errno.ENOSPC if k % 2 else errno.EIO)

    def end() -> None:
        nonlocal calls
        calls = native.failing_disarm()

    fault = fault_under(rehearsal, begin, end, kind == FILES)
    return fault or ("" if calls >= k else "none")


def _run(kind: int, operation: Operation, arguments: argparse.Namespace) -> Iterator[tuple[int, str]]:
    end = time.monotonic() + arguments.budget
    with tempfile.TemporaryDirectory() as place, rehearsed(operation, Path(place)) as rehearsal:
        for length in LENGTHS[: 1 if kind == MEMORY else 2]:
            for k in range(1, arguments.most + 1):
                if time.monotonic() > end:
                    return
                rehearsal.restore()
                fault = outcome_of(
                    lambda k=k, length=length: _fault(kind, rehearsal, k, length),
                    arguments.seconds,
                )
                if fault == "none":
                    break
                yield k, fault


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=["memory", "files"])
    parser.add_argument("--only", default="", help="a part of the name of the operations")
    parser.add_argument("--most", type=int, default=500, help="the largest k")
    parser.add_argument("--budget", type=float, default=600.0, help="seconds for each operation")
    parser.add_argument("--seconds", type=float, default=60.0, help="after which a call counts as a hang")
    parser.add_argument("--json", action="store_true", help="print each k; the library must be loaded already")
    arguments = parser.parse_args()
    if not arguments.json:
        faults = 0
        for name, k, fault in tried(arguments.kind, arguments.only, arguments.budget, arguments.most):
            faults += bool(fault)
            print(f"{name}: {k} {fault or 'survived'}", flush=True)
        return 1 if faults else 0
    kind, table = (MEMORY, operations.MEMORY) if arguments.kind == "memory" else (FILES, operations.FILES)
    for name, operation in table.items():
        if arguments.only in name:
            for k, fault in _run(kind, operation, arguments):
                print(json.dumps([name, k, fault]), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
