"""Words with their counts on disk: sorted runs, spilled where a table is full, merged into one, and read in parts."""

from __future__ import annotations

import contextlib
import itertools
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeAlias

from fastlm._merge import cells_of
from fastlm._types import Int64Array, UInt8Array
from fastlm.bpe_training._count import PretokenCounter
from fastlm.bpe_training._run_files import MergedRuns, RunReader, records
from fastlm.files.atomic import remove_unfinished, replacing

Words: TypeAlias = tuple[UInt8Array, Int64Array, Int64Array]
"""(bytes, starts, counts) of some words, as PretokenCounter.words gives them."""

# words that are taken out of a table or a run at a time
PART = 1 << 15
# runs are merged into one when there are so many, so that neither files nor buffers become too many
MOST_RUNS = 64
BUFFER_BYTES = 1 << 17
PREFIX = "run-"


@dataclass(frozen=True)
class Run:
    """A run on disk: the name of its file, its bytes and their zlib.crc32, how many words it has, and the cells that a
    MergeLearner needs for them."""

    name: str
    size: int
    checksum: int
    words: int
    cells: int


class Runs:
    """The runs of one training, `listed`.

    directory: where they are kept under their names, each whole or not there at all; without it they are in files that
    have no name, in the system's directory for temporary files, and vanish when the process ends, however that happens.
    check: told of the words and cells of a run as it is written, and may refuse them.

    Raises OSError where a run cannot be written or read; what was written of it is removed.
    """

    def __init__(
        self, directory: Path | None, listed: Iterable[Run] = (), check: Callable[[int, int], None] | None = None
    ) -> None:
        self.listed = list(listed)
        self._directory, self._check = directory, check
        self._unnamed: dict[str, BinaryIO] = {}
        numbers = [int(run.name.removeprefix(PREFIX)) for run in self.listed]
        self._numbers = itertools.count(max(numbers, default=-1) + 1)

    def spill(self, counter: PretokenCounter) -> None:
        """Writes what a table has counted, and clears it. May be called from several threads, of different tables."""
        if len(counter):
            counter.sort()
            parts = (counter.words(first, first + PART) for first in range(0, len(counter), PART))
            self.listed.append(self._written(parts))
            counter.clear()

    def merge(self) -> None:
        """Makes one run of all. Their files stay until `discard`."""
        if len(self.listed) > 1:
            self.listed = [self._written(self.words())]

    def words(self) -> Iterator[Words]:
        """The words of all runs, sorted, each once, in parts. Raises ValueError for a run that is damaged."""
        with contextlib.ExitStack() as stack:
            readers = []
            for run in self.listed:
                file = self._unnamed.get(run.name)
                if file is not None:
                    file.seek(0)
                else:
                    path = self._path(run.name)
                    file = stack.enter_context(open(path, "rb", buffering=0))
                name = str(self._path(run.name))
                readers.append(RunReader(file, name, run.size, run.checksum, BUFFER_BYTES))
            merged = MergedRuns(readers)
            while len((part := merged.words(PART))[2]):
                yield part

    def discard(self) -> None:
        """Removes all files of runs but those listed."""
        kept = {run.name for run in self.listed}
        for name in self._unnamed.keys() - kept:
            self._unnamed.pop(name).close()
        if self._directory is not None:
            for path in self._directory.glob(f"{PREFIX}*"):
                if path.name not in kept:
                    path.unlink()
            remove_unfinished(self._directory)

    def close(self) -> None:
        """Closes, and so removes, the files without a name."""
        for file in self._unnamed.values():
            file.close()
        self._unnamed.clear()

    def _written(self, parts: Iterable[Words]) -> Run:
        name = f"{PREFIX}{next(self._numbers):06}"
        if self._directory is not None:
            with replacing(self._directory / name) as file:
                return self._write(name, file, parts)
        file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - closed below
        try:
            run = self._write(name, file, parts)
        except BaseException:
            file.close()
            raise
        self._unnamed[name] = file
        return run

    def _write(self, name: str, file: BinaryIO, parts: Iterable[Words]) -> Run:
        size = checksum = words = cells = 0
        for text, starts, counts in parts:
            chunk = records(text, starts, counts).data
            size += len(chunk)
            checksum = zlib.crc32(chunk, checksum)
            words += len(counts)
            cells += cells_of(starts)
            if self._check:
                self._check(words, cells)
            while chunk:
                chunk = chunk[file.write(chunk) :]
        return Run(name, size, checksum, words, cells)

    def _path(self, name: str) -> Path:
        return (self._directory or Path(tempfile.gettempdir())) / name
