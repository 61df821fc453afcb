"""Runs operations under smaller and smaller limits of the system, each limit in a forked process.

    python -m tests.reliability.limited memory --steps 64

`memory` limits the address space (RLIMIT_AS), from none left up to what the operation takes. `file_size` limits the
size of a file (RLIMIT_FSIZE). `disk` fills a file system in memory, which it mounts in its own namespace; this needs
the command unshare, and root or user namespaces. survival.py says what must hold. Linux only.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.reliability import operations
from tests.reliability.children import outcome_of
from tests.reliability.operations import Operation
from tests.reliability.survival import Rehearsed, fault_under, rehearsed

KINDS = ("memory", "file_size", "disk")
DISK_BYTES = 16 << 20
PAGE = resource.getpagesize()
FILLER = "filler"
_UNSHARE = ("unshare", "-rm")


def reason_without_disk() -> str:
    """Why no file system can be mounted here; nothing if one can."""
    if shutil.which("unshare") is None:
        return "unshare is not installed"
    mounted = subprocess.run([*_UNSHARE, "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True, check=False)
    return "" if mounted.returncode == 0 else mounted.stderr.decode(errors="replace").strip()


def tried(kind: str, only: str, budget: float, steps: int = 64) -> Iterator[tuple[str, int, str]]:
    """Runs this module in another process, and yields (operation, step, fault) as it prints them."""
    command = [sys.executable, "-m", __spec__.name, kind, "--json", "--only", only, "--steps", str(steps)]
    command = [*(_UNSHARE if kind == "disk" else ()), *command, "--budget", str(budget)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            name, step, fault = json.loads(line)
            yield name, step, fault
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)}: exit status {process.returncode}")


def _status(name: str) -> int:
    """A size of this process in bytes, as /proc names it."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return 1024 * int(line.split()[1])
    raise OSError(f"/proc/self/status: no {name}")


def _limit(kind: int, size: int) -> Callable[[], None]:
    return lambda: resource.setrlimit(kind, (size, resource.RLIM_INFINITY))


def _needed(kind: str, rehearsal: Rehearsed) -> int:
    """The bytes of address space, of the largest file or of all files that the operation takes."""
    if kind == "memory":

        def grown() -> str:
            before = _status("VmSize")
            rehearsal.operation.call(rehearsal.folder, rehearsal.made)
            return str(_status("VmPeak") - before)

        return int(outcome_of(grown))
    sizes = [path.stat().st_size for path in rehearsal.folder.rglob("*") if path.is_file()]
    return max(sizes) if kind == "file_size" else 2 * sum(-(-size // PAGE) * PAGE for size in sizes)


def _fault(kind: str, rehearsal: Rehearsed, size: int) -> str:
    """What is wrong when `size` bytes are left."""
    if kind == "memory":
        begin = _limit(resource.RLIMIT_AS, _status("VmSize") + size)
        end = _limit(resource.RLIMIT_AS, resource.RLIM_INFINITY)
    elif kind == "file_size":
        begin, end = _limit(resource.RLIMIT_FSIZE, size), _limit(resource.RLIMIT_FSIZE, resource.RLIM_INFINITY)
    else:
        filler = rehearsal.folder.parent / FILLER

        def begin() -> None:
            free = os.statvfs(rehearsal.folder)
            with filler.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, max(1, free.f_bavail * free.f_frsize - size))

        end = filler.unlink
    return fault_under(rehearsal, begin, end, kind != "memory")


def _run(kind: str, operation: Operation, place: Path, arguments: argparse.Namespace) -> Iterator[tuple[int, str]]:
    until = time.monotonic() + arguments.budget
    with rehearsed(operation, place) as rehearsal:
        needed = _needed(kind, rehearsal)
        for step in range(arguments.steps):
            if step and time.monotonic() > until:
                break
            (place / FILLER).unlink(missing_ok=True)  # of a process that was killed
            rehearsal.restore()
            size = needed * step // arguments.steps
            yield step, outcome_of(lambda size=size: _fault(kind, rehearsal, size), arguments.seconds)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--only", default="", help="a part of the name of the operations")
    parser.add_argument("--steps", type=int, default=64, help="limits for each operation")
    parser.add_argument("--budget", type=float, default=600.0, help="seconds for each operation")
    parser.add_argument("--seconds", type=float, default=60.0, help="after which a call counts as a hang")
    parser.add_argument("--json", action="store_true", help="print each step as JSON, in this process")
    arguments = parser.parse_args()
    if not arguments.json:
        if arguments.kind == "disk" and (reason := reason_without_disk()):
            print(reason)
            return 2
        faults = 0
        for name, step, fault in tried(arguments.kind, arguments.only, arguments.budget, arguments.steps):
            faults += bool(fault)
            print(f"{name}: step {step} {fault or 'survived'}", flush=True)
        return 1 if faults else 0
    table = operations.MEMORY if arguments.kind == "memory" else operations.FILES
    with tempfile.TemporaryDirectory() as place:
        if arguments.kind == "disk":
            options = ["-t", "tmpfs", "-o", f"size={DISK_BYTES}"]
            subprocess.run(["mount", *options, "tmpfs", place], check=True, capture_output=True)
        for name, operation in table.items():
            if arguments.only in name:
                for step, fault in _run(arguments.kind, operation, Path(place), arguments):
                    print(json.dumps([name, step, fault]), flush=True)
        if arguments.kind == "disk":
            subprocess.run(["umount", "-l", place], check=True, capture_output=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
