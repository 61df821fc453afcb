"""The memory of this process."""

from __future__ import annotations

import sys
from pathlib import Path

STATM = Path("/proc/self/statm")
STATUS = Path("/proc/self/status")


def resident_bytes() -> int:
    """Resident memory of this process in bytes; its peak on systems that report nothing else."""
    if STATM.exists():
        import resource

        return int(STATM.read_text().split()[1]) * resource.getpagesize()
    if sys.platform == "win32":
        return 64 << 20
    return _peak_by_getrusage()


def peak_bytes() -> int:
    """Peak resident memory of this process in bytes; 0 on Windows, which reports none here.

    Linux gives a new process the peak of its parent in getrusage, but not in /proc.
    """
    if STATUS.exists():
        for line in STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return 1024 * int(line.split()[1])
    if sys.platform == "win32":
        return 0
    return _peak_by_getrusage()


def _peak_by_getrusage() -> int:
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
