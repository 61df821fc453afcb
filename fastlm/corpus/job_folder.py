"""An encode job, from its beginning, or from its last checkpoint, to its manifest.

While a job runs, `unfinished/` in its folder holds the shards that are being written, and state.json. A checkpoint
first puts the written bytes on disk. Then it replaces state.json, which holds the read position of the source and the
length and sha256 of each shard that is being written. Only after that do whole shards move to their names.

So state.json always describes a state that can be restored: whole shards are moved if they were not, the others are
compared with their sha256 and cut to their length, and files that it does not name are removed. See job_storage for
object stores.
"""

from __future__ import annotations

import contextlib
import json
import time
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from fastlm import interrupts
from fastlm.corpus.block_encoder import EncodedBlock
from fastlm.corpus.job_storage import storage_of
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
from fastlm.corpus.shard_writer import Shard, SplitWriter, UnfinishedShard
from fastlm.corpus.text_blocks import BEGINNING, Position
from fastlm.files.reading import read_json
from fastlm.files.remote import Location
from fastlm.files.schema import Count, parse

CHECKPOINT_SECONDS = 10.0


@dataclass
class State:
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
class _Content:
    """The content of state.json."""

    job: dict[str, Any]
    splits: dict[str, _SplitContent]
    position: tuple[Count, Count, Count, Count]
    consumed: Count
    skipped: dict[str, Count]


class JobFolder:
    """The folder of a job.

    Args:
        folder: The folder, of a file system or an object store.
        job: The job.
        may_be_empty: Whether the job may have no document.

    Attributes:
        writers: The writer of each split.
    """

    def __init__(self, folder: Location, job: EncodeJob, may_be_empty: bool = False) -> None:
        self._folder, self._job, self._may_be_empty = folder, job, may_be_empty
        self._storage = storage_of(folder)
        self.writers = {
            split: SplitWriter(self._storage.staging, split, job.format, np.dtype(job.dtype), job.shard_tokens)
            for split in job.splits
        }
        self._state = State()
        self._moved = dict.fromkeys(job.splits, 0)  # whole shards that have their names
        self._adopted: set[str] = set()  # files of whole shards that others have written
        self._checkpointed = time.monotonic()
        self._is_whole = False  # whether the writers hold exactly the text up to the position

    def finished(self) -> Manifest | None:
        """The manifest, if there is one. Raises ValueError where it belongs to another job."""
        if not (self._folder / MANIFEST).exists():
            return None
        manifest = read_manifest(self._folder)
        self._job.check_same(manifest.job, self._folder)
        self._storage.clear()
        self._storage.abandon()
        return manifest

    def begin(self, resume: bool) -> State:
        """Makes the folder or, with `resume`, restores its last checkpoint."""
        if resume and self._storage.has_state():
            self._restore()
        else:
            self._storage.begin(resume)
            self._checkpoint()
        self._is_whole = True
        return self._state

    def write(self, encoded: EncodedBlock, consumed: int) -> None:
        """Writes the ids of a block, and makes a checkpoint if a shard is whole or the last checkpoint is old."""
        self._is_whole = False
        for split, (ids, ends) in encoded.splits.items():
            self.writers[split].write(ids, ends)
        self._state = State(encoded.end, consumed, dict(encoded.skipped))
        whole = any(len(writer.shards) > self._moved[split] for split, writer in self.writers.items())
        if whole or time.monotonic() - self._checkpointed >= self._storage.pause * CHECKPOINT_SECONDS:
            self._checkpoint()
        self._is_whole = True

    def keep(self) -> None:
        """Says that workers of a cluster have written files, which stay if the run fails."""
        self._storage.keep()

    def adopt(self, shards: dict[str, list[Shard]], documents: int, consumed: int) -> None:
        """Takes over the last shards of the job, which others have written under their names.

        Args:
            shards: The shards of each split that follow the shards of its writer.
            documents: The number of documents in the whole source.
            consumed: Stored bytes that were read.
        """
        for split, added in shards.items():
            self.writers[split].finish()
            self.writers[split].shards += added
            self._adopted.update(name for shard in added for name in shard.sha256)
        self._state = State(Position(len(self._job.inputs), document=documents), consumed)

    def finish(self, skipped: dict[str, int]) -> Manifest:
        """Makes the last shards whole and writes the manifest. An interrupt waits until then."""
        with interrupts.deferred():
            return self._finish(skipped)

    def _finish(self, skipped: dict[str, int]) -> Manifest:
        if not self._state.position.document and not self._may_be_empty:
            raise ValueError(f"the input holds no text{f'; skipped: {skipped}' if skipped else ''}")
        self._state.skipped = skipped
        for writer in self.writers.values():
            writer.finish()
        self._checkpoint()
        splits = {split: writer.shards for split, writer in self.writers.items()}
        manifest = Manifest(self._job, self._state.position.document, splits, skipped)
        names = [name for shards in splits.values() for shard in shards for name in shard.sha256]
        self._storage.finish(f"{json.dumps(manifest.to_json(), indent=1)}\n".encode(), names)
        return manifest

    def abandon(self, save: bool) -> None:
        """Ends the run before its manifest.

        Args:
            save: Make a checkpoint first, if all blocks were written as a whole.
        """
        if save and self._is_whole and self._state.position != BEGINNING:
            with interrupts.deferred(), contextlib.suppress(OSError):
                self._checkpoint()
        for writer in self.writers.values():
            writer.close()
        self._storage.abandon()

    def _checkpoint(self) -> None:
        splits, whole = {}, []
        for split, writer in self.writers.items():
            shard = writer.checkpoint()
            shards = [asdict(shard) for shard in writer.shards]
            splits[split] = {"shards": shards, "under_way": asdict(shard) if shard else None}
            new = [name for shard in writer.shards[self._moved[split] :] for name in shard.sha256]
            whole += [name for name in new if name not in self._adopted]
        state = {"job": self._job.to_json(), "splits": splits, **asdict(self._state)}
        growing = [path for writer in self.writers.values() for path in writer.paths]
        self._storage.save(json.dumps(with_checksum(state)).encode(), whole, growing)
        self._moved = {split: len(writer.shards) for split, writer in self.writers.items()}
        self._checkpointed = time.monotonic()

    def _restore(self) -> None:
        path = self._storage.state_path
        content = read_json(path)
        with naming(path):
            found = parse(_Content, without_checksum(parse(dict[str, Any], content)))
            job = EncodeJob.from_json(found.job, "job")
        self._job.check_same(job, self._folder)
        position = Position(*found.position)
        shards = {split: content.shards for split, content in found.splits.items()}
        unfinished = {split: content.under_way for split, content in found.splits.items() if content.under_way}
        with naming(path):
            check_shards(job, shards, position.document, unfinished)
            if all("size" in file for file in job.inputs) and position.item > len(job.inputs):
                raise ValueError(f"position[0]: expected at most {len(job.inputs)} files, found {position.item}")
        self._state = State(position, found.consumed, found.skipped)
        growing: dict[str, int] = {}
        for split, shard in unfinished.items():
            growing |= self.writers[split].sizes(shard)
        self._storage.fetch(growing)
        for split, writer in self.writers.items():
            writer.shards = shards[split]
            self._moved[split] = len(shards[split])
            if split in unfinished:
                writer.resume(unfinished[split])
        self._storage.restore([name for split in shards for shard in shards[split] for name in shard.sha256], growing)
