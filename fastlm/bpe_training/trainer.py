"""train_bpe: text to a tokenizer, in two phases, counting pretokens and learning merges."""

from __future__ import annotations

import errno
import os
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, TypeAlias, cast

from fastlm import _merge, interrupts
from fastlm.bpe_training.base import check_can_grow, grown_vocabulary, merges_of, new_vocabulary
from fastlm.bpe_training.checkpoint import MOST, Checkpoint
from fastlm.bpe_training.memory_limit import MemoryLimit
from fastlm.bpe_training.phases import Progress, Training
from fastlm.cluster.connection import Engine, check_engine
from fastlm.corpus.read import Blocks, Source
from fastlm.files.remote import local_path
from fastlm.pretokenize.patterns import PatternLike, find_pattern
from fastlm.pretokenize.text_splitter import TextSplitter
from fastlm.process_memory import resident_bytes
from fastlm.progress import reporting
from fastlm.text.plural import plural
from fastlm.threads import thread_count
from fastlm.tokenizer import Tokenizer
from fastlm.vocabulary.vocabulary import Vocabulary, checked_special_tokens

TieBreak: TypeAlias = Literal["cs336", "hf"]
SPECIAL_TOKENS = ("<|endoftext|>",)
PATTERN = "gpt2"


def train_bpe(
    input: Source,  # noqa: A002 - the name is public
    vocab_size: int,
    special_tokens: Sequence[str] | None = None,
    *,
    pattern: PatternLike | None = None,
    tie_break: TieBreak = "cs336",
    min_frequency: int = 1,
    max_token_length: int | None = None,
    base: Tokenizer | None = None,
    max_memory: int | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_seconds: float = 60.0,
    resume: bool = False,
    num_threads: int | None = None,
    engine: Engine = "local",
    progress: Progress | bool | None = None,
) -> Tokenizer:
    """Trains a byte-level BPE tokenizer.

    The result is bit-identical for both engines, any number of threads, any division of the text into blocks or files,
    any memory limit, and any moment of a kill. All text is read block by block; only the distinct pretokens must fit in
    memory. If the text has no more pairs to merge, the vocabulary is smaller, with a UserWarning.

    The arguments come in four groups: the text (`input`), the vocabulary (`vocab_size` to `base`), resources
    (`max_memory` to `num_threads`), and where the work is done and reported (`engine`, `progress`).

    Args:
        input: A str is the path or address of a file, a directory or a glob. In an iterable, str and bytes are
            documents and pathlib.Path objects are files. A corpus.read.Corpus says which files are read and how
            (compressed text, JSON lines, Parquet, Arrow, directories). A Hugging Face dataset is read by its column
            "text".

        vocab_size: Maximum number of tokens: special tokens, 256 bytes, and merged tokens. `Tokenizer.truncated` makes
            smaller vocabularies of the same training.
        special_tokens: Tokens that separate text and are never merged. They get the first ids, in this order; the bytes
            follow in GPT-2's order (vocabulary.BYTE_ORDER), then the merged tokens. Default: <|endoftext|>.
        pattern: Name or regular expression that splits text into pretokens. Default: "gpt2".
        tie_break: Which pair of equal count is merged first: "cs336" takes the one whose bytes are lexicographically
            greatest, "hf" the one with the smallest ids, as Hugging Face's trainer does.
        min_frequency: Pairs that occur less often are not merged.
        max_token_length: Pairs that would make a token of more bytes are not merged.
        base: A tokenizer to extend. Its tokens keep their ids, its merges come first, its special tokens and pattern
            are used, and `vocab_size` includes its tokens.

        max_memory: Memory limit for the process in bytes (soft: it may be exceeded by 15 %). Counts that do not fit are
            written to files, in the checkpoint directory or without a name in the system's directory for temporary
            files. Learning merges takes 5.67 bytes for each byte of the distinct pretokens, 17 for each of them, and
            24 MiB.
        checkpoint: Directory in which the state of the training is saved, so that it can be resumed after a kill. It is
            not removed.
        checkpoint_seconds: Time between two saves.
        resume: Whether to continue from the checkpoint; without a saved state, training starts from the beginning.
        num_threads: Number of threads, or of workers of the cluster. Default: all processors.

        engine: "local", or "ray": the workers of a Ray cluster read and count files. It is the cluster that ray is
            connected to, or the one at RAY_ADDRESS, or a new one on this machine. Merges are learned in this process.
            Not supported together with max_memory or checkpoint.
        progress: Called with the phase ("count" or "merge"), the bytes or merges done, and their total or None. True
            shows bars or logs lines; see fastlm.progress.

    Returns:
        The tokenizer.

    Raises:
        TypeError: An argument has a wrong type.
        ValueError: vocab_size is less than the number of bytes and special tokens, or of the tokens of the base; a
            number is out of range; the input holds no text, or bytes that are not UTF-8 (with file and offset);
            max_memory is too small; the merges of the base do not make its tokens; the checkpoint is damaged or of
            another training; a count exceeds 2^63 - 1; or options exclude each other.
        FileExistsError: The directory holds a checkpoint, and `resume` is false.
        FileNotFoundError: A file does not exist; also for a text where a path is expected.
        OSError: A file cannot be read or written.

    Example:
        >>> import fastlm
        >>> tokenizer = fastlm.train_bpe(["the cat sat on the mat", "the cat ate the rat"], vocab_size=260)
        >>> tokenizer.vocab_size, tokenizer.merges
        (260, [(b'a', b't'), (b't', b'h'), (b'th', b'e')])
    """
    _check_types(locals())
    _check_values(locals())
    beginning = _beginning(base, special_tokens, pattern)
    options = {"tie_break": tie_break, "min_count": min_frequency, "max_token_length": max_token_length}
    training = new_training(input, vocab_size, beginning, options, num_threads)
    with interrupts.raised(), reporting(progress) as training.report:
        if engine == "ray":
            left, right = training.on_cluster(num_threads)
        elif max_memory is None and checkpoint is None:
            left, right = training.in_memory()
        else:
            limit = None if max_memory is None else MemoryLimit(max_memory, training.threads, resident_bytes())
            saved = None
            if checkpoint is not None:
                saved = Checkpoint(local_path(checkpoint, "checkpoint"), training.job(), checkpoint_seconds, resume)
            left, right = training.in_runs(limit, saved)
    made = len(beginning) + len(left) - len(beginning.merge_new)
    if made < vocab_size:
        warnings.warn(
            f"the text has no more pairs to merge: the vocabulary has {made} tokens, not {vocab_size}", stacklevel=2
        )
    return Tokenizer.from_vocabulary(grown_vocabulary(beginning, left, right))


