"""Encodes a corpus to shards. A run may be killed at any moment, and resumes.

While it runs, `unfinished/` in its folder holds the shards that are being written, and state.json. A checkpoint first
puts the written bytes on disk. Then it replaces state.json, which holds the read position of the source and the length
and sha256 of each shard that is being written. Only after that do whole shards move to their names.

So state.json always describes a state that can be restored: whole shards are moved if they were not, the others are
compared with their sha256 and cut to their length, and files that it does not name are removed.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import time
import warnings
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeAlias, cast

import numpy as np

from fastlm._arguments import instance_of
from fastlm.cluster.connection import Engine, check_engine
from fastlm.corpus.block_encoder import BlockEncoder, EncodedBlock
from fastlm.corpus.manifest import (
    MANIFEST,
    EncodeJob,
    Manifest,
    check_shards,
    naming,
    read_manifest,
    with_checksum,
    without_checksum,
)
from fastlm.corpus.ray_encoding import encoded_on_cluster
from fastlm.corpus.read import Blocks, Source
from fastlm.corpus.shard_formats import FORMATS, Format, ids_dtype
from fastlm.corpus.shard_writer import Shard, SplitWriter, UnfinishedShard
from fastlm.corpus.text_blocks import BEGINNING, Position
from fastlm.files.atomic import sync_directory, write_files
from fastlm.files.reading import read_json
from fastlm.files.schema import Count, parse
from fastlm.threads import map_behind, map_in_order, thread_count
from fastlm.tokenizer import OnSpecial, Tokenizer

Progress: TypeAlias = Callable[[int, int | None], None]
"""Called with the bytes of the source that were read, and with their total, or None where that is unknown."""

UNFINISHED = "unfinished"
STATE = "state.json"

CHECKPOINT_SECONDS = 10.0
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
    progress: Progress | None = None,
    eot: str | None = None,
    validation: float | None = None,
) -> Manifest:
    """Encodes a corpus to shards in a folder, with a manifest, in bounded memory.

    The shards do not depend on the engine, the number of threads, or where a run was interrupted. A file with the name
    of a shard is always whole. A run that fails before its first checkpoint leaves nothing.

    Args:
        tokenizer: The tokenizer.
        source: A path, a Corpus, a Hugging Face dataset, or an iterable of documents and path objects.
        out: The folder. It must be missing or empty unless `resume` is given.
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
            RAY_ADDRESS names, or else one on this machine. This machine writes the shards.
        progress: Called after each block that was written.
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
    if progress is not None and not callable(progress):
        raise TypeError(f"progress must be callable, got {type(progress).__name__}")
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
    folder = _JobFolder(Path(out), job)
    if resume and (finished := folder.finished()):
        return finished
    try:
        state = folder.begin(resume)
        blocks.start = state.position
        blocks.skipped.counts.update(state.skipped)
        consumed = state.consumed
        parts: Iterable[EncodedBlock]
        if engine == "local":
            threads, waiting = thread_count(num_threads), MAX_WAITING
            parts = map_in_order(encoder, blocks, threads)
        else:
            threads, waiting = 2, 1  # one thread fetches and one writes; each part is many blocks
            parts = encoded_on_cluster(encoder, blocks, num_threads)

        def write(encoded: EncodedBlock) -> int:
            nonlocal consumed
            consumed += encoded.consumed
            folder.write(encoded, consumed)
            encoded.release()
            return consumed

        for done in map_behind(write, parts, threads, waiting):
            if progress:
                progress(done, blocks.total_bytes)
        return folder.finish(dict(blocks.skipped.counts))
    except BaseException:
        folder.abandon()
        raise


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


@dataclass
class _State:
    """The progress of a job.

    Attributes:
        position: The read position of the source.
        consumed: Stored bytes that were read.
        skipped: The number of skipped records, by reason.
    """

    position: Position = BEGINNING
    consumed: int = 0
    skipped: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class _SplitContent:
    shards: list[Shard]
    under_way: UnfinishedShard | None


@dataclass(frozen=True)
class _StateContent:
    """The content of state.json."""

    job: dict[str, Any]
    splits: dict[str, _SplitContent]
    position: tuple[Count, Count, Count, Count]
    consumed: Count
    skipped: dict[str, Count]


