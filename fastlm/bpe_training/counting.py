"""Text to counts of its pretokens: each thread counts blocks in its own table.

Without a memory limit the tables grow, and are added up at the end. With a limit a full table is written to a sorted
run file, and the run files are merged at the end. At a checkpoint, between two blocks, all tables are written, so that
the run files hold exactly the counts of the text up to there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from queue import Empty, SimpleQueue
from typing import TypeAlias

import numpy as np

from fastlm.bpe_training._count import PretokenCounter
from fastlm.bpe_training.run_files import MOST_RUNS, RunFiles
from fastlm.corpus.text_blocks import Block
from fastlm.pretokenize import _scan
from fastlm.pretokenize._scan import InvalidUTF8Error
from fastlm.pretokenize.patterns import Pattern
from fastlm.threads import map_in_order

Counted: TypeAlias = Callable[[int], None]
"""Called with the number of bytes of the input, as stored, that are counted."""

Part: TypeAlias = tuple[Block, int]
"""A block, and the offset in it where counting starts."""


class Tables:
    """Tables of counts, one for each thread that counts at the same time.

    Args:
        pattern: Splits the text.
        new: Makes a table.
        spill: Takes the counts out of a full table and clears it; needed if the tables of `new` have a limit.
    """

    def __init__(
        self,
        pattern: Pattern,
        new: Callable[[], PretokenCounter] = PretokenCounter,
        spill: Callable[[PretokenCounter], None] | None = None,
    ) -> None:
        self._pattern, self._new, self._spill = pattern, new, spill
        self._scanner = _scan.scanner(pattern.scanner) if pattern.scanner else None
        self._idle: SimpleQueue[PretokenCounter] = SimpleQueue()

    def count(self, part: Part) -> int:
        """Counts the pretokens of a block and returns the bytes of input that the block took.

        A table in which an error ended counting is not used again: it holds the counts of a part of the block.

        Raises:
            ValueError: The text is not UTF-8; the message says where.
        """
        try:
            table = self._idle.get_nowait()
        except Empty:
            table = self._new()
        block, start = part
        try:
            if self._scanner:
                self._count_scanned(block, start, table)
            else:
                self._count_matches(block, start, table)
        except InvalidUTF8Error as error:
            raise block.located(error) from None
        finally:
            block.release()
        self._idle.put(table)
        return block.consumed

    def idle(self) -> list[PretokenCounter]:
        """All tables. Call it while none is in use."""
        tables = [self._idle.get() for _ in range(self._idle.qsize())]
        for table in tables:
            self._idle.put(table)
        return tables

    def added_up(self, threads: int) -> PretokenCounter:
        """One table with the counts of all. The others are gone afterwards."""
        tables = sorted(self.idle(), key=len, reverse=True) or [self._new()]
        self._idle = SimpleQueue()
        while len(tables) > 1:
            half = (len(tables) + 1) // 2
            for _ in map_in_order(_add, zip(tables, tables[half:], strict=False), threads):
                pass
            del tables[half:]
        return tables[0]

    def _count_scanned(self, block: Block, start: int, table: PretokenCounter) -> None:
        stopped: int | None = start
        segments = block.segments
        while stopped is not None:
            if stopped:
                segments = segments[segments[:, 1] > stopped]
                segments = np.maximum(segments, stopped)
            stopped = table.count(block.text, segments, self._scanner)
            if stopped is not None:
                self._make_space(table)

    def _count_matches(self, block: Block, start: int, table: PretokenCounter) -> None:
        for first, end in block.segments.tolist():
            if end <= start:
                continue
            span = bytes(block.text[max(first, start) : end])
            ends = self._pattern.find_ends(span)
            while (counted := table.count_ends(span, ends)) is not None:
                self._make_space(table)
                if counted:
                    at = int(ends[counted - 1])
                    span, ends = span[at:], ends[counted:] - at

    def _make_space(self, table: PretokenCounter) -> None:
        assert self._spill is not None
        self._spill(table)


def _add(tables: tuple[PretokenCounter, PretokenCounter]) -> None:
    tables[0].merge(tables[1])


def count_pretokens(
    blocks: Iterable[Block], pattern: Pattern, threads: int, counted: Counted = lambda size: None
) -> PretokenCounter:
    """Counts all distinct pretokens in memory and returns one table."""
    tables = Tables(pattern)
    total = 0
    for size in map_in_order(tables.count, ((block, 0) for block in blocks), threads):
        total += size
        counted(total)
    return tables.added_up(threads)


class TextReader:
    """Reads the blocks of an input and skips the text that is counted already.

    Args:
        blocks: The blocks of the whole input.
        start: Bytes of text to skip.
        digest: sha256 of these bytes, to detect another input; None skips the check.
        keep_digest: Whether to compute the sha256 of the text.
        origin: The file that `start` and `digest` come from; error messages name it.

    Attributes:
        taken: Bytes of text read so far.
        passed: Bytes of input, as stored, of skipped blocks.
        ended: Whether there are no more blocks.
    """

    def __init__(
        self,
        blocks: Iterable[Block],
        start: int = 0,
        digest: str | None = None,
        keep_digest: bool = False,
        origin: object = "the start",
    ) -> None:
        self._blocks, self.start, self._expected, self._origin = iter(blocks), start, digest, origin
        self._digest = hashlib.sha256() if keep_digest else None
        self.taken = 0
        self.passed = 0
        self.ended = False

    @property
    def digest(self) -> str | None:
        """sha256 of the text read so far."""
        return self._digest.hexdigest() if self._digest else None

    def until(self, enough: Callable[[], bool]) -> Iterator[Part]:
        """The next blocks, at least one, until `enough()` is true or the input ends.

        Raises:
            ValueError: The input is shorter than the text to skip, or that text has another digest.
        """
        for block in self._blocks:
            size = len(block.text)
            skipped = min(size, max(0, self.start - self.taken))
            if self._digest and self._expected and skipped and skipped + self.taken == self.start:
                self._digest.update(block.text[:skipped])
                self._check()
                self._digest.update(block.text[skipped:])
            elif self._digest:
                self._digest.update(block.text)
            self.taken += size
            if skipped == size:
                self.passed += block.consumed
                block.release()
                continue
            yield block, skipped
            if enough():
                return
        self.ended = True
        if self.taken < self.start:
            raise ValueError(
                f"{self._origin}: state.counted: the input has {self.taken:,} bytes of text, but {self.start:,} were "
                "counted before"
            )

    def _check(self) -> None:
        if self.digest != self._expected:
            raise ValueError(
                f"{self._origin}: state.digest: the first {self.start:,} bytes of the text differ from the text that "
                "was counted before"
            )


def count_in_runs(
    text: TextReader,
    tables: Tables,
    runs: RunFiles,
    threads: int,
    due: Callable[[], bool],
    save: Callable[[], None],
    counted: Counted,
) -> None:
    """Counts all distinct pretokens into `runs`; one run file is left at the end.

    Args:
        text: The input.
        tables: Tables that spill to `runs`.
        runs: The run files.
        threads: Number of threads.
        due: Whether it is time to save.
        save: Called when it is due, and at the end. The run files then hold exactly the counts of the text read so far.
        counted: Called with the progress.
    """
    total = 0
    while not text.ended:
        for size in map_in_order(tables.count, text.until(lambda: due() or len(runs.listed) >= MOST_RUNS), threads):
            total += size
            counted(text.passed + total)
        for table in tables.idle():
            runs.spill(table)
        if text.ended or len(runs.listed) >= MOST_RUNS // 2:
            runs.merge()
        save()
        runs.discard()
