"""`fastlm train-tokenizer`: text to a tokenizer."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from tyro.conf import UseAppendAction

from fastlm.commands.cluster import cluster
from fastlm.commands.inputs import AS_NAMED, Inputs, ReadingOptions, corpus_of
from fastlm.commands.progress import bars
from fastlm.commands.sizes import parse_size


def train_tokenizer(
    inputs: Inputs,
    /,
    vocab_size: tuple[int, ...],
    out: Path,
    special: UseAppendAction[tuple[str, ...]] = (),
    pattern: str | None = None,
    tie_break: Literal["cs336", "hf"] = "cs336",
    min_frequency: int = 1,
    max_token_length: int | None = None,
    base: Path | None = None,
    max_memory: str | None = None,
    checkpoint: Path | None = None,
    checkpoint_seconds: float = 60.0,
    resume: bool = False,
    threads: int | None = None,
    engine: Literal["local", "ray"] = "local",
    address: str | None = None,
    reading: ReadingOptions = AS_NAMED,
) -> None:
    """Train a byte-level BPE tokenizer on UTF-8 text.

    Args:
        inputs: Files, directories, globs, addresses such as s3://bucket/name, or - for the standard input. Text, JSON
            lines, Parquet and Arrow are told apart by their names, and .gz, .zst and .xz are decompressed.
        vocab_size: Number of tokens: 256 bytes, the special tokens, and the merges' results. Of several numbers each
            gives a tokenizer, in a directory of OUT named by it.
        out: Directory that gets vocab.json, merges.txt, tokenizer.json and tokenizer.fastlm.
        special: A special token, which cuts the text and never merges; give the option once for each.
            <|endoftext|> where it is not given.
        pattern: Name or regular expression of the pre-tokenisation; gpt2 where it is not given.
        tie_break: Which of equally frequent pairs merges first: the greatest bytes (cs336) or the smallest ids (hf).
        min_frequency: Pairs that occur less often are not merged.
        max_token_length: The most bytes that a token may have.
        base: Directory or file of a tokenizer to go on from, with its special tokens and pattern.
        max_memory: What the process is to stay within, up to 15 %, such as 512MB.
        checkpoint: Directory for what is needed to go on after a kill.
        checkpoint_seconds: How old a checkpoint grows before the next one is saved.
        resume: Go on from the checkpoint, or begin where there is none.
        threads: Number of threads, or of workers of a cluster; all processors where it is not given.
        engine: Whether threads of this process do the work, or a Ray cluster.
        address: Address of a running Ray cluster; without it the one that RAY_ADDRESS names, or one made here.
        reading: How the inputs are read.
    """
    from fastlm import load, train_bpe

    corpus = corpus_of(inputs, reading)
    with cluster(engine, threads, address), bars() as report:
        tokenizer = train_bpe(
            corpus,
            max(vocab_size, default=0),
            special or None,
            pattern=pattern,
            tie_break=tie_break,
            min_frequency=min_frequency,
            max_token_length=max_token_length,
            base=load(base) if base else None,
            max_memory=parse_size(max_memory, "max_memory") if max_memory else None,
            checkpoint=checkpoint,
            checkpoint_seconds=checkpoint_seconds,
            resume=resume,
            num_threads=threads,
            engine=engine,
            progress=report,
        )
    for size in vocab_size:
        directory = out if len(vocab_size) == 1 else out / str(size)
        smaller = tokenizer if size >= tokenizer.vocab_size else tokenizer.truncated(size)
        smaller.save(directory)
        print(f"{smaller.vocab_size} tokens in {directory}")
