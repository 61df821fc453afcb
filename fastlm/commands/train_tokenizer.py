"""`fastlm train-tokenizer`: trains a tokenizer on text."""

from __future__ import annotations

from typing import Annotated, Literal

from tyro.conf import UseAppendAction, arg

from fastlm.commands.cluster import cluster
from fastlm.commands.inputs import (
    AS_NAMED,
    TOKENIZER_FILES,
    TOKENIZER_MARK,
    Address,
    Inputs,
    NumThreads,
    OptionalPathOrAddress,
    PathOrAddress,
    ReadingOptions,
    corpus_of,
    folder_to_write,
    option,
    refuse_to_overwrite,
    save_tokenizer,
)
from fastlm.commands.logs import resumes_with
from fastlm.commands.output import say
from fastlm.commands.ranks import RankOption, WorldSize, rank_of
from fastlm.commands.sizes import parse_size
from fastlm.files.remote import local_path, location
from fastlm.pretokenize.patterns import Expression
from fastlm.progress import shown
from fastlm.text.plural import plural


def train_tokenizer(
    inputs: Inputs,
    /,
    vocab_size: tuple[int, ...],
    out: PathOrAddress,
    special_token: Annotated[UseAppendAction[tuple[str, ...]], arg(aliases=["--special"], metavar="TOKEN")] = (),
    pattern: Annotated[str | None, option("PATTERN")] = None,
    tie_break: Literal["cs336", "hf"] = "cs336",
    min_frequency: int = 1,
    max_token_length: Annotated[int | None, option("INT")] = None,
    base: OptionalPathOrAddress = None,
    max_memory: Annotated[str | None, option("SIZE")] = None,
    checkpoint: OptionalPathOrAddress = None,
    checkpoint_seconds: float = 60.0,
    resume: bool = False,
    force: bool = False,
    num_threads: NumThreads = None,
    engine: Literal["local", "ray"] = "local",
    address: Address = None,
    rank: RankOption = None,
    world_size: WorldSize = None,
    reading: ReadingOptions = AS_NAMED,
) -> None:
    """Train a byte-level BPE tokenizer on text.

    Args:
        inputs: Files, directories, globs, addresses such as s3://bucket/name, or - for standard input. The names tell
            text, JSON lines, Parquet and Arrow apart; .gz, .zst, .xz, .bz2 and .lz4 are decompressed.
        vocab_size: Number of tokens: 256 bytes, the special tokens, and the merges. Several numbers give several
            tokenizers, each in a directory of OUT with that name.
        out: Directory for the tokenizer, or its address such as s3://bucket/name: tokenizer.fastlm and, if they can
            hold it, tokenizer.json with tokenizer_config.json for transformers, vocab.json and merges.txt.
        special_token: A special token, at which the text is split; repeat the option for several. By default
            <|endoftext|>.
        pattern: Name or regular expression that splits the text into pretokens; by default gpt2.
        tie_break: Which of several equally frequent pairs merges first: the one with the greatest bytes (cs336), or
            with the smallest ids (hf).
        min_frequency: Minimum frequency of a pair that is merged.
        max_token_length: Maximum length of a token in bytes.
        base: Directory or file of a tokenizer to extend; its special tokens and pattern are kept.
        max_memory: Memory limit of the process, such as 512MB; it may be exceeded by 15 %.
        checkpoint: Directory for checkpoints.
        checkpoint_seconds: Seconds between two checkpoints.
        resume: Continue from the checkpoint, or start if there is none.
        force: Overwrite files in OUT that do not belong to a tokenizer of fastlm.
        num_threads: Number of threads, or of workers of a cluster; by default one for each processor.
        engine: Count with threads of this process, or on a Ray cluster.
        address: Address of a running Ray cluster; by default RAY_ADDRESS, or else a new cluster on this machine.
        rank: Number of this process among WORLD_SIZE processes that share the corpus, from 0, or auto for the variables
            of Slurm, Open MPI or torchrun. It writes the counts of a part below OUT; `fastlm merge` learns the merges.
        world_size: Number of processes.
        reading: How the inputs are read.
    """
    from fastlm import load, train_bpe
    from fastlm.bpe_training.rank_counts import count_rank

    corpus = corpus_of(inputs, reading)
    if (part := rank_of(rank, world_size)) is not None:
        if base is not None or checkpoint is not None or engine != "local" or len(vocab_size) != 1:
            raise ValueError("--rank needs one --vocab-size, and takes no --base, --checkpoint or --engine")
        counts = local_path(out, "out") / part.folder
        with resumes_with(f"--resume continues from the counts in {counts}"), shown() as report:
            count_rank(
                corpus,
                vocab_size[0],
                special_token or None,
                counts,
                part,
                pattern=None if pattern is None else Expression(pattern),
                tie_break=tie_break,
                min_frequency=min_frequency,
                max_token_length=max_token_length,
                max_memory=parse_size(max_memory, "max_memory") if max_memory else None,
                checkpoint_seconds=checkpoint_seconds,
                resume=resume,
                num_threads=num_threads,
                progress=report,
            )
        say(f"counts in {counts}")
        return
    if resume and checkpoint is None:
        raise ValueError("--resume needs --checkpoint")
    for name, value in (("--pattern", pattern), ("--special-token", special_token or None)):
        if base is not None and value is not None:
            raise ValueError(f"{name} cannot be given together with --base, which has its own")
    if checkpoint is not None:
        folder_to_write(local_path(checkpoint, "checkpoint"), "--checkpoint")
    target = location(out)
    folders = {size: target if len(vocab_size) == 1 else target / str(size) for size in vocab_size}
    for folder in folders.values():
        refuse_to_overwrite(folder, TOKENIZER_FILES, TOKENIZER_MARK, force)
    hint = "nothing is saved without --checkpoint"
    if checkpoint is not None:
        hint = f"--resume continues from the checkpoint in {checkpoint}"
    with resumes_with(hint), cluster(engine, num_threads, address), shown() as report:
        tokenizer = train_bpe(
            corpus,
            max(vocab_size, default=0),
            special_token or None,
            pattern=None if pattern is None else Expression(pattern),
            tie_break=tie_break,
            min_frequency=min_frequency,
            max_token_length=max_token_length,
            base=load(base) if base else None,
            max_memory=parse_size(max_memory, "max_memory") if max_memory else None,
            checkpoint=checkpoint,
            checkpoint_seconds=checkpoint_seconds,
            resume=resume,
            num_threads=num_threads,
            engine=engine,
            progress=report,
        )
    for size, folder in folders.items():
        smaller = tokenizer if size >= tokenizer.vocab_size else tokenizer.truncated(size)
        save_tokenizer(smaller, folder)
        say(f"{plural(smaller.vocab_size, 'token')} in {folder}")
