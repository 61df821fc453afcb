"""Resident memory of this process in MB, as Linux tells it under /proc."""

from __future__ import annotations

import ctypes
import resource
from pathlib import Path

from benchmarks import MB

STATUS = Path("/proc/self/status")


def resident_mb() -> float:
    return _kilobytes("VmRSS") * 1024 / MB


def peak_mb() -> float:
    """The most it ever was, or since `reset_peak`. Linux counts the parent's into ru_maxrss, hence VmHWM there."""
    if STATUS.exists():
        return _kilobytes("VmHWM") * 1024 / MB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / MB


def give_back() -> None:
    """Gives pages that were freed back to the system, where C's allocator knows how, so that their reuse counts."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim:
        trim(0)


def reset_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def _kilobytes(field: str) -> int:
    fields = dict(line.split(":", 1) for line in STATUS.read_text().splitlines())
    return int(fields[field].split()[0])
