"""Estimates the time and memory of training and encoding a corpus on a cluster, from the rates of one core.

The model makes the ASSUMPTIONS. It is as good as the rates and the growth law that it is given.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from fastlm._arguments import instance_of, positive_number
from fastlm.bpe_training._count import ENTRY_BYTES, MAX_LOAD, SLOT_BYTES
from fastlm.bpe_training.memory_limit import merge_bytes
from fastlm.merging._words import HEADER_CELLS

# maximum for an entry with its slots, when the table has just doubled its slots
TABLE_BYTES = ENTRY_BYTES + 2 * SLOT_BYTES / MAX_LOAD
# count and length in a record of a run file, without the bytes of the pretoken
RECORD_BYTES = 10
ASSUMPTIONS = (
    "Text is not compressed, and every machine reads it at the given rate.",
    "All cores are as fast as the measured one, also together; nothing fails or waits for a network.",
    "Distinct pretokens follow Heaps' law, extrapolated from a few MB; other scripts, code and addresses have more.",
    "Each core counts tasks into one table; tables are added up in pairs, in a tree.",
    "One core of one machine learns the merges; the time is proportional to the number of distinct pretokens.",
    "Tables that do not fit in memory are written to disk and read once. Learning merges must fit in one machine.",
    "An encode job runs on a Ray cluster: each core writes the ids of its partitions, then hashes and writes shards. "
    "So all ids are written twice and read once, on storage that is as fast as all disks together. Without Ray, one "
    "thread of one machine hashes and writes all ids.",
    "Reading and computing overlap. Ids take 2 bytes up to 65,536 tokens, otherwise 4.",
)


@dataclass(frozen=True)
class Growth:
    """Heaps' law: a text of `size` bytes has `distinct` distinct pretokens; the number grows as size^exponent."""

    size: float
    distinct: float
    exponent: float

    def at(self, size: float) -> float:
        """Distinct pretokens of a text of `size` bytes."""
        return self.distinct * math.pow(size / self.size, self.exponent)


GROWTHS = {
    # fitted to excerpts of the corpora, with GPT-2's pattern
    "tinystories": Growth(6.49e6, 8_719, 0.325),
    "openwebtext": Growth(4.68e6, 55_723, 0.570),
}


WRITE_BYTES = 290e6
"""Bytes of ids a second that one thread hashes and writes, measured on a core for which SHA-256 is most of the work."""


@dataclass(frozen=True)
class Rates:
    """The rates of one core, per second, and properties of the text.

    Attributes:
        count_bytes: Bytes of text counted.
        add_words: Distinct pretokens of one table added to another.
        merge_words: Distinct pretokens from which all merges are learned.
        encode_bytes: Bytes of text encoded to shards.
        token_bytes: Mean bytes of text of a token.
        word_bytes: Mean bytes of a distinct pretoken, each counted once.
        write_bytes: Bytes of ids hashed and written to shards.
    """

    count_bytes: float
    add_words: float
    merge_words: float
    encode_bytes: float
    token_bytes: float
    word_bytes: float
    write_bytes: float = WRITE_BYTES

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
                raise ValueError(f"{name} is {value!r}; expected a positive number")


@dataclass(frozen=True)
class Cluster:
    """A cluster of equal machines.

    Attributes:
        cores: Number of cores of all machines.
        machine_cores: Cores of a machine.
        memory: Memory of a machine in bytes.
        disk: Bytes a second that the disk of a machine reads or writes.
    """

    cores: int
    machine_cores: int
    memory: float
    disk: float

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            positive_number(value, name)

    @property
    def machines(self) -> int:
        """Number of machines."""
        return math.ceil(self.cores / self.machine_cores)

    @property
    def total_disk(self) -> float:
        """Bytes a second that all disks read or write."""
        return self.disk * self.machines