def new_training(
    source: Source, vocab_size: int, beginning: Vocabulary, options: dict[str, Any], num_threads: int | None
) -> Training:
    """A training of a vocabulary of `vocab_size` tokens that begins with another vocabulary.

    Raises:
        ValueError: The size is less than that of the vocabulary to begin with, or as train_bpe.
        OSError: A file does not exist or cannot be read.
    """
    if vocab_size < len(beginning):
        own = f"256 bytes and {plural(len(beginning) - 256, 'special token')}"
        what = "the tokens of the base" if len(beginning.merge_new) else own
        raise ValueError(f"vocab_size must be at least {len(beginning)}, for {what}, got {vocab_size}")
    return Training(
        blocks=_blocks(source, beginning),
        vocabulary=beginning,
        known=merges_of(beginning),
        num_merges=len(beginning.merge_new) + vocab_size - len(beginning),
        options=options,
        threads=thread_count(num_threads),
        report=lambda phase, done, total: None,
    )


# name -> the types of an argument, and their description
_TYPES: dict[str, tuple[tuple[Any, ...], str]] = {
    "vocab_size": ((int,), "an int"),
    "special_tokens": ((Iterable, type(None)), "a list of str"),
    "pattern": ((str, Sequence, type(None)), "a str"),
    "tie_break": ((str,), "a str"),
    "min_frequency": ((int,), "an int"),
    "max_token_length": ((int, type(None)), "an int or None"),
    "base": ((Tokenizer, type(None)), "a Tokenizer or None"),
    "max_memory": ((int, type(None)), "an int or None"),
    "checkpoint": ((str, os.PathLike, type(None)), "a path or None"),
    "checkpoint_seconds": ((int, float), "a number"),
    "resume": ((bool,), "a bool"),
    "num_threads": ((int, type(None)), "an int or None"),
    "engine": ((str,), "a str"),
    "progress": ((Callable, bool, type(None)), "a function, a bool or None"),
}


def _check_types(arguments: Mapping[str, object]) -> None:
    for name, (types, description) in _TYPES.items():
        value = arguments[name]
        if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
            raise TypeError(f"{name} must be {description}, got {type(value).__name__}")


def _check_values(arguments: Mapping[str, Any]) -> None:
    if arguments["tie_break"] not in _merge.TIE_BREAKS:
        raise ValueError(f"tie_break must be one of {_merge.TIE_BREAKS}, got {arguments['tie_break']!r}")
    for name in ("min_frequency", "max_token_length", "max_memory", "num_threads"):
        value = arguments[name]
        if value is not None and not 1 <= value <= MOST:
            limit = "at least 1" if value < 1 else "at most 2^63 - 1"
            raise ValueError(f"{name} must be {limit}, got {value}")
    if not arguments["checkpoint_seconds"] > 0:
        raise ValueError(f"checkpoint_seconds must be above 0, got {arguments['checkpoint_seconds']}")
    if arguments["resume"] and arguments["checkpoint"] is None:
        raise ValueError("resume=True needs checkpoint")
    check_engine(arguments["engine"])
    for name in ("max_memory", "checkpoint"):
        if arguments["engine"] == "ray" and arguments[name] is not None:
            raise ValueError(f"engine='ray' does not support {name}")
    for name in ("special_tokens", "pattern"):
        if arguments["base"] is not None and arguments[name] is not None:
            raise ValueError(f"{name} cannot be given together with base, which has its own")


def _beginning(base: Tokenizer | None, special_tokens: Sequence[str] | None, pattern: PatternLike | None) -> Vocabulary:
    """The vocabulary to start with."""
    if base is None:
        special = checked_special_tokens(SPECIAL_TOKENS if special_tokens is None else special_tokens)
        return new_vocabulary(special, find_pattern(PATTERN if pattern is None else pattern))
    check_can_grow(base.vocabulary)
    return base.vocabulary


def _blocks(source: Source, vocabulary: Vocabulary) -> Blocks:
    """The blocks of an input, cut at the added tokens of a vocabulary."""
    splitter = TextSplitter([token.content for token in vocabulary.added_tokens], vocabulary.pattern)
    if not isinstance(source, str):
        if not isinstance(source, Iterable | os.PathLike) and hasattr(type(source), "__getitem__"):
            source = iter(cast(Any, source))  # a lazy column that offers items by number only
        return Blocks(source, splitter)
    try:
        return Blocks(source, splitter)
    except (OSError, ValueError) as error:
        missing = isinstance(error, FileNotFoundError) or getattr(error, "errno", None) == errno.ENAMETOOLONG
        if os.path.lexists(source) or "://" in source or not (missing or "\0" in source):
            raise
        shown = source if len(source) <= 80 else source[:77] + "..."
        reason = "No such file. A str is a path; to train on text, pass a list of documents, such as [text]"
        raise FileNotFoundError(errno.ENOENT, reason, shown) from None
