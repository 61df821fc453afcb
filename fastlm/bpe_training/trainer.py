"""train_bpe: text to a tokenizer, in two phases, counting pretokens and learning merges."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from fastlm import _merge
from fastlm._types import Int32Array
from fastlm.bpe_training._count import PretokenCounter
from fastlm.bpe_training.base import byte_symbols, check_can_grow, grown_vocabulary, known_merges, new_vocabulary
from fastlm.bpe_training.checkpoint import Checkpoint
from fastlm.bpe_training.counting import Tables, Text, count_in_runs, count_pretokens
from fastlm.bpe_training.memory_limit import MemoryLimit, resident_bytes
from fastlm.bpe_training.ray_counting import count_on_cluster, words_of
from fastlm.bpe_training.run_files import Runs
from fastlm.cluster.connection import Engine, check_engine
from fastlm.corpus.read import Blocks, Corpus, Source
from fastlm.merging._merge_list import MergeList
from fastlm.pretokenize.cutting import Cutter
from fastlm.pretokenize.patterns import find_pattern
from fastlm.threads import thread_count
from fastlm.tokenizer import Tokenizer
from fastlm.vocabulary.vocabulary import Vocabulary, checked_special_tokens

Progress: TypeAlias = Callable[[str, int, int | None], None]
"""Called with the phase ("count" or "merge"), what is done (bytes or tokens), and of how much, where that is known."""

SPECIAL_TOKENS = ("<|endoftext|>",)
PATTERN = "gpt2"
Merges: TypeAlias = tuple[Int32Array, Int32Array]


def train_bpe(
    input: Source,
    vocab_size: int,
    special_tokens: Sequence[str] | None = None,
    *,
    pattern: str | None = None,
    tie_break: str = "cs336",
    min_frequency: int = 1,
    max_token_length: int | None = None,
    base: Tokenizer | None = None,
    max_memory: int | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_seconds: float = 60.0,
    resume: bool = False,
    num_threads: int | None = None,
    engine: Engine = "local",
    progress: Progress | None = None,
) -> Tokenizer:
    """A byte-level BPE tokenizer of `vocab_size` tokens, learned from text.

    input: a path or address; an iterable whose str and bytes are documents and whose path objects (pathlib.Path) are
    files; a Hugging Face dataset; or a corpus.read.Corpus, which says what files are read and how: compressed text,
    JSON lines, Parquet, Arrow, directories. All is read block by block, so none of it need fit in memory; what must are
    the distinct pretokens.
    vocab_size: `Tokenizer.truncated` gives smaller ones out of the same run.
    special_tokens: cut the text, never merge, and get the first ids in the order given; <|endoftext|> where it is not
    given. The 256 bytes follow in GPT-2's order (vocabulary.BYTE_ORDER), then the merged tokens.
    pattern: the name or regular expression of the split; "gpt2" where it is not given.
    tie_break: of pairs that occur equally often, "cs336" merges the one with the lexicographically greatest bytes, "hf"
    the one with the smallest ids, as Hugging Face's trainer does.
    min_frequency: pairs that occur less often are not merged. max_token_length: nor are those that would make a token
    of more bytes.
    base: a tokenizer to go on from. Its tokens keep their ids, its merges come first, its special tokens and pattern
    hold, and `vocab_size` counts its tokens too.
    max_memory: bytes that the process is to stay within, up to 15 %. Counts that do not fit are spilled to files, which
    have no name and lie in the system's directory for temporary files, or in that of the checkpoint. Learning merges
    takes 5.4 bytes for each byte of the distinct pretokens, 16 for each of them, and 24 MB.
    checkpoint: a directory for what is needed to go on after the process was killed; saved whenever the last save is
    checkpoint_seconds old. resume: go on from there, or begin where nothing was saved yet. The directory stays.

    engine: "ray" has files read and counted by `num_threads` workers of a Ray cluster, by all its processors where that
    is None: the one that ray is connected to or that RAY_ADDRESS names, else one made on this machine. Merges are
    learned here. It knows neither max_memory nor checkpoint.

    The result is the same to the bit for either engine, any number of threads, any division into blocks or files, any
    limit of memory, and any moment of a kill. Warns (UserWarning) and gives a smaller vocabulary where the text has no
    more pairs to merge.

    Raises ValueError for a vocab_size below 256 and the special tokens, or below the size of the base, a limit below 1,
    an input without text, bytes that are not UTF-8, with file and offset, a max_memory that does not do, a base whose
    merges do not make its tokens, or a checkpoint of another training; FileExistsError for a checkpoint that is there
    without `resume`; OSError for files that cannot be read or written; TypeError for an input of another type.
    """
    if not isinstance(vocab_size, int) or isinstance(vocab_size, bool):
        raise TypeError(f"vocab_size must be an int, not {type(vocab_size).__name__}")
    if tie_break not in _merge.TIE_BREAKS:
        raise ValueError(f"tie_break must be one of {_merge.TIE_BREAKS}, not {tie_break!r}")
    least_one = {"min_frequency": min_frequency, "max_token_length": max_token_length, "max_memory": max_memory}
    for name, value in least_one.items():
        if value is not None and value < 1:
            raise ValueError(f"{name} must be at least 1, not {value}")
    if resume and checkpoint is None:
        raise ValueError("resume needs the directory of a checkpoint")
    check_engine(engine)
    if engine == "ray" and (max_memory is not None or checkpoint is not None):
        raise ValueError("max_memory and checkpoint are of the engine 'local'; leave them out with 'ray'")
    beginning = _beginning(base, special_tokens, pattern)
    special = [token.content for token in beginning.added_tokens]
    if vocab_size < len(beginning):
        what = f"256 bytes and {len(special)} special tokens" if base is None else "the tokens of the base"
        raise ValueError(f"vocab_size must be at least {len(beginning)}, for {what}, not {vocab_size}")

    training = _Training(
        blocks=Blocks(input, Cutter(special, beginning.pattern)),
        vocabulary=beginning,
        known=known_merges(beginning),
        merges=len(beginning.merge_new) + vocab_size - len(beginning),
        options={"tie_break": tie_break, "min_count": min_frequency, "max_token_length": max_token_length},
        threads=thread_count(num_threads),
        report=progress or (lambda phase, done, total: None),
    )
    if engine == "ray":
        left, right = training.on_cluster(num_threads)
    elif max_memory is None and checkpoint is None:
        left, right = training.in_memory()
    else:
        limit = None if max_memory is None else MemoryLimit(max_memory, training.threads, resident_bytes())
        saved = None
        if checkpoint is not None:
            job = training.job(input, special)
            saved = Checkpoint(Path(checkpoint), job, checkpoint_seconds, resume)
        left, right = training.in_runs(limit, saved)

    made = len(beginning) + len(left) - len(beginning.merge_new)
    if made < vocab_size:
        warnings.warn(
            f"the text has no more pairs to merge: the vocabulary has {made} tokens, not {vocab_size}", stacklevel=2
        )
    return Tokenizer.from_vocabulary(grown_vocabulary(beginning, left, right))


def _beginning(base: Tokenizer | None, special_tokens: Sequence[str] | None, pattern: str | None) -> Vocabulary:
    if base is None:
        special = checked_special_tokens(SPECIAL_TOKENS if special_tokens is None else special_tokens)
        return new_vocabulary(special, find_pattern(PATTERN if pattern is None else pattern))
    if special_tokens is not None or pattern is not None:
        raise ValueError("special_tokens and pattern are those of the base; give neither beside it")
    check_can_grow(base.vocabulary)
    return base.vocabulary


@dataclass
class _Training:
    """One run from text to merges on symbols."""

    blocks: Blocks
    vocabulary: Vocabulary
    known: MergeList
    merges: int  # to know in the end
    options: dict[str, Any]
    threads: int
    report: Progress

    def job(self, input: Source, special: Sequence[str]) -> dict[str, Any]:
        """What a checkpoint must be of to be gone on with."""
        return {
            "vocab_size": self.merges,
            "special_tokens": list(special),
            "pattern": list(self.vocabulary.pattern.splits),
            "base": self.vocabulary.fingerprint,
            "files": self._files(),
            "reading": _reading(input),
            **self.options,
        }

    def _files(self) -> list[dict[str, Any]] | None:
        """What the files of the input are told from others by; None where it is not files that stay."""
        files = self.blocks.inputs
        known = self.blocks.files is not None and all(file["version"] is not None for file in files)
        return files if known else None

    def in_memory(self) -> Merges:
        counter = count_pretokens(self.blocks, self.vocabulary.pattern, self.threads, self._counted)
        if not len(counter):
            raise ValueError("the input holds no text")
        words = counter.words()
        del counter
        cells = _merge.cells_of(words[1])
        learner = self._learner(cells, self.known)
        learner.add(*words)
        del words
        return self._learn(learner, cells)

    def on_cluster(self, workers: int | None) -> Merges:
        table = count_on_cluster(self.blocks, self.vocabulary.pattern, workers, self._counted)
        if not table.words:
            raise ValueError("the input holds no text")
        learner = self._learner(table.cells, self.known)
        for words in words_of(table):
            learner.add(*words)
        return self._learn(learner, table.cells)

    def in_runs(self, limit: MemoryLimit | None, checkpoint: Checkpoint | None) -> Merges:
        state = checkpoint.state if checkpoint else None
        runs = Runs(
            checkpoint.directory if checkpoint else None,
            state.runs if state else (),
            limit.check_words if limit else None,
        )
        try:
            runs.discard()
            if not state or not state.all_counted:
                self._count_in_runs(runs, limit, checkpoint)
            if not sum(run.words for run in runs.listed):
                raise ValueError("the input holds no text")
            return self._learn_from(runs, checkpoint)
        finally:
            runs.close()

    def _count_in_runs(self, runs: Runs, limit: MemoryLimit | None, checkpoint: Checkpoint | None) -> None:
        state = checkpoint.state if checkpoint else None
        keep_digest = bool(checkpoint and checkpoint.job["files"] is None)
        text = Text(self.blocks, state.counted if state else 0, state.digest if state else None, keep_digest)
        tables = Tables(self.vocabulary.pattern, limit.table if limit else PretokenCounter, runs.spill)

        def save() -> None:
            if checkpoint:
                checkpoint.save(counted=text.taken, digest=text.digest, runs=tuple(runs.listed), all_counted=text.ended)

        due = checkpoint.due if checkpoint else lambda: False
        count_in_runs(text, tables, runs, self.threads, due, save, self._counted)

    def _learn_from(self, runs: Runs, checkpoint: Checkpoint | None) -> Merges:
        known = self.known
        if checkpoint and checkpoint.state.merges:
            left, right = np.array(checkpoint.state.merges, np.int64).T.astype(np.int32)
            known = MergeList(np.ascontiguousarray(left), np.ascontiguousarray(right))
        cells = sum(run.cells for run in runs.listed)
        learner = self._learner(cells, known)
        for words in runs.words():
            learner.add(*words)

        def save() -> None:
            if checkpoint:
                left, right = learner.merged
                checkpoint.save(merges=tuple(zip(left.tolist(), right.tolist(), strict=True)))

        merges = self._learn(learner, cells, lambda: save() if checkpoint and checkpoint.due() else None)
        save()
        return merges

    def _learner(self, cells: int, known: MergeList) -> _merge.MergeLearner:
        return _merge.MergeLearner(
            cells, max(len(known), self._goal(cells)), byte_symbols(self.vocabulary), known=known, **self.options
        )

    def _goal(self, cells: int) -> int:
        # a merge takes at least one symbol away, so more than this cannot be learned, nor need room
        return min(self.merges, len(self.known) + cells)

    def _learn(self, learner: _merge.MergeLearner, cells: int, save: Callable[[], object] = lambda: None) -> Merges:
        already, goal = len(self.known), self._goal(cells)

        def progress(done: int) -> None:
            self.report("merge", done - already, goal - already)
            save()

        return learner.learn(progress)

    def _counted(self, size: int) -> None:
        self.report("count", size, self.blocks.total_bytes)


def _reading(input: Source) -> list[str | None]:
    """How the files of an input are read."""
    corpus = input if isinstance(input, Corpus) else Corpus(())
    return [corpus.field, corpus.separator, corpus.kind, corpus.on_error]
