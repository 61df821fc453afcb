"""Encodes a corpus to shards. A run may be killed at any moment, and resumes; see job_folder."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, TypeAlias, cast

from fastlm import interrupts
from fastlm._arguments import instance_of
from fastlm.cluster.connection import Engine, check_engine
from fastlm.corpus.block_encoder import BlockEncoder, EncodedBlock
from fastlm.corpus.job_folder import JobFolder
from fastlm.corpus.manifest import EncodeJob, Manifest
from fastlm.corpus.ranks import Rank, write_part
from fastlm.corpus.ray_encoding import encode_on_cluster
from fastlm.corpus.read import Blocks, Source
from fastlm.corpus.shard_formats import FORMATS, Format, ids_dtype
from fastlm.corpus.text_blocks import BEGINNING
from fastlm.files.remote import location
from fastlm.progress import check_progress, reporting
from fastlm.threads import map_behind, map_in_order, thread_count
from fastlm.tokenizer import OnSpecial, Tokenizer

Progress: TypeAlias = Callable[[int, int | None], None]
"""Called with the bytes of the source that were read, and with their total, or None where that is unknown."""

# encoded blocks that may wait to be written, because a shard takes a while to be put on disk
MAX_WAITING = 12


def encode_corpus(
    tokenizer: Tokenizer,
    source: Source,
    out: str | os.PathLike[str],
    *,
    format: Format = "npy",  # noqa: A002 - the established name
    shard_tokens: int = 100_000_000,
    end_of_text: str | None = None,
    on_special: OnSpecial = "token",
    validation_fraction: float = 0.0,
    resume: bool = False,
    num_threads: int | None = None,
    engine: Engine = "local",
    rank: int | None = None,
    world_size: int | None = None,
    progress: Progress | bool | None = None,
    eot: str | None = None,
    validation: float | None = None,
) -> Manifest:
    """Encodes a corpus to shards in a folder, with a manifest, in bounded memory.

    The shards do not depend on the engine, the number of threads, or where a run was interrupted. A file with the name
    of a shard is always whole. A run that fails before its first checkpoint leaves nothing. SIGINT and SIGTERM write a
    checkpoint before they end the run.

    Args:
        tokenizer: The tokenizer.
        source: A path, a Corpus, a Hugging Face dataset, or an iterable of documents and path objects.
        out: The folder, or an address such as s3://bucket/name of an object store. It must be missing or empty unless
            `resume` is given.
        format: "npy", "bin" or "megatron"; see shard_formats.
        shard_tokens: Ids of each shard but the last. A shard of the format megatron ends with the document that fills
            it.
        end_of_text: A special token of the tokenizer to put after each document. Without it nothing separates the
            documents in the ids; only the index of a shard tells where they end.
        on_special: Special tokens in the text become their ids ("token"), are encoded as text ("text"), or raise.
        validation_fraction: The fraction of documents that go to the split `val`; see block_encoder.is_validation.
        resume: Continue an interrupted run, or start one if there is none. A source that is not files must give the
            same documents again.
        num_threads: Number of threads, or of workers of the cluster; by default one for each processor.
        engine: "local", or "ray" to read and encode files on a Ray cluster: the one that ray is connected to, or that
            RAY_ADDRESS names, or else one on this machine. The workers write the shards, so all of them must see `out`.
        rank: The number of this process, from 0, if `world_size` processes share the corpus, which must be files. Each
            writes its part to a folder of its own, and merge_shards makes the shards of one process of all parts.
        world_size: The number of these processes.
        progress: Called after each block that was written. True shows bars or logs lines; see fastlm.progress.
        eot: Deprecated name of `end_of_text`.
        validation: Deprecated name of `validation_fraction`.

    Returns:
        The manifest.

    Raises:
        FileExistsError: if the folder is not empty and `resume` is not given.
        ValueError: for wrong options; for a folder with a run of another tokenizer, source or options; for a checkpoint
            or shard that was changed; for text that cannot be read, with file and location.
        TypeError: for another type of source or document.
        OSError: for files that cannot be read or written.

    Example:
        >>> import tempfile, fastlm
        >>> from pathlib import Path
        >>> tokenizer = fastlm.train_bpe(["low lower lowest"], 260, ["<|endoftext|>"])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     manifest = encode_corpus(tokenizer, ["low", "lower"], folder, end_of_text="<|endoftext|>")
        ...     print(manifest.documents, manifest.map(Path(folder))[0].tolist())
        2 [258, 0, 259, 82, 0]
    """
    if eot is not None:
        end_of_text = _renamed("eot", eot, "end_of_text", end_of_text)
    if validation is not None:
        validation_fraction = _renamed("validation", validation, "validation_fraction", validation_fraction or None)
    check_engine(engine)
    instance_of(tokenizer, Tokenizer, "tokenizer")
    check_progress(progress)
    _check_options(format, shard_tokens, on_special, validation_fraction)
    dtype = ids_dtype(format, len(tokenizer.vocabulary))
    end_of_text_id = None if end_of_text is None else _id_of(end_of_text, tokenizer)
    encoder = BlockEncoder(tokenizer, dtype, on_special, end_of_text_id, validation_fraction)
    blocks = Blocks(source, encoder.splitter)
    job = EncodeJob(
        tokenizer=tokenizer.vocabulary.fingerprint,
        vocabulary_size=len(tokenizer.vocabulary),
        format=format,
        dtype=cast(Any, dtype.str),
        shard_tokens=shard_tokens,
        end_of_text_id=end_of_text_id,
        on_special=on_special,
        validation_fraction=float(validation_fraction),
        reading=blocks.corpus.options,
        inputs=blocks.inputs,
    )
    place, part = location(out), _rank(rank, world_size, engine)
    if part is not None:
        full, blocks = job, part.blocks(blocks)
        # one stream: only merging knows the numbers of documents, and where shards end
        dtype = ids_dtype("bin", len(tokenizer.vocabulary))
        encoder = BlockEncoder(tokenizer, dtype, on_special, end_of_text_id)
        job = replace(job, format="bin", dtype=cast(Any, dtype.str), validation_fraction=0.0, inputs=blocks.inputs)
    folder = JobFolder(place, job, may_be_empty=part is not None)
    if resume and (finished := folder.finished()):
        if part is not None:
            write_part(place, part, full.to_json())
        return finished
    with interrupts.raised(), reporting(progress, "encode") as report:
        try:
            state = folder.begin(resume)
            if part is not None:
                write_part(place, part, full.to_json())
            if state.position != BEGINNING:
                blocks.start = state.position
            blocks.skipped.counts.update(state.skipped)
            if engine == "local":
                written = _written(folder, encoder, blocks, state.consumed, num_threads)
            else:
                written = encode_on_cluster(folder, place, job, encoder, blocks, state.consumed, num_threads)
            for consumed in written:
                report(consumed, blocks.total_bytes)
            return folder.finish(dict(blocks.skipped.counts))
        except BaseException as error:
            # workers of a cluster have saved what they finished
            folder.abandon(save=engine == "local" and isinstance(error, interrupts.INTERRUPTS))
            raise


def _written(
    folder: JobFolder, encoder: BlockEncoder, blocks: Blocks, consumed: int, num_threads: int | None
) -> Iterator[int]:
    """Encodes the blocks and writes them to the folder. Yields the stored bytes that were read, after each block."""
    threads = thread_count(num_threads)

    def write(encoded: EncodedBlock) -> int:
        nonlocal consumed
        consumed += encoded.consumed
        with interrupts.deferred():
            folder.write(encoded, consumed)
        encoded.release()
        return consumed

    return map_behind(write, map_in_order(encoder, blocks, threads), threads, MAX_WAITING)


def _rank(rank: int | None, world_size: int | None, engine: str) -> Rank | None:
    if rank is None and world_size is None:
        return None
    if rank is None or world_size is None:
        raise ValueError(f"rank and world_size belong together, got rank={rank} and world_size={world_size}")
    if engine != "local":
        raise ValueError("rank and world_size need engine='local': a cluster divides the corpus itself")
    return Rank(rank, world_size)


def _renamed(old: str, value: Any, new: str, given: Any) -> Any:
    """The value of an argument that was given under its deprecated name."""
    if given is not None:
        raise TypeError(f"{old} is the deprecated name of {new}: give only {new}")
    warnings.warn(f"{old} is deprecated; use {new}", DeprecationWarning, stacklevel=3)
    return value


def _check_options(shard_format: str, shard_tokens: int, on_special: str, validation_fraction: float) -> None:
    if not isinstance(shard_tokens, int) or isinstance(shard_tokens, bool) or not 1 <= shard_tokens < 1 << 63:
        raise ValueError(f"shard_tokens must be an integer of at least 1, got {shard_tokens!r}")
    if not 0 <= validation_fraction < 1:
        raise ValueError(f"validation_fraction must be from 0 to less than 1, got {validation_fraction}")
    if shard_format not in FORMATS:
        raise ValueError(f"format must be one of {', '.join(FORMATS)}, got {shard_format!r}")
    if on_special not in ("token", "text", "raise"):
        raise ValueError(f"on_special must be 'token', 'text' or 'raise', got {on_special!r}")


def _id_of(token: str, tokenizer: Tokenizer) -> int:
    if instance_of(token, str, "end_of_text") not in tokenizer.special_tokens:
        known = ", ".join(map(repr, tokenizer.special_tokens)) or "none"
        raise ValueError(f"end_of_text must be a special token of the tokenizer, got {token!r}; it has {known}")
    return tokenizer.special_tokens[token]
