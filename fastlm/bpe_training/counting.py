"""Text to counts of its pretokens: each thread counts blocks in a table of its own.

Without a limit of memory the tables grow and are added up. Otherwise a table that is full is spilled to a sorted run,
and the runs are merged in the end; at a checkpoint all tables are spilled, between two blocks, so that the runs hold
the counts of the text up to there and of nothing else.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from queue import Empty, SimpleQueue
from typing import TypeAlias

import numpy as np

from fastlm.bpe_training._count import PretokenCounter
from fastlm.bpe_training.run_files import MOST_RUNS, Runs
from fastlm.corpus.text_blocks import Block
from fastlm.pretokenize import _scan
from fastlm.pretokenize._scan import InvalidUTF8Error
from fastlm.pretokenize.patterns import Pattern
from fastlm.threads import map_in_order

Counted: TypeAlias = Callable[[int], None]
"""Called with the bytes of the input, as it is stored, that are counted."""

Part: TypeAlias = tuple[Block, int]
"""A block and the offset from which on it is to be counted."""


class Tables:
    """A table of counts for each thread that counts at a time.

    spill: takes the counts out of a table that is full; needed where those that `new` makes have a limit.
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
        """All tables, while none is in use."""
        tables = [self._idle.get() for _ in range(self._idle.qsize())]
        for table in tables:
            self._idle.put(table)
        return tables

    def added_up(self, threads: int) -> PretokenCounter:
        """One table with the counts of all, which ends their use."""
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
                self._make_room(table)

    def _count_matches(self, block: Block, start: int, table: PretokenCounter) -> None:
        for first, end in block.segments.tolist():
            if end <= start:
                continue
            stretch = bytes(block.text[max(first, start) : end])
            ends = self._pattern.find_ends(stretch)
            while (counted := table.count_ends(stretch, ends)) is not None:
                self._make_room(table)
                if counted:
                    cut = int(ends[counted - 1])
                    stretch, ends = stretch[cut:], ends[counted:] - cut

    def _make_room(self, table: PretokenCounter) -> None:
        assert self._spill is not None
        self._spill(table)


def _add(tables: tuple[PretokenCounter, PretokenCounter]) -> None:
    tables[0].merge(tables[1])


def count_pretokens(
    blocks: Iterable[Block], pattern: Pattern, threads: int, counted: Counted = lambda size: None
) -> PretokenCounter:
    """Counts of all distinct pretokens, in one table."""
    tables = Tables(pattern)
    total = 0
    for size in map_in_order(tables.count, ((block, 0) for block in blocks), threads):
        total += size
        counted(total)
    return tables.added_up(threads)


class Text:
    """The blocks of an input from an offset in all its text on, and how far they were taken.

    digest: of the text up to `start`, as `digest` gave it, where what is skipped is to be told from other text; None
    keeps no digest. Raises ValueError where the text before `start` is not what it was.
    """

    def __init__(self, blocks: Iterable[Block], start: int = 0, digest: str | None = None, keep_digest: bool = False):
        self._blocks, self.start, self._expected = iter(blocks), start, digest
        self._digest = hashlib.sha256() if keep_digest else None
        self.taken = 0
        self.passed = 0  # bytes of input, as it is stored, of blocks that were skipped
        self.ended = False

    @property
    def digest(self) -> str | None:
        """sha256 of the text that was taken."""
        return self._digest.hexdigest() if self._digest else None

    def until(self, enough: Callable[[], bool]) -> Iterator[Part]:
        """The next blocks, at least one, until it is enough or there are no more: then `ended` is true."""
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
            raise ValueError(f"the input has {self.taken:,} bytes of text, but {self.start:,} were counted before")

    def _check(self) -> None:
        if self.digest != self._expected:
            raise ValueError(f"the first {self.start:,} bytes of the text are not those that were counted before")


def count_in_runs(
    text: Text,
    tables: Tables,
    runs: Runs,
    threads: int,
    due: Callable[[], bool],
    save: Callable[[], None],
    counted: Counted,
) -> None:
    """Counts all distinct pretokens into `runs`, of which one is left in the end.

    save: called when it is `due`, with the runs holding the counts of exactly the text that was taken.
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
