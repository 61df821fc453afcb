"""Parts of an encode job on a cluster: the ids of one partition of the corpus.

Part N is three files in the folder of unfinished files: the ids, the ends of documents in them, and a description,
which is written last. Several workers may write the same part, because a worker that is out of reach is replaced. Each
writes to a folder of its own, and a file takes its name when it is whole. All of them write the same bytes.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import tempfile
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fastlm._types import Int64Array
from fastlm.corpus.block_encoder import BlockEncoder, Ids
from fastlm.corpus.job_storage import CLUSTER
from fastlm.corpus.manifest import naming, with_checksum, without_checksum
from fastlm.corpus.partitions import Partition
from fastlm.corpus.read import Corpus
from fastlm.files.atomic import sync_directory, write_files
from fastlm.files.reading import read_json
from fastlm.files.remote import Location, RemotePath, temporary_folder
from fastlm.files.schema import Count, parse


@dataclass(frozen=True)
class EncodedPart:
    """The description of a part.

    Attributes:
        partition: The partition, as text.
        tokens: The number of ids of each block.
        documents: The number of documents that end in each block.
        crc32: The CRC-32 of the ids of each block.
        consumed: Stored bytes of the source that were read.
        skipped: The number of skipped records, by reason.
    """

    partition: str
    tokens: list[Count]
    documents: list[Count]
    crc32: list[Count]
    consumed: Count
    skipped: dict[str, Count]


def part_files(number: int) -> tuple[str, str, str]:
    """The names of the files of a part: of its ids, of its document ends, and of its description."""
    name = f"{CLUSTER}part-{number:06}"
    return f"{name}.ids", f"{name}.ends", f"{name}.json"


@contextlib.contextmanager
def staging_folder(folder: Location) -> Iterator[Path]:
    """A temporary folder for files that `publish` puts into a folder.

    Raises:
        OSError: The folder is not there.
    """
    if isinstance(folder, RemotePath):
        with temporary_folder() as directory:
            yield Path(directory)
        return
    if not folder.is_dir():
        hint = "A worker does not see this folder: all machines of the cluster must share the storage of the output"
        raise FileNotFoundError(errno.ENOENT, hint, str(folder))
    with tempfile.TemporaryDirectory(prefix=CLUSTER, dir=folder, ignore_cleanup_errors=True) as directory:
        yield Path(directory)


def publish(path: Path, folder: Location) -> None:
    """Gives a whole file its name in a folder."""
    if isinstance(folder, RemotePath):
        (folder / path.name).upload(path)
        return
    os.replace(path, folder / path.name)
    sync_directory(folder)


def write_description(folder: Location, name: str, content: dict[str, Any]) -> None:
    """Writes an object of JSON with its checksum."""
    write_files(folder, {name: json.dumps(with_checksum(content)).encode()})


def encode_part(
    encoder: BlockEncoder, corpus: Corpus, partition: Partition, number: int, folder: Location
) -> EncodedPart:
    """Encodes a partition and writes it as a part.

    Args:
        encoder: The encoder.
        corpus: Says how files are read.
        partition: The partition.
        number: The number of the part.
        folder: The folder of unfinished files.

    Raises:
        OSError, ValueError: As Blocks and BlockEncoder.
    """
    blocks = partition.blocks(corpus, encoder.splitter)
    ids_name, ends_name, name = part_files(number)
    tokens: list[int] = []
    documents: list[int] = []
    sums: list[int] = []
    done = consumed = 0
    with staging_folder(folder) as staging:
        with open(staging / ids_name, "wb") as ids_file, open(staging / ends_name, "wb") as ends_file:
            for block in blocks:
                ids, ends = encoder.encode(block)
                ids_file.write(ids.data)
                ends_file.write((ends + done).astype("<u8").data)
                tokens.append(len(ids))
                documents.append(len(ends))
                sums.append(zlib.crc32(ids.data))
                done, consumed = done + len(ids), consumed + block.consumed
                encoder.release(ids)
            for file in (ids_file, ends_file):
                file.flush()
                os.fsync(file.fileno())
        for path in (staging / ids_name, staging / ends_name):
            publish(path, folder)
    part = EncodedPart(_text_of(partition), tokens, documents, sums, consumed, dict(blocks.skipped.counts))
    write_description(folder, name, asdict(part))
    return part


def read_part(folder: Location, number: int) -> EncodedPart:
    """Reads the description of a part. Raises OSError, and ValueError that names a damaged file."""
    path = folder / part_files(number)[2]
    content = read_json(path)
    with naming(path):
        return parse(EncodedPart, without_checksum(parse(dict[str, Any], content)))


def finished_part(folder: Location, number: int, partition: Partition, present: set[str]) -> EncodedPart | None:
    """A part of an earlier run; None if it is missing or of another partition.

    Args:
        folder: The folder of unfinished files.
        number: The number of the part.
        partition: The partition of which it must be.
        present: The names of the files in the folder.
    """
    if not present.issuperset(part_files(number)):
        return None
    part = read_part(folder, number)
    return part if part.partition == _text_of(partition) else None


def read_part_ends(folder: Location, number: int, part: EncodedPart) -> Int64Array:
    """Where documents end among the ids of a part, int64 (n,). Raises ValueError that names a damaged file."""
    path = folder / part_files(number)[1]
    content = path.read_bytes()
    if len(content) != 8 * sum(part.documents):
        raise ValueError(f"{path}: {len(content)} bytes; expected {8 * sum(part.documents)}")
    return np.frombuffer(content, "<u8").astype(np.int64)


def read_part_block(path: Path, part: EncodedPart, block: int, start: int, dtype: np.dtype[Any]) -> Ids:
    """The ids of a block of a part.

    Args:
        path: The local file of the ids.
        part: The part.
        block: The number of the block.
        start: The number of ids before it.
        dtype: The dtype of the ids.

    Raises:
        OSError: The file cannot be read.
        ValueError: The file was changed. The message names it.
    """
    ids: Ids = np.fromfile(path, dtype, part.tokens[block], offset=start * dtype.itemsize)
    if len(ids) != part.tokens[block] or zlib.crc32(ids.data) != part.crc32[block]:
        raise ValueError(f"{path}: ids {start} to {start + part.tokens[block]} are not those that were written")
    return ids


def _text_of(partition: Partition) -> str:
    return json.dumps(asdict(partition))
