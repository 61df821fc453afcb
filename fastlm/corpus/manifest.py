"""manifest.json: what the shards of a folder are, and of what they were made."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np

from fastlm.corpus.shard_formats import FORMATS, Format, ids_suffix, map_ids
from fastlm.corpus.shard_writer import Shard, Unfinished
from fastlm.files.reading import read_json

MANIFEST = "manifest.json"
VERSION = 1

_NAME = re.compile(r"(train|val)-\d{5,}\.(bin|npy|index|idx)")


@dataclass(frozen=True)
class Job:
    """All that decides what shards hold; a run goes on only where it is the same.

    tokenizer: Vocabulary.fingerprint. vocabulary_size: every id is below it. inputs: name, size and version of each
    file, or of each source that is no file what is known of it. The other fields are arguments of encode_corpus and
    fields of Corpus.
    """

    tokenizer: str
    vocabulary_size: int
    format: Format
    dtype: str
    shard_tokens: int
    eot_id: int | None
    on_special: str
    validation: float
    field: str
    separator: str | None
    kind: str | None
    on_error: str
    inputs: list[dict[str, Any]]

    def check_same(self, other: Job, where: Path) -> None:
        """Raises ValueError that names the first field in which another job differs."""
        for name, mine in asdict(self).items():
            theirs = getattr(other, name)
            if name == "inputs" and mine != theirs and len(mine) == len(theirs):
                mine, theirs = next((a, b) for a, b in zip(mine, theirs, strict=True) if a != b)
            if mine != theirs:
                raise ValueError(f"{where}: cannot go on with another {name}: it was begun with {theirs}, not {mine}")


@dataclass(frozen=True)
class Manifest:
    """The shards of a folder by split. skipped: how much of the inputs was, by reason."""

    job: Job
    documents: int
    splits: dict[str, list[Shard]]
    skipped: dict[str, int]

    @property
    def tokens(self) -> int:
        """Number of ids in all shards."""
        return sum(shard.tokens for shards in self.splits.values() for shard in shards)

    def as_json(self) -> dict[str, Any]:
        """What manifest.json holds."""
        return {"version": VERSION, "tokens": self.tokens, **asdict(self)}

    def map(self, folder: Path, split: str = "train") -> list[np.ndarray[Any, np.dtype[Any]]]:
        """The ids of each shard of a split, memory-mapped. Raises OSError, ValueError that names a file not of its
        form or length, KeyError for a split that there is not."""
        if split not in self.splits:
            raise KeyError(f"no split {split!r}; there are {', '.join(self.splits)}")
        arrays = []
        for shard in self.splits[split]:
            name = next(name for name in shard.sha256 if name.endswith(ids_suffix(self.job.format)))
            array = map_ids(folder / name, self.job.format, np.dtype(self.job.dtype))
            if len(array) != shard.tokens:
                raise ValueError(f"{folder / name}: {len(array)} ids; expected {shard.tokens}")
            arrays.append(array)
        return arrays


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a folder. Raises OSError, ValueError that names the file and what is wrong in it."""
    path = folder / MANIFEST
    content = read_json(path)
    try:
        if content["version"] != VERSION:
            raise ValueError(f"version {content['version']!r}; expected {VERSION}")
        splits = {name: [shard_of(shard) for shard in shards] for name, shards in content["splits"].items()}
        counts = [content["documents"], *content["skipped"].values()]
        if not all(map(_is_count, counts)):
            raise ValueError("documents and skipped must be counts")
        return Manifest(job_of(content["job"]), content["documents"], splits, content["skipped"])
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: not a manifest of shards: {type(error).__name__}: {error}") from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def job_of(fields: Mapping[str, Any]) -> Job:
    """A job as asdict gave it. Raises ValueError or TypeError for what cannot be one."""
    job = Job(**fields)
    if job.format not in FORMATS:
        raise ValueError(f"format must be one of {', '.join(FORMATS)}, not {job.format!r}")
    if job.dtype not in ("<u2", "<u4", "<i4"):
        raise ValueError(f"dtype must be '<u2', '<u4' or '<i4', not {job.dtype!r}")
    if not _is_count(job.vocabulary_size) or not _is_count(job.shard_tokens) or not job.shard_tokens:
        raise ValueError("vocabulary_size and shard_tokens must be counts")
    return job


def shard_of(fields: Mapping[str, Any]) -> Shard:
    """A shard as asdict gave it. Raises ValueError or TypeError for what cannot be one."""
    shard = Shard(**fields)
    if not _is_count(shard.tokens) or not _is_count(shard.documents):
        raise ValueError("tokens and documents of a shard must be counts")
    names = list(cast("dict[Any, Any]", shard.sha256))
    if len(names) != 2 or not all(isinstance(name, str) and _NAME.fullmatch(name) for name in names):
        raise ValueError(f"the files of a shard cannot be {', '.join(map(repr, names))}")
    return shard


def unfinished_of(fields: Mapping[str, Any]) -> Unfinished:
    """A shard under way as asdict gave it. Raises ValueError or TypeError for what cannot be one."""
    shard = Unfinished(**fields)
    if not all(map(_is_count, (shard.number, shard.tokens, shard.documents))):
        raise ValueError("number, tokens and documents of a shard must be counts")
    return shard


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
