"""`fastlm encode`: encodes a corpus to shards of token ids."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import arg

from fastlm.commands.cluster import cluster
from fastlm.commands.inputs import (
    AS_NAMED,
    Address,
    Inputs,
    NumThreads,
    PathOrAddress,
    ReadingOptions,
    corpus_of,
    folder_to_write,
    option,
    skipped_line,
)
from fastlm.commands.logs import resumes_with
from fastlm.commands.output import note, say
from fastlm.commands.ranks import RankOption, WorldSize, rank_of
from fastlm.files.remote import Location, RemotePath, location
from fastlm.progress import shown
from fastlm.text.plural import plural

if TYPE_CHECKING:
    from fastlm.corpus.manifest import Manifest
    from fastlm.tokenizer import Tokenizer


def encode(
    inputs: Inputs,
    /,
    tokenizer: PathOrAddress,
    out: PathOrAddress,
    format: Literal["bin", "npy", "megatron"] = "npy",  # noqa: A002 - the name of the option
    shard_tokens: int = 100_000_000,
    end_of_text: Annotated[str | None, option("TOKEN", "--eot")] = None,
    on_special: Literal["token", "text", "raise"] = "token",
    validation_fraction: Annotated[float, arg(aliases=["--validation"])] = 0.0,
    shuffle: Annotated[int | None, option("SEED")] = None,
    document_table: bool = False,
    resume: bool = False,
    num_threads: NumThreads = None,
    engine: Literal["local", "ray"] = "local",
    address: Address = None,
    rank: RankOption = None,
    world_size: WorldSize = None,
    reading: ReadingOptions = AS_NAMED,
) -> None:
    """Encode a corpus to shards of token ids, with a manifest of their checksums.

    Args:
        inputs: Files, directories, globs, addresses such as s3://bucket/name, or - for standard input. The names tell
            text, JSON lines, Parquet and Arrow apart; .gz, .zst, .xz, .bz2 and .lz4 are decompressed.
        tokenizer: Directory or file of the tokenizer, its address, or name of a model in the Hub's local cache.
        out: Directory for the shards, or its address such as s3://bucket/name; it must be missing or empty, except
            with --resume.
        format: npy: arrays of NumPy; bin: raw ids, which nanoGPT reads up to 65,536 ids; megatron: .bin and .idx of
            Megatron-LM.
        shard_tokens: Number of ids of each shard but the last.
        end_of_text: Special token to put after each document, such as <|endoftext|>.
        on_special: Special tokens in the text become their ids (token), are encoded as text (text), or are an error
            (raise).
        validation_fraction: Fraction of the documents that go to shards of their own, val-*.
        shuffle: Seed of a random order of the documents, which depends on it and on their number only. The ids are on
            disk three times while they are sorted.
        document_table: Also write a table of the source, the position there and the first id of each document, for
            which the inputs are read twice. `fastlm replay` uses it.
        resume: Continue an interrupted run, or start one if there is none.
        num_threads: Number of threads, or of workers of a cluster; by default one for each processor.
        engine: Encode with threads of this process, or on a Ray cluster.
        address: Address of a running Ray cluster; by default RAY_ADDRESS, or else a new cluster on this machine.
        rank: Number of this process among WORLD_SIZE processes that share the corpus, from 0, or auto for the variables
            of Slurm, Open MPI or torchrun. It writes a part below OUT; `fastlm merge` makes the shards of all parts.
        world_size: Number of processes.
        reading: How the inputs are read.
    """
    from fastlm import load
    from fastlm.corpus.document_table import write_document_tables
    from fastlm.corpus.encode_corpus import encode_corpus
    from fastlm.corpus.shuffle import encode_shuffled

    target = location(out)
    if document_table and isinstance(target, RemotePath):
        raise ValueError(f"--document-table needs a directory of this machine as --out, found {out}")
    part = rank_of(rank, world_size)
    if part is not None:
        if document_table:
            raise ValueError("--document-table needs whole shards: leave it out with --rank")
        target = target / part.folder
        out = str(target)
    corpus = corpus_of(inputs, reading)
    folder_to_write(target)
    loaded = load(tokenizer)
    hint = f"--resume continues from the last checkpoint in {out}"
    with resumes_with(hint), cluster(engine, num_threads, address), shown() as report:
        encoded = encode_corpus if shuffle is None else functools.partial(encode_shuffled, seed=shuffle)
        manifest = encoded(
            loaded,
            corpus,
            out if isinstance(target, RemotePath) else target,
            format=format,
            shard_tokens=shard_tokens,
            end_of_text=end_of_text,
            on_special=on_special,
            validation_fraction=validation_fraction,
            resume=resume,
            num_threads=num_threads,
            engine=engine,
            rank=part.rank if part else None,
            world_size=part.world_size if part else None,
            progress=lambda done, total: report("encode", done, total),
        )
        if document_table and isinstance(target, Path):
            write_document_tables(target, loaded, lambda done, total: report("document table", done, total))
    number = plural(sum(map(len, manifest.splits.values())), "shard")
    say(f"{plural(manifest.tokens, 'id')} of {plural(manifest.documents, 'document')} in {number} in {target}")
    if manifest.skipped:
        say(skipped_line(manifest.skipped))
    if part is None:
        for line in _notes(manifest, loaded, target):
            note(line)


def _notes(manifest: Manifest, tokenizer: Tokenizer, out: Location) -> list[str]:
    """Notes about options that a user may have forgotten."""
    job = manifest.job
    if job.end_of_text_id is None and manifest.documents > len(job.inputs):
        tokens = ", ".join(map(repr, tokenizer.special_tokens)) or "none"
        return [
            "note: no token separates the documents in the shards; --end-of-text TOKEN puts one after each "
            f"(special tokens: {tokens})"
        ]
    is_one_each = job.reading.separator is None and job.on_special == "token" and manifest.documents <= len(job.inputs)
    if is_one_each and isinstance(out, Path):
        split = next(split for split in manifest.splits if manifest.splits[split])
        ids = manifest.map(out, split)[0]
        for token, token_id in tokenizer.special_tokens.items():
            count = int((ids == token_id).sum()) - (manifest.documents if token_id == job.end_of_text_id else 0)
            if count > 0:
                files = "the input is" if manifest.documents == 1 else "each file is"
                return [
                    f"note: the text contains {token!r} {plural(count, 'time')}, but without --separator {files} one "
                    "document"
                ]
    return []
