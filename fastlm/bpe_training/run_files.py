"""Words with their counts on disk: sorted run files, written when a table is full, merged, and read in parts."""

from __future__ import annotations

import contextlib
import itertools
import os
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
"""(bytes, starts, counts) of words, as PretokenCounter.words returns them."""

# words that are taken out of a table or a run file at a time
PART = 1 << 15
# this many run files are merged into one, which limits the number of files and buffers
MOST_RUNS = 64
BUFFER_BYTES = 1 << 17
PREFIX = "run-"


@dataclass(frozen=True)
class RunFile:
    """The description of a run file.

    Attributes:
        name: Name of the file.
        size: Its bytes.
        checksum: zlib.crc32 of its bytes.
        words: Number of words in it.
        cells: Cells that a MergeLearner needs for these words.
    """

    name: str
    size: int
    checksum: int
    words: int
    cells: int


class RunFiles:
    """The run files of one training, described by `listed`.

    Args:
        directory: Directory that keeps the files under their names; each is complete or absent. Without it the files
            have no name: they are in the system's directory for temporary files and vanish when the process ends.
        listed: Files that are already there.
        check: Called with the words and cells of a file while it is written; it may raise to refuse them.

    Methods raise OSError if a file cannot be written or read. A file that could not be completed is removed.
    """

    def __init__(
        self, directory: Path | None, listed: Iterable[RunFile] = (), check: Callable[[int, int], None] | None = None
    ) -> None:
        self.listed = list(listed)
        self._directory, self._check = directory, check
        self._unnamed: dict[str, BinaryIO] = {}
        numbers = [int(run.name.removeprefix(PREFIX)) for run in self.listed]
        self._numbers = itertools.count(max(numbers, default=-1) + 1)

    def spill(self, counter: PretokenCounter) -> None:
        """Writes the counts of a table to a new file and clears the table.

        Several threads may call it at the same time with different tables.
        """
        if len(counter):
            counter.sort()
            parts = (counter.words(first, first + PART) for first in range(0, len(counter), PART))
            self.listed.append(self._written(parts))
            counter.clear()

    def merge(self) -> None:
        """Merges all files into one. The merged files stay until `discard`."""
        if len(self.listed) > 1:
            self.listed = [self._written(self.words())]

    def words(self) -> Iterator[Words]:
        """The words of all files, sorted, each once, in parts.

        Raises:
            ValueError: A file is damaged, or a sum of counts exceeds 2^63 - 1.
            OSError: A file cannot be read.
        """
        with contextlib.ExitStack() as stack:
            merged = MergedRuns([self.reader(run, stack) for run in self.listed])
            while len((part := merged.words(PART))[2]):
                yield part

    def discard(self) -> None:
        """Removes all run files except those in `listed`."""
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

    def reader(self, run: RunFile, stack: contextlib.ExitStack) -> RunReader:
        """A reader of a file, which the stack closes."""
        path = self._path(run.name)
        file = self._unnamed.get(run.name)
        if file is not None:
            file.seek(0)
        else:
            file = open(path, "rb", buffering=0)  # noqa: SIM115 - the stack closes it
            stack.callback(file.close)
            size = os.fstat(file.fileno()).st_size
            if size > run.size:
                raise ValueError(f"{path} is damaged: it has {size} bytes, not {run.size}")
        return RunReader(file, str(path), run.size, run.checksum, BUFFER_BYTES, words=run.words, cells=run.cells)

    def _written(self, parts: Iterable[Words]) -> RunFile:
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

    def _write(self, name: str, file: BinaryIO, parts: Iterable[Words]) -> RunFile:
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
        return RunFile(name, size, checksum, words, cells)

    def _path(self, name: str) -> Path:
        return (self._directory or Path(tempfile.gettempdir())) / name
