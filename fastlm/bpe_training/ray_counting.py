"""Counting pretokens on a Ray cluster: tasks count partitions into tables and merge the tables in a tree.

The driver receives only the last table.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from io import RawIOBase
from typing import Any, cast

import numpy as np

from fastlm._merge import cells_of
from fastlm._types import UInt8Array
from fastlm.bpe_training._count import PretokenCounter
from fastlm.bpe_training._run_files import MergedRuns, RunReader, records
from fastlm.bpe_training.counting import Counted, Tables, TextReader, count_in_runs
from fastlm.bpe_training.run_files import BUFFER_BYTES, PART, RunFiles, Words
from fastlm.cluster.connection import RETRIES, original_error, ray_connection, worker_count
from fastlm.corpus.partitions import Partition, partitions_of
from fastlm.corpus.read import Blocks, Corpus
from fastlm.pretokenize.patterns import Pattern
from fastlm.pretokenize.text_splitter import TextSplitter

PARTITION_BYTES = 1 << 27
# tables that one task merges
FAN_IN = 8
# maximum pretokens in the table of a worker, and bytes of long ones, before it is spilled: about 200 MB
TABLE_ENTRIES, TABLE_LONG_BYTES = 1 << 22, 1 << 26


@dataclass(frozen=True)
class Table:
    """Distinct words with their counts.

    Attributes:
        records: The records of a run file, uint8 (n,).
        checksum: zlib.crc32 of the records.
        words: Number of words.
        cells: Cells that a MergeLearner needs for them.
    """

    records: UInt8Array
    checksum: int
    words: int
    cells: int


class _ArrayFile(RawIOBase):
    """An array that is read like a file."""

    def __init__(self, content: UInt8Array) -> None:
        self._left = content

    def readinto(self, buffer: Any) -> int:
        size = min(len(buffer), len(self._left))
        buffer[:size] = self._left[:size].data
        self._left = self._left[size:]
        return size


def table_of(parts: Iterable[Words]) -> Table:
    """A table of words that are sorted and distinct."""
    chunks, checksum, words, cells = [np.empty(0, np.uint8)], 0, 0, 0
    for text, starts, counts in parts:
        chunk = records(text, starts, counts).copy()  # frees the larger buffer of the records
        chunks.append(chunk)
        checksum = zlib.crc32(chunk.data, checksum)
        words += len(counts)
        cells += cells_of(starts)
    return Table(np.concatenate(chunks), checksum, words, cells)


def words_of(*tables: Table) -> Iterator[Words]:
    """The words of tables, sorted, each once, in parts.

    Raises:
        ValueError: A table is damaged, or a sum of counts exceeds 2^63 - 1.
    """
    readers = [
        RunReader(
            cast(Any, _ArrayFile(table.records)),
            "a table of counts",
            len(table.records),
            table.checksum,
            BUFFER_BYTES,
            words=table.words,
            cells=table.cells,
        )
        for table in tables
    ]
    merged = MergedRuns(readers)
    while len((part := merged.words(PART))[2]):
        yield part


def count_on_cluster(blocks: Blocks, pattern: Pattern, num_workers: int | None, counted: Counted) -> Table:
    """Counts all distinct pretokens of files.

    Raises:
        Exception: Of the errors of all files, that of the first file; the same as without a cluster (see Blocks).
    """
    with ray_connection(num_workers) as ray:
        tree = _Tree(ray, worker_count(ray, num_workers), counted)
        try:
            # the partitions name their files
            reading = ray.put((replace(blocks.corpus, inputs=()), blocks.splitter, pattern))
            for partition in partitions_of(blocks, PARTITION_BYTES):
                tree.count(reading, partition)
            return tree.finish()
        except ray.exceptions.RayError as error:
            raise original_error(ray, error) from None


class _Tree:
    """Tasks that count, and tasks that merge their tables. The number of tasks at a time is limited.

    After an error they are left to end: Ray 2.60 can abort the driver's process if a task is cancelled that just begins
    ("Tried to complete task that was not pending").
    """

    def __init__(self, ray: Any, workers: int, counted: Counted) -> None:
        self._ray, self._most, self._counted = ray, 2 * workers, counted
        task = ray.remote(max_retries=RETRIES, num_cpus=1)
        self._count_task = task(_count_partition).options(num_returns=2)
        self._merge_task = task(_merge_tables)
        self._levels: list[list[Any]] = [[]]
        # result that tells the end of a task -> (number of the partition, its table), or (-1 - level, merged table)
        self._pending: dict[Any, tuple[int, Any]] = {}
        self._number = self._total = 0

    def count(self, reading: Any, partition: Partition) -> None:
        """Starts a task that counts a partition."""
        while len(self._pending) >= self._most:
            self._settle()
        table, size = self._count_task.remote(reading, partition)
        self._pending[size] = self._number, table
        self._number += 1

    def finish(self) -> Table:
        """Waits for all tasks and merges the remaining tables."""
        while self._pending:
            self._settle()
        tables = [table for level in self._levels for table in level]
        while len(tables) > 1:
            tables = [self._merge_task.remote(*tables[k : k + FAN_IN]) for k in range(0, len(tables), FAN_IN)]
        return cast(Table, self._ray.get(tables[0])) if tables else table_of([])

    def _settle(self) -> None:
        """Waits for the end of a task and adds its table to the tree."""
        (ended,), _ = self._ray.wait(list(self._pending), num_returns=1, fetch_local=False)
        number, table = self._pending.pop(ended)
        if number < 0:
            self._add(table, -number)
            return
        try:
            self._total += self._ray.get(ended)
        except self._ray.exceptions.RayError:
            # of several errors the one of the earliest partition is raised, in whichever order they arrive
            self._ray.get([other for other, (before, _) in self._pending.items() if 0 <= before < number])
            raise
        self._counted(self._total)
        self._add(table, 0)

    def _add(self, table: Any, level: int) -> None:
        if level == len(self._levels):
            self._levels.append([])
        self._levels[level].append(table)
        if len(self._levels[level]) == FAN_IN:
            merged = self._merge_task.remote(*self._levels[level])
            self._levels[level] = []
            self._pending[merged] = -1 - level, merged


def _count_partition(reading: tuple[Corpus, TextSplitter, Pattern], partition: Partition) -> tuple[Table, int]:
    """The counts of a partition, and its bytes as stored."""
    corpus, splitter, pattern = reading
    runs = RunFiles(None)
    try:
        tables = Tables(pattern, _new_table, runs.spill)
        sizes = [0]
        text = TextReader(partition.blocks(corpus, splitter))
        count_in_runs(text, tables, runs, 1, lambda: False, lambda: None, sizes.append)
        return table_of(runs.words()), sizes[-1]
    finally:
        runs.close()


def _new_table() -> PretokenCounter:
    return PretokenCounter(capacity=TABLE_ENTRIES, long_bytes=TABLE_LONG_BYTES)


def _merge_tables(*tables: Table) -> Table:
    return table_of(words_of(*tables))