@dataclass(frozen=True)
class Plan:
    """The estimate for a corpus: seconds of each phase and its bottleneck, bytes of memory and disk.

    Attributes:
        cores: Number of cores.
        machines: Number of machines.
        tasks: Number of tasks that the corpus is divided into.
        distinct: Distinct pretokens.
        count_seconds: Time of counting.
        count_bound: The bottleneck of counting, "cores" or "disk".
        add_seconds: Time of adding up tables.
        merge_seconds: Time of learning merges.
        encode_seconds: Time of encoding to shards in one encode job.
        encode_bound: The bottleneck of encoding, "cores" or "disk".
        spills: How often a table is written to disk.
        table_memory: Bytes of all tables on a machine.
        merge_memory: Bytes that learning merges takes on one machine.
        fits: Whether that machine has this memory.
        tokens: Number of tokens of the corpus.
        shard_bytes: Bytes of all shards.
    """

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
    merge_memory: float
    fits: bool
    tokens: float
    shard_bytes: float

    @property
    def train_seconds(self) -> float:
        """Time of the whole training."""
        return self.count_seconds + self.add_seconds + self.merge_seconds

    @property
    def train_bound(self) -> str:
        """The phase that takes longest, and its bottleneck."""
        phases = [
            (self.count_seconds, f"counting ({self.count_bound})"),
            (self.add_seconds, "adding up (serial in part)"),
            (self.merge_seconds, "merging (serial)"),
        ]
        return max(phases)[1]

    def to_dict(self) -> dict[str, Any]:
        """The fields, and the properties of the whole training."""
        return {**asdict(self), "train_seconds": self.train_seconds, "train_bound": self.train_bound}


def plan(
    size: float, growth: Growth, rates: Rates, cluster: Cluster, vocab_size: int = 32_000, task_bytes: float = 1e9
) -> Plan:
    """Estimates training on a corpus and encoding it.

    Args:
        size: Bytes of text.
        growth: How distinct pretokens grow with the text.
        rates: The rates of one core.
        cluster: The machines.
        vocab_size: Number of tokens; it decides the bytes of an id.
        task_bytes: Bytes of text of a task.

    Raises:
        ValueError: A number is not positive.
    """
    instance_of(growth, Growth, "growth")
    instance_of(rates, Rates, "rates")
    instance_of(cluster, Cluster, "cluster")
    for name, value in (("size", size), ("vocab_size", vocab_size), ("task_bytes", task_bytes)):
        positive_number(value, name)
    tasks = math.ceil(size / task_bytes)
    tables = min(cluster.cores, tasks)
    # the core with the most tasks ends last
    most = min(math.ceil(tasks / cluster.cores) * task_bytes, size)
    distinct = growth.at(size)
    tokens = size / rates.token_bytes
    shard_bytes = tokens * (2 if vocab_size <= 65_536 else 4)

    on_machine = min(tables, cluster.machine_cores)
    of_table = growth.at(size / tables)
    capacity = cluster.memory / on_machine / TABLE_BYTES
    spills = 0.0
    if of_table > capacity:
        # bytes of text with as many distinct pretokens as a table holds
        full_after = growth.size * (capacity / growth.distinct) ** (1 / growth.exponent)
        spills = size / full_after
    spilled = spills * capacity * (rates.word_bytes + RECORD_BYTES)

    counting, count_bound = _longest(cores=most / rates.count_bytes, disk=(size + 2 * spilled) / cluster.total_disk)
    encoding, encode_bound = _longest(
        cores=most / rates.encode_bytes + shard_bytes / rates.write_bytes / cluster.cores,
        disk=(size + 3 * shard_bytes) / cluster.total_disk,
    )
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


def _longest(**seconds: float) -> tuple[float, str]:
    """The longest time and its name; the first one of equal times."""
    name = max(seconds, key=lambda name: seconds[name])
    return seconds[name], name


def _added(size: float, tables: int, growth: Growth) -> Iterator[float]:
    """Distinct pretokens of the table added at each level of the tree, the last level first."""
    while tables > 1:
        size /= 2
        tables = math.ceil(tables / 2)
        yield growth.at(size)
