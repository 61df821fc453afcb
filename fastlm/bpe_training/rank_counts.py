"""Counting pretokens on several machines: each rank counts its part of a corpus, and the counts are merged."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

from fastlm import interrupts
from fastlm.bpe_training._run_files import MergedRuns
from fastlm.bpe_training.base import grown_vocabulary, merges_of, new_vocabulary
from fastlm.bpe_training.checkpoint import STATE, Checkpoint, State, read_state
from fastlm.bpe_training.memory_limit import MemoryLimit
from fastlm.bpe_training.phases import Progress, Training
from fastlm.bpe_training.run_files import PART as WORDS_AT_A_TIME
from fastlm.bpe_training.run_files import RunFiles, Words
from fastlm.bpe_training.trainer import PATTERN, SPECIAL_TOKENS, new_training
from fastlm.corpus.ranks import Rank, checked_parts, write_part
from fastlm.corpus.read import Blocks, Source
from fastlm.files.remote import local_path
from fastlm.pretokenize.patterns import Pattern, PatternLike, find_pattern
from fastlm.pretokenize.text_splitter import TextSplitter
from fastlm.process_memory import resident_bytes
from fastlm.progress import reporting
from fastlm.tokenizer import Tokenizer
from fastlm.vocabulary.vocabulary import checked_special_tokens

COUNTS = "counts"


def count_rank(
    source: Source,
    vocab_size: int,
    special_tokens: Sequence[str] | None,
    folder: str | os.PathLike[str],
    rank: Rank,
    *,
    pattern: PatternLike | None = None,
    tie_break: str = "cs336",
    min_frequency: int = 1,
    max_token_length: int | None = None,
    max_memory: int | None = None,
    checkpoint_seconds: float = 60.0,
    resume: bool = False,
    num_threads: int | None = None,
    progress: Progress | bool | None = None,
) -> None:
    """Counts the pretokens of a rank's part of a corpus, to a folder for `train_from_counts`.

    Args:
        source: As `input` of train_bpe. It must be files.
        vocab_size: As in train_bpe, like the arguments that are not described here.
        special_tokens: As in train_bpe.
        folder: The folder of the part, which is a checkpoint too. It is made if it is missing.
        rank: The rank.
        pattern: As in train_bpe.
        tie_break: As in train_bpe.
        min_frequency: As in train_bpe.
        max_token_length: As in train_bpe.
        max_memory: As in train_bpe.
        checkpoint_seconds: As in train_bpe.
        resume: Continue from the state in the folder, or start if there is none.
        num_threads: As in train_bpe.
        progress: As in train_bpe.

    Raises:
        FileExistsError: The folder has a state, and `resume` is false.
        ValueError: The source is not files, or as train_bpe.
        OSError: A file cannot be read or written.
    """
    path = local_path(folder, "the folder of counts")
    special = checked_special_tokens(SPECIAL_TOKENS if special_tokens is None else special_tokens)
    beginning = new_vocabulary(special, find_pattern(PATTERN if pattern is None else pattern))
    options = {"tie_break": tie_break, "min_count": min_frequency, "max_token_length": max_token_length}
    training = new_training(source, vocab_size, beginning, options, num_threads)
    job = training.job()
    training.blocks = rank.blocks(training.blocks)
    with interrupts.raised(), reporting(progress) as training.report:
        part_job = {**training.job(), "rank": rank.rank, "world_size": rank.world_size}
        checkpoint = Checkpoint(path, part_job, checkpoint_seconds, resume)
        write_part(path, rank, {COUNTS: job})
        limit = None if max_memory is None else MemoryLimit(max_memory, training.threads, resident_bytes())
        training.count(limit, checkpoint)


def train_from_counts(parts: Sequence[str | os.PathLike[str]], progress: Progress | bool | None = None) -> Tokenizer:
    """Learns the merges of a tokenizer from the counts of all ranks: the tokenizer that one process trains.

    Args:
        parts: The folders of all parts, in any order.
        progress: As in train_bpe.

    Raises:
        ValueError: A part is missing, given twice, damaged, not finished, or of another training; or there is no text.
        OSError: A file cannot be read.
    """
    found = checked_parts([local_path(part, "a part of counts") for part in parts])
    folders = [Path(str(folder)) for folder, _ in found]
    job = found[0][1].job.get(COUNTS)
    if not isinstance(job, dict):
        raise ValueError(f"{folders[0]}: is a part of shards; expected a part of counts")
    states = [_counted(folder) for folder in folders]
    vocabulary = new_vocabulary(job["special_tokens"], _pattern_of(job["pattern"]))
    if vocabulary.fingerprint != job["base"]:
        raise ValueError(f"{folders[0]}: the counts are of another version of fastlm, with another first vocabulary")
    options = {name: job[name] for name in ("tie_break", "min_count", "max_token_length")}
    with interrupts.raised(), reporting(progress) as report:
        training = Training(
            blocks=Blocks([], TextSplitter([], vocabulary.pattern)),
            vocabulary=vocabulary,
            known=merges_of(vocabulary),
            num_merges=job["vocab_size"],
            options=options,
            threads=1,
            report=report,
        )
        cells = sum(run.cells for state in states for run in state.runs)
        if not cells:
            raise ValueError("the input holds no text")
        left, right = training.learn_words(cells, _words(folders, states))
    made = len(vocabulary) + len(left)
    if len(left) < job["vocab_size"]:
        wanted = len(vocabulary) + job["vocab_size"]
        warnings.warn(
            f"the text has no more pairs to merge: the vocabulary has {made} tokens, not {wanted}", stacklevel=2
        )
    return Tokenizer.from_vocabulary(grown_vocabulary(vocabulary, left, right))


def _pattern_of(splits: list[str]) -> Pattern:
    return find_pattern(splits[0] if len(splits) == 1 else splits)


def _counted(folder: Path) -> State:
    state = read_state(folder / STATE)
    if not state.all_counted:
        raise ValueError(f"{folder / STATE}: counting is not finished; run the same command with --resume")
    return state


def _words(folders: list[Path], states: list[State]) -> Iterator[Words]:
    """The words of all parts, sorted, each once, in pieces."""
    with contextlib.ExitStack() as stack:
        readers = []
        for folder, state in zip(folders, states, strict=True):
            runs = RunFiles(folder, state.runs)
            readers += [runs.reader(run, stack) for run in runs.listed]
        merged = MergedRuns(readers)
        while len((piece := merged.words(WORDS_AT_A_TIME))[2]):
            yield piece
