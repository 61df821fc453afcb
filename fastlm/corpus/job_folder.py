"""The folder of an encode job, from its beginning, or from its last checkpoint, to its manifest.

While a job runs, `unfinished/` in its folder holds the shards that are being written, and state.json. A checkpoint
first puts the written bytes on disk. Then it replaces state.json, which holds the read position of the source and the
length and sha256 of each shard that is being written. Only after that do whole shards move to their names.

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
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fastlm import interrupts
from fastlm.corpus.block_encoder import EncodedBlock
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
from fastlm.files.atomic import sync_directory, write_files
from fastlm.files.reading import read_json
from fastlm.files.schema import Count, parse

UNFINISHED = "unfinished"
STATE = "state.json"

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
    """The folder of a job, from its beginning, or from its last checkpoint, to its manifest."""

    def __init__(self, folder: Path, job: EncodeJob) -> None:
        self._folder, self._unfinished, self._job = folder, folder / UNFINISHED, job
        self._writers = {
            split: SplitWriter(self._unfinished, split, job.format, np.dtype(job.dtype), job.shard_tokens)
            for split in job.splits
        }
        self._state = State()
        self._moved = dict.fromkeys(job.splits, 0)  # whole shards that have their names
        self._checkpointed = time.monotonic()
        self._is_whole = False  # whether the writers hold exactly the text up to the position
        self._made: list[Path] = []  # folders to remove if the run fails before its first checkpoint

    def finished(self) -> Manifest | None:
        """The manifest, if there is one. Raises ValueError where it belongs to another job."""
        if not (self._folder / MANIFEST).exists():
            return None
        manifest = read_manifest(self._folder)
        self._job.check_same(manifest.job, self._folder)
        shutil.rmtree(self._unfinished, ignore_errors=True)
        return manifest

    def begin(self, resume: bool) -> State:
        """Makes the folder or, with `resume`, restores its last checkpoint."""
        if resume and (self._unfinished / STATE).exists():
            self._restore()
            self._is_whole = True
            return self._state
        entries = os.listdir(self._folder) if self._folder.exists() else []
        if entries and not (resume and entries == [UNFINISHED]):
            held = f"The folder holds {sorted(entries)[0]!r}" + (" and no run to resume" if resume else "")
            raise FileExistsError(errno.EEXIST, held, str(self._folder))
        shutil.rmtree(self._unfinished, ignore_errors=True)
        self._made = [path for path in (self._unfinished, self._folder) if not path.exists()]
        self._unfinished.mkdir(parents=True)
        self._write_state()
        self._is_whole = True
        return self._state

    def write(self, encoded: EncodedBlock, consumed: int) -> None:
        """Writes the ids of a block, and makes a checkpoint if a shard is whole or the last checkpoint is old."""
        self._is_whole = False
        for split, (ids, ends) in encoded.splits.items():
            self._writers[split].write(ids, ends)
        self._state = State(encoded.end, consumed, dict(encoded.skipped))
        self._is_whole = True
        whole = any(len(writer.shards) > self._moved[split] for split, writer in self._writers.items())
        if whole or time.monotonic() - self._checkpointed >= CHECKPOINT_SECONDS:
            self._checkpoint()

    def finish(self, skipped: dict[str, int]) -> Manifest:
        """Makes the last shards whole and writes the manifest. An interrupt waits until then."""
        with interrupts.deferred():
            return self._finish(skipped)

    def _finish(self, skipped: dict[str, int]) -> Manifest:
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

    def abandon(self, save: bool) -> None:
        """Ends the run before its manifest.

        Args:
            save: Make a checkpoint first, if all blocks were written as a whole.
        """
        if save and self._is_whole and self._state.position != BEGINNING:
            with interrupts.deferred(), contextlib.suppress(OSError):
                self._checkpoint()
        self.close()

    def close(self) -> None:
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
