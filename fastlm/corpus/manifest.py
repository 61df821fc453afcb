"""manifest.json: describes the shards of a folder and the job that made them.

The manifest and the state of an unfinished job carry a checksum of their own content, are read through one schema, and
must not contradict themselves. Files of shards have names that follow from split, number and format, so a manifest
cannot name a file outside its folder.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np

from fastlm.corpus.read_options import ReadOptions
from fastlm.corpus.shard_formats import Format, ids_dtype, map_ids, shard_files
from fastlm.corpus.shard_writer import Shard, UnfinishedShard
from fastlm.files.checksum import sha256_of_json
from fastlm.files.reading import read_json
from fastlm.files.remote import Location
from fastlm.files.schema import Count, Range, Sha256, parse

MANIFEST = "manifest.json"
VERSION = 2

TRAIN, VALIDATION = "train", "val"

# names of fields in manifests of version 1
_OLD_NAMES = {"eot_id": "end_of_text_id", "validation": "validation_fraction"}


@dataclass(frozen=True)
class EncodeJob:
    """Everything that decides the content of shards. A run resumes only with an equal job.

    Attributes:
        tokenizer: Vocabulary.fingerprint of the tokenizer.
        vocabulary_size: Every id is less than this.
        format: As in encode_corpus.
        dtype: The dtype of the ids, as NumPy writes it.
        shard_tokens: As in encode_corpus.
        end_of_text_id: The id that follows each document, or None.
        on_special: As in encode_corpus.
        validation_fraction: As in encode_corpus.
        reading: How the inputs are read.
        inputs: Name, size and version of each file, as Blocks.inputs gives them.
        shuffle: Seed of the order of the documents; None for the order of the corpus.
    """

    tokenizer: Sha256
    vocabulary_size: Annotated[int, Range(1, 2**32)]
    format: Format
    dtype: Literal["<u2", "<u4", "<i4"]
    shard_tokens: Annotated[int, Range(1, 2**63 - 1)]
    end_of_text_id: Count | None
    on_special: Literal["token", "text", "raise"]
    validation_fraction: Annotated[float, Range(0, 1)]
    reading: ReadOptions
    inputs: list[dict[str, Any]]
    shuffle: Annotated[int, Range(0, 2**64 - 1)] | None = None

    def __post_init__(self) -> None:
        dtype = ids_dtype(self.format, self.vocabulary_size).str
        if self.dtype != dtype:
            raise ValueError(f"dtype: expected {dtype!r} for {self.vocabulary_size} ids, found {self.dtype!r}")
        if self.end_of_text_id is not None and self.end_of_text_id >= self.vocabulary_size:
            raise ValueError(f"end_of_text_id: expected less than {self.vocabulary_size}, found {self.end_of_text_id}")

    @property
    def splits(self) -> tuple[str, ...]:
        """The names of the splits that the job makes."""
        return (TRAIN, VALIDATION) if self.validation_fraction else (TRAIN,)

    def to_json(self) -> dict[str, Any]:
        """The job as an object of JSON, with the reading options among the other fields."""
        content = asdict(self)
        reading, inputs, shuffle = (content.pop(name) for name in ("reading", "inputs", "shuffle"))
        order = {} if shuffle is None else {"shuffle": shuffle}
        return {**content, **reading, **order, "inputs": inputs}

    @classmethod
    def from_json(cls, content: Any, field: str) -> EncodeJob:
        """The job that `to_json` gave. Raises ValueError that names the field for other content."""
        content = parse(dict[str, Any], content, field)
        names = [option.name for option in fields(ReadOptions)]
        missing = next((name for name in names if name not in content), None)
        if missing:
            raise ValueError(f"{field}.{missing}: missing field")
        rest = {_OLD_NAMES.get(name, name): value for name, value in content.items() if name not in names}
        reading = parse(ReadOptions, {name: content[name] for name in names}, field)  # errors name the flat field
        return parse(cls, {**rest, "reading": asdict(reading)}, field)

    def check_same(self, other: EncodeJob, folder: Location) -> None:
        """Raises ValueError that names the first field in which another job differs."""
        mine, theirs = self.to_json(), other.to_json()
        for name in {**mine, **theirs}:
            value: Any = mine.get(name)
            found: Any = theirs.get(name)
            if name == "inputs" and value != found and len(value) == len(found):
                value, found = next((a, b) for a, b in zip(value, found, strict=True) if a != b)
            if value != found:
                raise ValueError(
                    f"{folder}: cannot resume with another {name}: the run began with {found}, not {value}"
                )


@dataclass(frozen=True)
class Manifest:
    """The shards of a folder.

    Attributes:
        job: What decided their content.
        documents: The number of documents.
        splits: The shards of each split.
        skipped: The number of skipped records, by reason.
    """

    job: EncodeJob
    documents: int
    splits: dict[str, list[Shard]]
    skipped: dict[str, int]

    @property
    def tokens(self) -> int:
        """The number of ids in all shards."""
        return sum(shard.tokens for shards in self.splits.values() for shard in shards)

    def to_json(self) -> dict[str, Any]:
        """The content of manifest.json."""
        content = {
            "version": VERSION,
            "tokens": self.tokens,
            "job": self.job.to_json(),
            "documents": self.documents,
            "splits": {split: [asdict(shard) for shard in shards] for split, shards in self.splits.items()},
            "skipped": self.skipped,
        }
        return with_checksum(content)

    def map(self, folder: Path, split: str = TRAIN) -> list[np.ndarray[Any, np.dtype[Any]]]:
        """The ids of each shard of a split, memory-mapped.

        Args:
            folder: The folder of the shards.
            split: "train" or "val".

        Raises:
            OSError: if a file cannot be read.
            ValueError: for a file of another format or length, or a link out of the folder, with its name.
            KeyError: for a split that the manifest lacks.
        """
        if split not in self.splits:
            raise KeyError(f"no split {split!r}; there are {', '.join(self.splits)}")
        return [self.map_shard(folder, split, number) for number in range(len(self.splits[split]))]

    def map_shard(self, folder: Path, split: str, number: int) -> np.ndarray[Any, np.dtype[Any]]:
        """The ids of one shard of a split, memory-mapped. Raises as `map`."""
        path = shard_path(folder, shard_files(split, number, self.job.format)[0])
        array = map_ids(path, self.job.format, np.dtype(self.job.dtype))
        if len(array) != self.splits[split][number].tokens:
            raise ValueError(f"{path}: {len(array)} ids; expected {self.splits[split][number].tokens}")
        return array


def shard_path(folder: Path, name: str) -> Path:
    """The path of a file of a shard. Raises ValueError for a link out of the folder."""
    path = folder / name
    if path.is_symlink() and not path.resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"{path}: a link to {str(path.resolve())!r}, which is outside the folder")
    return path


def read_manifest(folder: Location) -> Manifest:
    """Reads the manifest of a folder.

    Raises:
        OSError: if it cannot be read.
        ValueError: for a manifest that is damaged or contradicts itself, with the name of the file and of the field.
    """
    path = folder / MANIFEST
    content = read_json(path)
    with naming(path):
        content = parse(dict[str, Any], content, "")
        if content.get("version") not in (1, VERSION) or isinstance(content["version"], bool):
            raise ValueError(f"version: expected {VERSION}, found {content.get('version')!r}")
        if content["version"] == VERSION:
            content = without_checksum(content)
        return _manifest(content)


@dataclass(frozen=True)
class _Content:
    version: Count
    tokens: Count
    job: dict[str, Any]
    documents: Count
    splits: dict[str, list[Shard]]
    skipped: dict[str, Count]


def _manifest(content: dict[str, Any]) -> Manifest:
    found = parse(_Content, content)
    job = EncodeJob.from_json(found.job, "job")
    manifest = Manifest(job, found.documents, found.splits, found.skipped)
    check_shards(job, found.splits, found.documents)
    if found.tokens != manifest.tokens:
        raise ValueError(f"tokens: expected {manifest.tokens}, the sum over the shards, found {found.tokens}")
    return manifest


def check_shards(
    job: EncodeJob, splits: dict[str, list[Shard]], documents: int, unfinished: dict[str, UnfinishedShard] | None = None
) -> None:
    """Checks that the shards of a job agree with it and with each other.

    Args:
        job: The job.
        splits: The whole shards of each split.
        documents: The number of documents that ended in all shards.
        unfinished: The shard that is being written, of each split that has one.

    Raises:
        ValueError: names the first field that contradicts another.
    """
    unfinished = unfinished or {}
    if set(splits) != set(job.splits):
        raise ValueError(f"splits: expected {', '.join(job.splits)}, found {', '.join(map(repr, splits)) or 'none'}")
    for split, shards in splits.items():
        for number, shard in enumerate(shards):
            field = f"splits.{split}[{number}]"
            files = shard_files(split, number, job.format)
            if set(shard.sha256) != set(files):
                found = ", ".join(map(repr, shard.sha256)) or "none"
                raise ValueError(f"{field}.sha256: expected the files {', '.join(files)}, found {found}")
            is_last = number == len(shards) - 1 and split not in unfinished
            _check_tokens(job, shard.tokens, is_last, f"{field}.tokens")
        if split in unfinished and unfinished[split].number != len(shards):
            raise ValueError(f"splits.{split}: shard {unfinished[split].number} follows {len(shards)} whole shards")
    parts: list[Shard | UnfinishedShard] = [
        *(shard for shards in splits.values() for shard in shards),
        *unfinished.values(),
    ]
    if (total := sum(part.documents for part in parts)) != documents:
        raise ValueError(f"documents: expected {total}, the sum over the shards, found {documents}")


def _check_tokens(job: EncodeJob, tokens: int, is_last: bool, field: str) -> None:
    if job.format == "megatron":
        if not is_last and tokens < job.shard_tokens:
            raise ValueError(f"{field}: expected at least {job.shard_tokens}, found {tokens}")
    elif tokens > job.shard_tokens or (not is_last and tokens != job.shard_tokens):
        raise ValueError(f"{field}: expected {'at most ' if is_last else ''}{job.shard_tokens}, found {tokens}")


def with_checksum(content: dict[str, Any]) -> dict[str, Any]:
    """An object of JSON with the sha256 of its other fields."""
    return {**content, "sha256": sha256_of_json(content)}


def without_checksum(content: dict[str, Any]) -> dict[str, Any]:
    """The fields that `with_checksum` was given. Raises ValueError where the sha256 is missing or differs."""
    rest = {name: value for name, value in content.items() if name != "sha256"}
    expected = sha256_of_json(rest)
    if content.get("sha256") != expected:
        raise ValueError(f"sha256: the content has {expected}, found {content.get('sha256')!r}: the file was changed")
    return rest


@contextlib.contextmanager
def naming(path: Location) -> Iterator[None]:
    """Adds the name of a file to a ValueError."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