class _JobFolder:
    """The folder of a job, from its beginning, or from its last checkpoint, to its manifest."""

    def __init__(self, folder: Path, job: EncodeJob) -> None:
        self._folder, self._unfinished, self._job = folder, folder / UNFINISHED, job
        self._writers = {
            split: SplitWriter(self._unfinished, split, job.format, np.dtype(job.dtype), job.shard_tokens)
            for split in job.splits
        }
        self._state = _State()
        self._moved = dict.fromkeys(job.splits, 0)  # whole shards that have their names
        self._checkpointed = time.monotonic()
        self._made: list[Path] = []  # folders to remove if the run fails before its first checkpoint

    def finished(self) -> Manifest | None:
        """The manifest, if there is one. Raises ValueError where it belongs to another job."""
        if not (self._folder / MANIFEST).exists():
            return None
        manifest = read_manifest(self._folder)
        self._job.check_same(manifest.job, self._folder)
        shutil.rmtree(self._unfinished, ignore_errors=True)
        return manifest

    def begin(self, resume: bool) -> _State:
        """Makes the folder or, with `resume`, restores its last checkpoint."""
        if resume and (self._unfinished / STATE).exists():
            self._restore()
            return self._state
        entries = os.listdir(self._folder) if self._folder.exists() else []
        if entries and not (resume and entries == [UNFINISHED]):
            held = f"The folder holds {sorted(entries)[0]!r}" + (" and no run to resume" if resume else "")
            raise FileExistsError(errno.EEXIST, held, str(self._folder))
        shutil.rmtree(self._unfinished, ignore_errors=True)
        self._made = [path for path in (self._unfinished, self._folder) if not path.exists()]
        self._unfinished.mkdir(parents=True)
        self._write_state()
        return self._state

    def write(self, encoded: EncodedBlock, consumed: int) -> None:
        """Writes the ids of a block, and makes a checkpoint if a shard is whole or the last checkpoint is old."""
        for split, (ids, ends) in encoded.splits.items():
            self._writers[split].write(ids, ends)
        self._state = _State(encoded.end, consumed, dict(encoded.skipped))
        whole = any(len(writer.shards) > self._moved[split] for split, writer in self._writers.items())
        if whole or time.monotonic() - self._checkpointed >= CHECKPOINT_SECONDS:
            self._checkpoint()

    def finish(self, skipped: dict[str, int]) -> Manifest:
        """Makes the last shards whole and writes the manifest."""
        if not self._state.position.document:
            raise ValueError(f"the input holds no text{f'; skipped: {skipped}' if skipped else ''}")
        self._state.skipped = skipped
        for writer in self._writers.values():
            writer.finish()
        self._checkpoint()
        splits = {split: writer.shards for split, writer in self._writers.items()}
        manifest = Manifest(self._job, self._state.position.document, splits, skipped)
        write_files(self._folder, {MANIFEST: f"{json.dumps(manifest.to_json(), indent=1)}\n".encode()})
        shutil.rmtree(self._unfinished)
        return manifest

    def abandon(self) -> None:
        """Closes all files, and removes the folders of a run that made no checkpoint."""
        for writer in self._writers.values():
            writer.close()
        with contextlib.suppress(OSError):
            for path in self._made:
                if path == self._unfinished:
                    shutil.rmtree(path)
                else:
                    path.rmdir()

    def _checkpoint(self) -> None:
        self._write_state()
        self._made = []
        for split, writer in self._writers.items():
            for shard in writer.shards[self._moved[split] :]:
                for name in shard.sha256:
                    os.replace(self._unfinished / name, self._folder / name)
            self._moved[split] = len(writer.shards)
        sync_directory(self._folder)
        self._remove_others()
        self._checkpointed = time.monotonic()

    def _write_state(self) -> None:
        splits = {}
        for split, writer in self._writers.items():
            shard = writer.checkpoint()
            shards = [asdict(shard) for shard in writer.shards]
            splits[split] = {"shards": shards, "under_way": asdict(shard) if shard else None}
        state = {"job": self._job.to_json(), "splits": splits, **asdict(self._state)}
        write_files(self._unfinished, {STATE: json.dumps(with_checksum(state)).encode()})

    def _restore(self) -> None:
        path = self._unfinished / STATE
        content = read_json(path)
        with naming(path):
            found = parse(_StateContent, without_checksum(parse(dict[str, Any], content)))
            job = EncodeJob.from_json(found.job, "job")
        self._job.check_same(job, self._folder)
        position = Position(*found.position)
        shards = {split: content.shards for split, content in found.splits.items()}
        unfinished = {split: content.under_way for split, content in found.splits.items() if content.under_way}
        with naming(path):
            check_shards(job, shards, position.document, unfinished)
            if all("size" in file for file in job.inputs) and position.item > len(job.inputs):
                raise ValueError(f"position[0]: expected at most {len(job.inputs)} files, found {position.item}")
        self._state = _State(position, found.consumed, found.skipped)
        for split, writer in self._writers.items():
            writer.shards = shards[split]
            self._moved[split] = len(shards[split])
            if split in unfinished:
                writer.resume(unfinished[split])
        for writer in self._writers.values():
            for name in (name for shard in writer.shards for name in shard.sha256):
                if not (self._folder / name).exists():
                    os.replace(self._unfinished / name, self._folder / name)
        sync_directory(self._folder)
        self._remove_others()

    def _remove_others(self) -> None:
        """Removes files of the folder of unfinished shards that no writer has open."""
        kept = {STATE} | {path.name for writer in self._writers.values() for path in writer.paths}
        for name in os.listdir(self._unfinished):
            if name not in kept:
                os.unlink(self._unfinished / name)
