"""Ranks of a job on several machines: which part of a corpus each one reads, and the files that tell parts apart.

All ranks divide the corpus in the same way, from the sizes of its files and a few bytes around each place to cut, and
each takes consecutive partitions. So the parts, in the order of their ranks, are the corpus.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from fastlm.corpus.manifest import EncodeJob, naming, with_checksum, without_checksum
from fastlm.corpus.partitions import Partition, partitions_of
from fastlm.corpus.read import Blocks
from fastlm.corpus.text_blocks import BEGINNING
from fastlm.files.atomic import write_files
from fastlm.files.reading import read_json
from fastlm.files.remote import Location
from fastlm.files.schema import Count, Range, parse

PART = "part.json"
VERSION = 1
# partitions for each rank: ranks differ by about one of them
PARTITIONS = 8


@dataclass(frozen=True)
class Rank:
    """One of several processes that share a job.

    Attributes:
        rank: Its number, from 0.
        world_size: The number of processes.

    Raises:
        ValueError: The numbers are out of range.
    """

    rank: int
    world_size: int

    def __post_init__(self) -> None:
        for name, value in (("rank", self.rank), ("world_size", self.world_size)):
            if not isinstance(value, int) or isinstance(value, bool):
                raise TypeError(f"{name} must be an int, got {type(value).__name__}")
        if self.world_size < 1:
            raise ValueError(f"world_size must be at least 1, got {self.world_size}")
        if not 0 <= self.rank < self.world_size:
            raise ValueError(f"rank must be from 0 to {self.world_size - 1}, got {self.rank}")

    @property
    def folder(self) -> str:
        """The name of the folder of its part."""
        return f"part-{self.rank:05}-of-{self.world_size:05}"

    def blocks(self, blocks: Blocks) -> Blocks:
        """The blocks of its part of a corpus.

        Raises:
            ValueError: The source is not files.
            OSError: A file cannot be read.
        """
        size = max(1, (blocks.total_bytes or 0) // (PARTITIONS * self.world_size))
        mine = [part for part, rank in self._assigned(list(partitions_of(blocks, size))) if rank == self.rank]
        # item in the corpus -> name; a file may be in it twice
        names = {part.item + k: name for part in mine for k, name in enumerate(part.names)}
        files = [name if "://" in name else Path(name) for name in names.values()]
        start = mine[0].start if mine else BEGINNING
        stop = mine[-1].stop._replace(item=len(names) - 1) if mine and mine[-1].stop else None
        return Blocks(replace(blocks.corpus, inputs=files), blocks.splitter, start, stop)

    def _assigned(self, partitions: list[Partition]) -> list[tuple[Partition, int]]:
        """Each partition with its rank: the one in whose share of the bytes its middle is."""
        sizes = _sizes(partitions)
        total, done, assigned = max(1, sum(sizes)), 0, []
        for partition, size in zip(partitions, sizes, strict=True):
            middle = 2 * done + size
            assigned.append((partition, min(middle * self.world_size // (2 * total), self.world_size - 1)))
            done += size
        return assigned


def _sizes(partitions: list[Partition]) -> list[int]:
    """About the stored bytes of each partition. The parts of one file count the same."""
    parts_of: dict[int, int] = {}
    for partition in partitions:
        parts_of[partition.item] = parts_of.get(partition.item, 0) + 1
    return [sum(size or 1 for size in part.sizes) // parts_of[part.item] for part in partitions]


@dataclass(frozen=True)
class Part:
    """The content of part.json in the folder of a part.

    Attributes:
        version: The version of the file.
        rank: The number of the part.
        world_size: The number of parts.
        job: The job of which this is a part, as it is without ranks.
    """

    version: Count
    rank: Count
    world_size: Annotated[int, Range(1, 2**31)]
    job: dict[str, Any]


def write_part(folder: Location, rank: Rank, job: dict[str, Any]) -> None:
    """Writes part.json, or compares it with the one that is there.

    Raises:
        OSError: It cannot be written.
        ValueError: The folder has another part.
    """
    content = {"version": VERSION, "rank": rank.rank, "world_size": rank.world_size, "job": job}
    if (folder / PART).exists():
        found = read_part(folder)
        if (found.rank, found.world_size) != (rank.rank, rank.world_size) or found.job != json.loads(json.dumps(job)):
            raise ValueError(f"{folder / PART}: is of another job, or of part {found.rank} of {found.world_size}")
        return
    write_files(folder, {PART: f"{json.dumps(with_checksum(content), indent=1)}\n".encode()})


def read_part(folder: Location) -> Part:
    """Reads part.json. Raises OSError, and ValueError that names the file and the field that is wrong."""
    content = read_json(folder / PART)
    with naming(folder / PART):
        part = parse(Part, without_checksum(parse(dict[str, Any], content)))
        if part.version != VERSION:
            raise ValueError(f"version: expected {VERSION}, found {part.version}")
        Rank(part.rank, part.world_size)
    return part


def checked_parts(folders: list[Location]) -> list[tuple[Location, Part]]:
    """Reads the parts of one job and returns them in the order of their ranks.

    Raises:
        OSError: A file cannot be read.
        ValueError: A part is missing or given twice, or the parts are of several jobs.
    """
    if not folders:
        raise ValueError("give the folders of all parts")
    parts = sorted(((folder, read_part(folder)) for folder in folders), key=lambda pair: pair[1].rank)
    first_folder, first = parts[0]
    for folder, part in parts:
        if (part.world_size, part.job) != (first.world_size, first.job):
            raise ValueError(f"{folder / PART}: is a part of another job than {first_folder / PART}")
    ranks = [part.rank for _, part in parts]
    if missing := sorted(set(range(first.world_size)) - set(ranks)):
        raise ValueError(f"part {missing[0]} of {first.world_size} is missing")
    if len(ranks) > first.world_size:
        twice = next(rank for rank in ranks if ranks.count(rank) > 1)
        raise ValueError(f"part {twice} of {first.world_size} is given twice")
    return parts


def full_job(part: Part, folder: Location) -> EncodeJob:
    """The encode job of which this is a part. Raises ValueError that names the field that is wrong."""
    with naming(folder / PART):
        return EncodeJob.from_json(part.job, "job")
