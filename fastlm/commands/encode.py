"""`fastlm encode`: a corpus to shards of ids."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from fastlm.commands.cluster import cluster
from fastlm.commands.inputs import AS_NAMED, Inputs, ReadingOptions, corpus_of, skipped_line
from fastlm.commands.progress import bars


def encode(
    inputs: Inputs,
    /,
    tokenizer: Path,
    out: Path,
    format: Literal["bin", "npy", "megatron"] = "npy",
    shard_tokens: int = 100_000_000,
    eot: str | None = None,
    on_special: Literal["token", "text", "raise"] = "token",
    validation: float = 0.0,
    resume: bool = False,
    threads: int | None = None,
    engine: Literal["local", "ray"] = "local",
    address: str | None = None,
    reading: ReadingOptions = AS_NAMED,
) -> None:
    """Encode a corpus to shards of ids, with a manifest that holds their sha256.

    Args:
        inputs: Files, directories, globs, addresses such as s3://bucket/name, or - for the standard input. Text, JSON
            lines, Parquet and Arrow are told apart by their names, and .gz, .zst and .xz are decompressed.
        tokenizer: Directory or file of the tokenizer.
        out: Directory for the shards; it must be missing or empty, unless the run is resumed.
        format: Arrays of NumPy (npy), raw ids as nanoGPT reads them (bin), or Megatron-LM's .bin and .idx.
        shard_tokens: Ids of each shard but the last.
        eot: Special token that is put after each document.
        on_special: Whether special tokens in a text become their ids, count as text, or are refused.
        validation: Share of the documents that go to shards of their own, val-*.
        resume: Go on with a run that was cut off, or begin one where there is none.
        threads: Number of threads, or of workers of a cluster; all processors where it is not given.
        engine: Whether threads of this process do the work, or a Ray cluster.
        address: Address of a running Ray cluster; without it the one that RAY_ADDRESS names, or one made here.
        reading: How the inputs are read.
    """
    from fastlm import load
    from fastlm.corpus.encode_corpus import encode_corpus

    corpus = corpus_of(inputs, reading)
    with cluster(engine, threads, address), bars() as report:
        manifest = encode_corpus(
            load(tokenizer),
            corpus,
            out,
            format=format,
            shard_tokens=shard_tokens,
            end_of_text=eot,
            on_special=on_special,
            validation_fraction=validation,
            resume=resume,
            num_threads=threads,
            engine=engine,
            progress=lambda done, total: report("encode", done, total),
        )
    number = sum(map(len, manifest.splits.values()))
    print(f"{manifest.tokens} ids of {manifest.documents} documents in {number} shards in {out}")
    if manifest.skipped:
        print(skipped_line(manifest.skipped))
