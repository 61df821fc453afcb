"""Counts of pretokens as tables that tasks make of stretches and merge in a tree; the driver sees the last one only."""

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
from fastlm.cluster.connection import RETRIES, connected, local_error, worker_count
from fastlm.corpus.partitions import Partition, partitions_of
from fastlm.corpus.read import Blocks, Corpus
from fastlm.pretokenize.cutting import Cutter
from fastlm.pretokenize.patterns import Pattern

STRETCH_BYTES = 1 << 27
# tables that one task merges
FAN_IN = 8
# a worker's table holds so many pretokens, and bytes of long ones, before it is spilled: some 200 MB
TABLE_ENTRIES, TABLE_LONG_BYTES = 1 << 22, 1 << 26


@dataclass(frozen=True)
class Table:
    """Distinct pretokens with their counts: the records of a run and their zlib.crc32, how many words, and the cells
    that a MergeLearner needs for them."""

    records: UInt8Array
    checksum: int
    words: int
    cells: int


class _Content(RawIOBase):
    """An array, read as a file is."""

    def __init__(self, content: UInt8Array) -> None:
        self._left = content

    def readinto(self, buffer: Any) -> int:
        size = min(len(buffer), len(self._left))
        buffer[:size] = self._left[:size].data
        self._left = self._left[size:]
        return size


def table_of(parts: Iterable[Words]) -> Table:
    """A table of words that come sorted, each once."""
    chunks, checksum, words, cells = [np.empty(0, np.uint8)], 0, 0, 0
    for text, starts, counts in parts:
        chunk = records(text, starts, counts).copy()  # without the room it was made in
        chunks.append(chunk)
        checksum = zlib.crc32(chunk.data, checksum)
        words += len(counts)
        cells += cells_of(starts)
    return Table(np.concatenate(chunks), checksum, words, cells)


def words_of(*tables: Table) -> Iterator[Words]:
    """The words of some tables, sorted, each once, in parts."""
    readers = []
    for table in tables:
        content = cast(Any, _Content(table.records))
        readers.append(RunReader(content, "a table of counts", len(table.records), table.checksum, BUFFER_BYTES))
    merged = MergedRuns(readers)
    while len((part := merged.words(PART))[2]):
        yield part


def count_on_cluster(blocks: Blocks, pattern: Pattern, num_workers: int | None, counted: Counted) -> Table:
    """The counts of all distinct pretokens of files. Raises what the first bad file of them raises, as Blocks."""
    with connected(num_workers) as ray:
        tree = _Tree(ray, worker_count(ray, num_workers), counted)
        try:
            # files go to the workers with their stretches
            reading = ray.put((replace(blocks.corpus, inputs=()), blocks.cutter, pattern))
            for stretch in partitions_of(blocks, STRETCH_BYTES):
                tree.count(reading, stretch)
            return tree.finish()
        except ray.exceptions.RayError as error:
            raise local_error(ray, error) from None
        finally:
            tree.cancel()


class _Tree:
    """Counting tasks, and tasks that merge what they return; of both, at most so many are under way."""

    def __init__(self, ray: Any, workers: int, counted: Counted) -> None:
        self._ray, self._most, self._counted = ray, 2 * workers, counted
        task = ray.remote(max_retries=RETRIES, num_cpus=1)
        self._count, self._merge = task(_count).options(num_returns=2), task(_merge)
        self._levels: list[list[Any]] = [[]]
        # what says that a task has ended -> (number of the stretch, its table) or (-1 - level, the merged table)
        self._pending: dict[Any, tuple[int, Any]] = {}
        self._number = self._total = 0

    def count(self, reading: Any, stretch: Partition) -> None:
        while len(self._pending) >= self._most:
            self._settle()
        table, size = self._count.remote(reading, stretch)
        self._pending[size] = self._number, table
        self._number += 1

    def finish(self) -> Table:
        while self._pending:
            self._settle()
        tables = [table for level in self._levels for table in level]
        while len(tables) > 1:
            tables = [self._merge.remote(*tables[k : k + FAN_IN]) for k in range(0, len(tables), FAN_IN)]
        return cast(Table, self._ray.get(tables[0])) if tables else table_of([])

    def cancel(self) -> None:
        for ended in self._pending:
            self._ray.cancel(ended)

    def _settle(self) -> None:
        """Waits for a task to end, and lets its table rise."""
        (ended,), _ = self._ray.wait(list(self._pending), num_returns=1, fetch_local=False)
        number, table = self._pending.pop(ended)
        if number < 0:
            self._add(table, -number)
            return
        try:
            self._total += self._ray.get(ended)
        except self._ray.exceptions.RayError:
            # of several errors that of the earliest stretch is raised, whichever comes first
            self._ray.get([other for other, (before, _) in self._pending.items() if 0 <= before < number])
            raise
        self._counted(self._total)
        self._add(table, 0)

    def _add(self, table: Any, level: int) -> None:
        if level == len(self._levels):
            self._levels.append([])
        self._levels[level].append(table)
        if len(self._levels[level]) == FAN_IN:
            merged = self._merge.remote(*self._levels[level])
            self._levels[level] = []
            self._pending[merged] = -1 - level, merged


def _count(reading: tuple[Corpus, Cutter, Pattern], stretch: Partition) -> tuple[Table, int]:
    """The counts of a stretch, and its stored bytes."""
    corpus, cutter, pattern = reading
    runs = RunFiles(None)
    try:
        tables = Tables(pattern, _new_table, runs.spill)
        sizes = [0]
        text = TextReader(stretch.blocks(corpus, cutter))
        count_in_runs(text, tables, runs, 1, lambda: False, lambda: None, sizes.append)
        return table_of(runs.words()), sizes[-1]
    finally:
        runs.close()


def _new_table() -> PretokenCounter:
    return PretokenCounter(capacity=TABLE_ENTRIES, long_bytes=TABLE_LONG_BYTES)


def _merge(*tables: Table) -> Table:
    return table_of(words_of(*tables))
