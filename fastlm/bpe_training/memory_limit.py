"""How training divides its memory under a limit."""

from __future__ import annotations

from dataclasses import dataclass

from fastlm.bpe_training._count import ENTRY_BYTES, MAX_LOAD, MIN_SLOTS, SLOT_BYTES, PretokenCounter
from fastlm.bpe_training.run_files import BUFFER_BYTES, MOST_RUNS
from fastlm.corpus.text_blocks import BLOCK_BYTES

# a MergeLearner takes four bytes a cell and lists of a third as many, which may grow by a quarter; and a part of its
# index that does not depend on the words
MERGE_BYTES_A_CELL = 4 * (1 + 5 / 4 / 3)
MERGE_BYTES = 24 << 20
# one part in this many of the memory of a table is for pretokens of more than 15 bytes
LONG_SHARE = 8
# a smaller table would be spilled all the time
LEAST_TABLE = 1 << 20


def merge_bytes(cells: int) -> int:
    """The maximum memory of learning merges from words of this many cells, in bytes."""
    return int(MERGE_BYTES + MERGE_BYTES_A_CELL * cells)


@dataclass(frozen=True)
class MemoryLimit:
    """The memory limit of a training, in bytes.

    Attributes:
        limit: Memory that the process may hold.
        threads: Number of threads; each counts in a table.
        base: Memory that the process holds already.

    Raises:
        ValueError: Too little is left for the tables.
    """

    limit: int
    threads: int
    base: int

    def __post_init__(self) -> None:
        if self.table_bytes < LEAST_TABLE:
            least = self.limit + self.threads * (LEAST_TABLE - self.table_bytes)
            raise ValueError(
                f"max_memory must be at least {least:,} bytes for {self.threads} threads (the process already holds "
                f"{self.base:,}), got {self.limit:,}"
            )

    @property
    def table_bytes(self) -> int:
        """Memory of the table of a thread."""
        # each thread has a block, one block waits, and one is read; run files are written and read through buffers
        blocks = (self.threads + 2) * BLOCK_BYTES
        return (self.limit - self.base - blocks - MOST_RUNS * BUFFER_BYTES) // self.threads

    def table(self) -> PretokenCounter:
        """A table that takes at most `table_bytes`."""
        long_bytes = self.table_bytes // LONG_SHARE
        return PretokenCounter(capacity=entries_in(self.table_bytes - long_bytes), long_bytes=long_bytes)

    def check_words(self, words: int, cells: int) -> None:
        """Raises ValueError if learning merges from these words would exceed the limit."""
        needed = self.base + merge_bytes(cells)
        if needed > self.limit:
            raise ValueError(
                f"max_memory is {self.limit:,} bytes, but learning merges from the {words:,} distinct pretokens "
                f"counted so far takes {needed:,}"
            )


def entries_in(table_bytes: int) -> int:
    """The maximum number of entries of a table of this size; its slots are a power of two."""
    most, slots = 0, MIN_SLOTS
    while slots * SLOT_BYTES < table_bytes:
        most = max(most, min(int(MAX_LOAD * slots), (table_bytes - slots * SLOT_BYTES) // ENTRY_BYTES))
        slots *= 2
    return most
