"""Counting pretokens and learning merges: in memory, through run files, or on a cluster."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from fastlm import _merge, interrupts
from fastlm._types import Int32Array
from fastlm.bpe_training._count import PretokenCounter
from fastlm.bpe_training.base import byte_symbols, grown_vocabulary
from fastlm.bpe_training.checkpoint import Checkpoint
from fastlm.bpe_training.counting import Tables, TextReader, count_in_runs, count_pretokens
from fastlm.bpe_training.memory_limit import MemoryLimit
from fastlm.bpe_training.ray_counting import count_on_cluster, words_of
from fastlm.bpe_training.run_files import RunFiles, Words
from fastlm.corpus.read import Blocks
from fastlm.merging._merge_list import MergeList
from fastlm.vocabulary.vocabulary import Vocabulary

Progress: TypeAlias = Callable[[str, int, int | None], None]
"""Called with the phase ("count" or "merge"), the bytes or merges done, and their total if it is known."""

Merges: TypeAlias = tuple[Int32Array, Int32Array]
"""(left, right), int32 (n,) each: all merges on symbols, the base's first."""


@dataclass
class Training:
    """A training from text to merges on symbols.

    Attributes:
        blocks: The text.
        vocabulary: The vocabulary to start with.
        known: Its merges.
        num_merges: Maximum number of merges, known ones included.
        options: tie_break, min_count and max_token_length, as MergeLearner takes them.
        threads: Number of threads.
        report: Called with the progress.
    """

    blocks: Blocks
    vocabulary: Vocabulary
    known: MergeList
    num_merges: int
    options: dict[str, Any]
    threads: int
    report: Progress

    def job(self) -> dict[str, Any]:
        """Everything that decides the result, as JSON; a checkpoint is resumed only for the same job."""
        return {
            "vocab_size": self.num_merges,
            "special_tokens": [token.content for token in self.vocabulary.added_tokens],
            "pattern": list(self.vocabulary.pattern.splits),
            "base": self.vocabulary.fingerprint,
            "files": self._files(),
            "reading": _reading(self.blocks),
            **self.options,
        }

    def in_memory(self) -> Merges:
        """Counts in tables that grow."""
        counter = count_pretokens(self.blocks, self.vocabulary.pattern, self.threads, self._counted)
        if not len(counter):
            raise _no_text()
        words = counter.words()
        del counter
        learner = self._learner(_merge.cells_of(words[1]), self.known)
        learner.add(*words)
        del words  # learning needs the memory
        return self._learn(learner)

    def on_cluster(self, workers: int | None) -> Merges:
        """Counts on a Ray cluster."""
        table = count_on_cluster(self.blocks, self.vocabulary.pattern, workers, self._counted)
        if not table.words:
            raise _no_text()
        learner = self._learner(table.cells, self.known)
        for words in words_of(table):
            learner.add(*words)
        return self._learn(learner)

    def in_runs(self, limit: MemoryLimit | None, checkpoint: Checkpoint | None) -> Merges:
        """Counts in run files, within a memory limit or with a checkpoint."""
        state = checkpoint.state if checkpoint else None
        known = self._continued(checkpoint) if checkpoint else self.known
        runs = RunFiles(
            checkpoint.directory if checkpoint else None,
            state.runs if state else (),
            limit.check_words if limit else None,
        )
        try:
            runs.discard()
            if not state or not state.all_counted:
                self._count_in_runs(runs, limit, checkpoint)
            elif checkpoint and not runs.listed:
                raise ValueError(f"{checkpoint.path}: state.runs is empty: the input holds no text")
            if not runs.listed:
                raise _no_text()
            learner = self._learner(sum(run.cells for run in runs.listed), known)
            for words in runs.words():
                learner.add(*words)
            return self._learn(learner, checkpoint)
        finally:
            runs.close()

    def count(self, limit: MemoryLimit | None, checkpoint: Checkpoint) -> None:
        """Counts in run files of a checkpoint, and learns nothing."""
        runs = RunFiles(checkpoint.directory, checkpoint.state.runs, limit.check_words if limit else None)
        try:
            runs.discard()
            if not checkpoint.state.all_counted:
                self._count_in_runs(runs, limit, checkpoint)
        finally:
            runs.close()

    def learn_words(self, cells: int, words: Iterable[Words]) -> Merges:
        """Learns merges from words that are counted, of at most this many cells."""
        learner = self._learner(cells, self.known)
        for part in words:
            learner.add(*part)
        return self._learn(learner)

    def _count_in_runs(self, runs: RunFiles, limit: MemoryLimit | None, checkpoint: Checkpoint | None) -> None:
        text = TextReader(self.blocks)
        if checkpoint:
            state = checkpoint.state
            keep_digest = checkpoint.job["files"] is None
            text = TextReader(self.blocks, state.counted, state.digest, keep_digest, checkpoint.path)
        tables = Tables(self.vocabulary.pattern, limit.table if limit else PretokenCounter, runs.spill)

        def save() -> None:
            if checkpoint:
                checkpoint.save(counted=text.taken, digest=text.digest, runs=tuple(runs.listed), all_counted=text.ended)
                interrupts.check()

        due = checkpoint.due if checkpoint else lambda: False
        with interrupts.deferred() if checkpoint else contextlib.nullcontext():
            count_in_runs(text, tables, runs, self.threads, due, save, self._counted)

    def _continued(self, checkpoint: Checkpoint) -> MergeList:
        """The merges of a checkpoint, or of the base if it has none. Raises ValueError that names file and field."""
        if not checkpoint.state.merges:
            return self.known
        left, right = np.array(checkpoint.state.merges, np.int32).T.copy()
        already = len(self.known)
        try:
            if len(left) > self.num_merges:
                raise ValueError(f"{len(left)} merges; this training makes at most {self.num_merges}")
            if left[:already].tolist() != list(self.known.left) or right[:already].tolist() != list(self.known.right):
                raise ValueError("they do not start with the merges of the base")
            merges = MergeList(left, right)
            grown_vocabulary(self.vocabulary, left, right)
        except ValueError as error:
            raise ValueError(f"{checkpoint.path}: state.merges: {error}") from None
        return merges

    def _learner(self, cells: int, known: MergeList) -> _merge.MergeLearner:
        """A learner with space for words of this many cells."""
        # a merge removes at least one symbol, so there cannot be more merges than this
        self.num_merges = min(self.num_merges, len(self.known) + cells)
        number = max(len(known), self.num_merges)
        return _merge.MergeLearner(cells, number, byte_symbols(self.vocabulary), known=known, **self.options)

    def _learn(self, learner: _merge.MergeLearner, checkpoint: Checkpoint | None = None) -> Merges:
        already = len(self.known)

        def save() -> None:
            if checkpoint:
                left, right = learner.merged
                checkpoint.save(merges=tuple(zip(left.tolist(), right.tolist(), strict=True)))

        def progress(done: int) -> None:
            self.report("merge", done - already, self.num_merges - already)
            if checkpoint and checkpoint.due():
                save()
                interrupts.check()

        with interrupts.deferred() if checkpoint else contextlib.nullcontext():
            merges = learner.learn(progress)
            save()
        return merges

    def _files(self) -> list[dict[str, Any]] | None:
        """Name, size and version of the files of the input; None if the input is not files, or a version is unknown."""
        files = self.blocks.inputs
        known = self.blocks.files is not None and all(file["version"] is not None for file in files)
        return files if known else None

    def _counted(self, size: int) -> None:
        self.report("count", size, self.blocks.total_bytes)


def _no_text() -> ValueError:
    return ValueError("the input holds no text")


def _reading(blocks: Blocks) -> list[str | None]:
    """How the files of an input are read."""
    corpus = blocks.corpus
    return [corpus.field, corpus.separator, corpus.kind, corpus.on_error]
