"""How the memory of a training is shared out under a limit."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from fastlm.bpe_training._count import PretokenCounter
from fastlm.bpe_training.run_files import BUFFER_BYTES, MOST_RUNS
from fastlm.corpus.text_blocks import BLOCK_BYTES

# what a MergeLearner needs: four bytes a cell, lists of a third as many, with room to grow by a quarter; and the rest
# of its index, whatever the words
MERGE_BYTES_A_CELL = 4 * (1 + 5 / 4 / 3)
MERGE_BYTES = 24 << 20
# of a table's memory, for pretokens of more than 15 bytes
LONG_SHARE = 8
# a table of less would spill all the time
LEAST_TABLE = 1 << 20
ENTRY_BYTES, SLOT_BYTES, FULL = 24, 8, 0.7
STATM = Path("/proc/self/statm")


def merge_bytes(cells: int) -> int:
    """The most memory that learning merges takes, from words of so many cells."""
    return int(MERGE_BYTES + MERGE_BYTES_A_CELL * cells)


def resident_bytes() -> int:
    """Resident memory of this process; its peak where the system tells no more."""
    if STATM.exists():
        import resource

        return int(STATM.read_text().split()[1]) * resource.getpagesize()
    if sys.platform == "win32":
        return 64 << 20
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


@dataclass(frozen=True)
class MemoryLimit:
    """The most memory that this process is to hold, `base` of which it holds already, and what each of so many threads
    may take of it for a table of counts.

    Raises ValueError where nothing is left to count in.
    """

    limit: int
    threads: int
    base: int

    def __post_init__(self) -> None:
        if self.table_bytes < LEAST_TABLE:
            least = self.limit + self.threads * (LEAST_TABLE - self.table_bytes)
            raise ValueError(
                f"max_memory is {self.limit:,} bytes, of which the process holds {self.base:,} before it begins: "
                f"{self.threads} threads need {least:,} at least"
            )

    @property
    def table_bytes(self) -> int:
        # a block for each thread, one that waits for it, and one that is read; what a run is written and read through
        blocks = (self.threads + 2) * BLOCK_BYTES
        return (self.limit - self.base - blocks - MOST_RUNS * BUFFER_BYTES) // self.threads

    def table(self) -> PretokenCounter:
        """A table that keeps to the share of a thread."""
        long_bytes = self.table_bytes // LONG_SHARE
        return PretokenCounter(capacity=entries_in(self.table_bytes - long_bytes), long_bytes=long_bytes)

    def check_words(self, words: int, cells: int) -> None:
        """Raises ValueError where learning merges from these words cannot keep to the limit."""
        needed = self.base + merge_bytes(cells)
        if needed > self.limit:
            raise ValueError(
                f"max_memory is {self.limit:,} bytes, but learning merges from the {words:,} distinct pretokens that "
                f"were counted so far takes {needed:,}"
            )


def entries_in(table_bytes: int) -> int:
    """The most entries of a table of so many bytes, whose slots are a power of two, seven tenths of them in use."""
    most, slots = 0, 1 << 14
    while slots * SLOT_BYTES < table_bytes:
        most = max(most, min(int(FULL * slots), (table_bytes - slots * SLOT_BYTES) // ENTRY_BYTES))
        slots *= 2
    return most
