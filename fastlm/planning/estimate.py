"""What a corpus would take on a cluster: a model of counting, merging and encoding, from rates of one core.

It assumes what `ASSUMPTIONS` say, and is no better than the rates and the law of growth that it is given.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from fastlm.bpe_training._count import ENTRY_BYTES, MAX_LOAD, SLOT_BYTES
from fastlm.bpe_training.memory_limit import merge_bytes
from fastlm.merging._words import HEADER_CELLS

# a table has just doubled: the most that an entry with its slots takes
TABLE_BYTES = ENTRY_BYTES + 2 * SLOT_BYTES / MAX_LOAD
# a record of a run beside its bytes: a count and a length
RECORD_BYTES = 10
ASSUMPTIONS = (
    "Text is not compressed, and lies in a way that every machine reads at the rate given.",
    "All cores are as fast as the one that was measured, together too; nothing fails or waits for a network.",
    "Distinct pretokens follow Heaps' law, drawn out from megabytes: other scripts, code and addresses bring more.",
    "Each core counts tasks into one table; tables are added up in pairs, in a tree.",
    "One core of one machine learns the merges, in a time in proportion to the distinct pretokens.",
    "Tables that do not fit in memory are written to disk and read once. What merging needs must fit in one machine.",
    "Shards are written at the rate of the disks: one run on a cluster writes on one machine, so parts have their own.",
    "Reading and computing overlap. Ids take 2 bytes up to 65,536 tokens, else 4.",
)


@dataclass(frozen=True)
class Growth:
    """Heaps' law: a text of `size` bytes has `distinct` pretokens, and a larger one by this power of size more."""

    size: float
    distinct: float
    exponent: float

    def at(self, size: float) -> float:
        """Distinct pretokens of a text of so many bytes."""
        return self.distinct * math.pow(size / self.size, self.exponent)


GROWTHS = {
    # fitted to excerpts of the corpora, split by GPT-2's pattern
    "tinystories": Growth(6.49e6, 8_719, 0.325),
    "openwebtext": Growth(4.68e6, 55_723, 0.570),
}


@dataclass(frozen=True)
class Rates:
    """What one core does in a second, and what text is like."""

    count_bytes: float
    """Bytes of text that are counted."""
    add_words: float
    """Distinct pretokens of one table that are added to another."""
    merge_words: float
    """Distinct pretokens from which all merges are learned."""
    encode_bytes: float
    """Bytes of text that are encoded to shards."""
    token_bytes: float
    """Bytes of text a token."""
    word_bytes: float
    """Bytes of a distinct pretoken, each counted once."""

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
                raise ValueError(f"{name} is {value!r}; expected a positive number")


@dataclass(frozen=True)
class Cluster:
    """Cores, of which a machine has `machine_cores`, `memory` bytes and a disk of `disk` bytes a second."""

    cores: int
    machine_cores: int
    memory: float
    disk: float

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if not value > 0:
                raise ValueError(f"{name} is {value!r}; expected a positive number")

    @property
    def machines(self) -> int:
        return math.ceil(self.cores / self.machine_cores)

    @property
    def total_disk(self) -> float:
        """Bytes a second of all disks."""
        return self.disk * self.machines


@dataclass(frozen=True)
class Plan:
    """Seconds of each phase, what bounds it, and bytes of memory and disk."""

    cores: int
    machines: int
    tasks: int
    distinct: float
    count_seconds: float
    count_bound: str
    add_seconds: float
    merge_seconds: float
    encode_seconds: float
    encode_bound: str
    spills: float
    table_memory: float
    """Of all tables on a machine."""
    merge_memory: float
    """Of the one machine that learns the merges."""
    fits: bool
    """Whether that machine has it."""
    tokens: float
    shard_bytes: float

    @property
    def train_seconds(self) -> float:
        return self.count_seconds + self.add_seconds + self.merge_seconds

    @property
    def train_bound(self) -> str:
        """The phase that takes longest, and what bounds it."""
        phases = [
            (self.count_seconds, f"counting ({self.count_bound})"),
            (self.add_seconds, "adding up (serial in part)"),
            (self.merge_seconds, "merging (serial)"),
        ]
        return max(phases)[1]

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "train_seconds": self.train_seconds, "train_bound": self.train_bound}


def plan(
    size: float, growth: Growth, rates: Rates, cluster: Cluster, vocab_size: int = 32_000, task_bytes: float = 1e9
) -> Plan:
    """What training and encoding a corpus of `size` bytes take, in tasks of `task_bytes`.

    Raises ValueError for a number that is not positive.
    """
    for name, value in (("size", size), ("vocab_size", vocab_size), ("task_bytes", task_bytes)):
        if not value > 0:
            raise ValueError(f"{name} is {value!r}; expected a positive number")
    tasks = math.ceil(size / task_bytes)
    tables = min(cluster.cores, tasks)
    # the core that gets most tasks decides
    most = min(math.ceil(tasks / cluster.cores) * task_bytes, size)
    distinct = growth.at(size)
    tokens = size / rates.token_bytes
    shard_bytes = tokens * (2 if vocab_size <= 65_536 else 4)

    on_machine = min(tables, cluster.machine_cores)
    of_table = growth.at(size / tables)
    capacity = cluster.memory / on_machine / TABLE_BYTES
    spills = 0.0
    if of_table > capacity:
        # a table is full after the bytes in which its capacity of distinct pretokens comes
        full_after = growth.size * (capacity / growth.distinct) ** (1 / growth.exponent)
        spills = size / full_after
    spilled = spills * capacity * (rates.word_bytes + RECORD_BYTES)

    counting, count_bound = _longer(most / rates.count_bytes, (size + 2 * spilled) / cluster.total_disk)
    encoding, encode_bound = _longer(most / rates.encode_bytes, (size + shard_bytes) / cluster.total_disk)
    merge_memory = merge_bytes(int((HEADER_CELLS + rates.word_bytes) * distinct))
    return Plan(
        cores=cluster.cores,
        machines=cluster.machines,
        tasks=tasks,
        distinct=distinct,
        count_seconds=counting,
        count_bound=count_bound,
        add_seconds=sum(_added(size, tables, growth)) / rates.add_words,
        merge_seconds=distinct / rates.merge_words,
        encode_seconds=encoding,
        encode_bound=encode_bound,
        spills=spills,
        table_memory=on_machine * min(of_table, capacity) * TABLE_BYTES,
        merge_memory=merge_memory,
        fits=merge_memory <= cluster.memory,
        tokens=tokens,
        shard_bytes=shard_bytes,
    )


def _longer(cores: float, disk: float) -> tuple[float, str]:
    return (cores, "cores") if cores >= disk else (disk, "disk")


def _added(size: float, tables: int, growth: Growth) -> Iterator[float]:
    """Distinct pretokens of the table that is added at each level of the tree, the last level first."""
    while tables > 1:
        size /= 2
        tables = math.ceil(tables / 2)
        yield growth.at(size)
