"""A corpus to shards: the run as a whole, which may be killed at any moment and then goes on.

While it runs, `unfinished/` in its folder holds the shards under way and state.json. A checkpoint puts on disk what was
written, then replaces state.json, which says how far the input was read and how long each shard under way was then;
only after that do whole shards move to their names. So whatever moment a kill hits, state.json describes a state that
can be restored: shards it calls whole are moved if they were not, those under way are cut to their length, and what it
does not know of is removed.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TypeAlias

import numpy as np

from fastlm.cluster.connection import Engine, check_engine
from fastlm.corpus.block_encoder import TRAIN, VALIDATION, BlockEncoder, Encoded
from fastlm.corpus.manifest import MANIFEST, Job, Manifest, job_of, read_manifest, shard_of, unfinished_of
from fastlm.corpus.ray_encoding import encoded_on_cluster
from fastlm.corpus.read import Blocks, Corpus, Source
from fastlm.corpus.shard_formats import FORMATS, Format, ids_dtype
from fastlm.corpus.shard_writer import SplitWriter
from fastlm.corpus.text_blocks import BEGINNING, Position
from fastlm.files.atomic import sync_directory, write_files
from fastlm.files.reading import read_json
from fastlm.threads import map_behind, map_in_order, thread_count
from fastlm.tokenizer import OnSpecial, Tokenizer

Progress: TypeAlias = Callable[[int, int | None], None]
"""Called with the bytes of the input that were read so far, and of how many, where that is known."""

UNFINISHED = "unfinished"
STATE = "state.json"

CHECKPOINT_SECONDS = 10.0
# blocks whose ids may wait to be written: so many are encoded while a whole shard is put on disk
MOST_WAITING = 12


def encode_corpus(
    tokenizer: Tokenizer,
    source: Source,
    out: str | os.PathLike[str],
    *,
    format: Format = "npy",
    shard_tokens: int = 100_000_000,
    eot: str | None = None,
    on_special: OnSpecial = "token",
    validation: float = 0.0,
    resume: bool = False,
    num_threads: int | None = None,
    engine: Engine = "local",
    progress: Progress | None = None,
) -> Manifest:
    """Writes the ids of a corpus to shards in the folder `out`, with a manifest, in bounded memory.

    format: layout.FORMATS says what files a shard has. shard_tokens: the ids of each shard but the last; a shard of
    Megatron's ends with the document that fills it. eot: a token of the tokenizer's that is put after each document.
    on_special: as in Tokenizer.encode. validation: the share of documents that go to shards of their own, `val-*`;
    see encode.is_validation.
    resume: goes on with a run that was cut off, or begins one where there is none; for a source that is no file, the
    same documents must come again.
    engine: "ray" has files read and encoded by `num_threads` workers of a Ray cluster, by all its processors where that
    is None: the one that ray is connected to or that RAY_ADDRESS names, else one made on this machine, which is the one
    that writes the shards.

    The shards do not depend on the engine or the number of threads, nor on where a run was cut off. A file with the
    name of a shard is always whole. Where a run fails before its first checkpoint, nothing is left of it.

    Raises FileExistsError where `out` holds anything and `resume` is not given; ValueError where it holds a run with
    another tokenizer, other inputs or options, or that is finished with another; OSError for files that cannot be read
    or written; and what Blocks and BlockEncoder raise.
    """
    if not isinstance(shard_tokens, int) or isinstance(shard_tokens, bool) or shard_tokens < 1:
        raise ValueError(f"shard_tokens must be a number of at least 1, not {shard_tokens!r}")
    if not 0 <= validation < 1:
        raise ValueError(f"validation must be a share from 0 to less than 1, not {validation}")
    check_engine(engine)
    if format not in FORMATS:
        raise ValueError(f"format must be one of {', '.join(FORMATS)}, not {format!r}")
    if on_special not in ("token", "text", "raise"):
        raise ValueError(f"on_special must be 'token', 'text' or 'raise', not {on_special!r}")
    dtype = ids_dtype(format, len(tokenizer.vocabulary))
    eot_id = None if eot is None else _id_of(eot, tokenizer)
    encoder = BlockEncoder(tokenizer, dtype, on_special, eot_id, validation)
    blocks = Blocks(source, encoder.cutter)
    corpus = source if isinstance(source, Corpus) else Corpus(())
    job = Job(
        tokenizer=tokenizer.vocabulary.fingerprint,
        vocabulary_size=len(tokenizer.vocabulary),
        format=format,
        dtype=dtype.str,
        shard_tokens=shard_tokens,
        eot_id=eot_id,
        on_special=on_special,
        validation=validation,
        field=corpus.field,
        separator=corpus.separator,
        kind=corpus.kind,
        on_error=corpus.on_error,
        inputs=blocks.inputs,
    )
    run = _Run(Path(out), job)
    if resume and (finished := run.finished()):
        return finished
    try:
        state = run.begin(resume)
        blocks.start = state.position
        blocks.faults.counts.update(state.skipped)
        consumed = state.consumed
        if engine == "local":
            threads, waiting = thread_count(num_threads), MOST_WAITING
            parts = map_in_order(encoder, blocks, threads)
        else:
            threads, waiting = 2, 1  # one fetches and one writes; what comes is many blocks at a time
            parts = encoded_on_cluster(encoder, blocks, num_threads)

        def take(encoded: Encoded) -> int:
            nonlocal consumed
            consumed += encoded.consumed
            run.take(encoded, consumed)
            encoded.release()
            return consumed

        for done in map_behind(take, parts, threads, waiting):
            if progress:
                progress(done, blocks.total_bytes)
        return run.finish(dict(blocks.faults.counts))
    except BaseException:
        run.abandon()
        raise


def _id_of(token: str, tokenizer: Tokenizer) -> int:
    if token not in tokenizer.special_tokens:
        known = ", ".join(map(repr, tokenizer.special_tokens)) or "none"
        raise ValueError(f"eot must be a special token of the tokenizer, not {token!r}; it has {known}")
    return tokenizer.special_tokens[token]


@dataclass
class _State:
    """What a checkpoint says, beside the job."""

    position: Position = BEGINNING
    consumed: int = 0
    skipped: dict[str, int] = field(default_factory=dict)


class _Run:
    """The folder of a job, from its beginning or where it was cut off to its manifest."""

    def __init__(self, folder: Path, job: Job) -> None:
        self._folder, self._unfinished, self._job = folder, folder / UNFINISHED, job
        splits = (TRAIN, VALIDATION) if job.validation else (TRAIN,)
        self._writers = {
            split: SplitWriter(self._unfinished, split, job.format, np.dtype(job.dtype), job.shard_tokens)
            for split in splits
        }
        self._state = _State()
        self._moved = dict.fromkeys(splits, 0)  # whole shards that have their names
        self._checkpointed = time.monotonic()
        self._made: list[Path] = []  # folders to remove if nothing comes of it

    def finished(self) -> Manifest | None:
        """The manifest, if there is one. Raises ValueError where it is of another job."""
        if not (self._folder / MANIFEST).exists():
            return None
        manifest = read_manifest(self._folder)
        self._job.check_same(manifest.job, self._folder)
        shutil.rmtree(self._unfinished, ignore_errors=True)
        return manifest

    def begin(self, resume: bool) -> _State:
        """Makes the folder or, with `resume`, restores what its checkpoint says."""
        if resume and (self._unfinished / STATE).exists():
            self._restore()
            return self._state
        entries = os.listdir(self._folder) if self._folder.exists() else []
        if entries and not (resume and entries == [UNFINISHED]):
            held = f"The folder holds {sorted(entries)[0]!r}" + (" and no run to go on with" if resume else "")
            raise FileExistsError(errno.EEXIST, held, str(self._folder))
        shutil.rmtree(self._unfinished, ignore_errors=True)
        self._made = [path for path in (self._unfinished, self._folder) if not path.exists()]
        self._unfinished.mkdir(parents=True)
        self._write_state()
        return self._state

    def take(self, encoded: Encoded, consumed: int) -> None:
        """Writes the ids of a block, and makes a checkpoint where a shard is whole or it is time."""
        for split, (ids, ends) in encoded.splits.items():
            self._writers[split].write(ids, ends)
        self._state = _State(encoded.end, consumed, dict(encoded.skipped))
        whole = any(len(writer.shards) > self._moved[split] for split, writer in self._writers.items())
        if whole or time.monotonic() - self._checkpointed >= CHECKPOINT_SECONDS:
            self._checkpoint()

    def finish(self, skipped: dict[str, int]) -> Manifest:
        """Makes the last shards whole and writes the manifest."""
        if not self._state.position.document:
            raise ValueError(f"the input holds no text{f', and was skipped: {skipped}' if skipped else ''}")
        self._state.skipped = skipped
        for writer in self._writers.values():
            writer.finish()
        self._checkpoint()
        splits = {split: writer.shards for split, writer in self._writers.items()}
        manifest = Manifest(self._job, self._state.position.document, splits, skipped)
        write_files(self._folder, {MANIFEST: f"{json.dumps(manifest.as_json(), indent=1)}\n".encode()})
        shutil.rmtree(self._unfinished)
        return manifest

    def abandon(self) -> None:
        """Closes all files, and leaves nothing of a run that made no checkpoint."""
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
            under_way = writer.checkpoint()
            splits[split] = {
                "shards": [asdict(shard) for shard in writer.shards],
                "under_way": asdict(under_way) if under_way else None,
            }
        state = {"job": asdict(self._job), "splits": splits, **asdict(self._state)}
        write_files(self._unfinished, {STATE: json.dumps(state).encode()})

    def _restore(self) -> None:
        path = self._unfinished / STATE
        content = read_json(path)
        with _as_state(path):
            job = job_of(content["job"])
        self._job.check_same(job, self._folder)
        with _as_state(path):
            state = _State(Position(*content["position"]), content["consumed"], dict(content["skipped"]))
            if not all(isinstance(k, int) and k >= 0 for k in (*state.position, state.consumed)):
                raise ValueError("position and consumed must be counts")
            known = [content["splits"][split] for split in self._writers]
            shards = [[shard_of(shard) for shard in split["shards"]] for split in known]
            under_way = [split["under_way"] and unfinished_of(split["under_way"]) for split in known]
        self._state = state
        for writer, whole, shard in zip(self._writers.values(), shards, under_way, strict=True):
            writer.shards = whole
            self._moved[writer.split] = len(whole)
            if shard:
                writer.go_on(shard)
        for writer in self._writers.values():
            for name in (name for shard in writer.shards for name in shard.sha256):
                if not (self._folder / name).exists():
                    os.replace(self._unfinished / name, self._folder / name)
        sync_directory(self._folder)
        self._remove_others()

    def _remove_others(self) -> None:
        """Removes from the folder of unfinished shards what is none that is under way."""
        kept = {STATE} | {path.name for writer in self._writers.values() for path in writer.paths}
        for name in os.listdir(self._unfinished):
            if name not in kept:
                os.unlink(self._unfinished / name)


@contextlib.contextmanager
def _as_state(path: Path) -> Iterator[None]:
    """What is wrong in the content of a file, as a ValueError that names it."""
    try:
        yield
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{path}: not the state of a run: {type(error).__name__}: {error}") from None
