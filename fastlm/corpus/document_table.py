"""A table of the documents in shards: the source of each, its position there, and its first id.

`SPLIT-documents.npy` in the folder of the shards is an array of ROW in the order of the ids. It is made by reading the
sources once more, without encoding, after the shards are whole. So it can be made for any shards whose sources are
unchanged files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from fastlm._types import Int64Array
from fastlm.corpus.block_encoder import is_validation
from fastlm.corpus.manifest import TRAIN, VALIDATION, EncodeJob, read_manifest
from fastlm.corpus.read import Blocks, Corpus
from fastlm.corpus.shard_formats import map_npy, read_ends, shard_files
from fastlm.corpus.shard_writer import Shard
from fastlm.corpus.shuffle import shuffle_order
from fastlm.corpus.sources import find_files
from fastlm.files.atomic import replacing
from fastlm.pretokenize.text_splitter import DOCUMENT_END
from fastlm.tokenizer import Tokenizer

ROW = np.dtype([("source", "<u4"), ("position", "<u8"), ("first_id", "<u8")])
"""source: index in the manifest's job.inputs. position: byte of the decompressed text, line of JSON lines counted from
1, or row counted from 0. first_id: number of ids of the split before the document."""

DocumentRows = np.ndarray[Any, np.dtype[Any]]


def table_path(folder: Path, split: str) -> Path:
    """The path of the table of a split."""
    return folder / f"{split}-documents.npy"


def write_document_tables(
    folder: Path, tokenizer: Tokenizer, progress: Callable[[int, int | None], None] | None = None
) -> list[Path]:
    """Writes the table of each split of a folder of shards.

    For shards in the order of the corpus a table is written row by row; for shuffled ones it is held in memory, 20
    bytes for each document.

    Args:
        folder: The folder, with its manifest.
        tokenizer: The tokenizer that made the ids.
        progress: Called with the bytes of the sources that were read, and with their total.

    Returns:
        The files.

    Raises:
        OSError: A file cannot be read or written.
        ValueError: The tokenizer is another one, or the sources are not files or have changed.

    Example:
        >>> import tempfile, fastlm
        >>> from fastlm.corpus.encode_corpus import encode_corpus
        >>> tokenizer = fastlm.train_bpe(["low lower lowest"], 260, ["<|endoftext|>"])
        >>> with tempfile.TemporaryDirectory() as name:
        ...     folder = Path(name)
        ...     (folder / "text.txt").write_text("low\\n\\nlower") and None
        ...     corpus = Corpus([folder / "text.txt"], separator="\\n\\n")
        ...     _ = encode_corpus(tokenizer, corpus, folder / "ids", end_of_text="<|endoftext|>")
        ...     _ = write_document_tables(folder / "ids", tokenizer)
        ...     print(read_document_table(folder / "ids", "train").tolist())
        [(0, 0, 0), (0, 5, 2)]
    """
    manifest = read_manifest(folder)
    job = manifest.job
    if tokenizer.vocabulary.fingerprint != job.tokenizer:
        raise ValueError(
            f"{folder}: the ids are of the tokenizer with fingerprint {job.tokenizer}; "
            f"expected this one, found {tokenizer.vocabulary.fingerprint}"
        )
    _check_sources(folder, job)
    total = sum(entry["size"] for entry in job.inputs)
    splits = {TRAIN: False, VALIDATION: True}
    counts = {split: sum(shard.documents for shard in shards) for split, shards in manifest.splits.items()}
    paths = []
    # one pass for each split, because two tables cannot take their names together
    for split, shards in manifest.splits.items():
        path = table_path(folder, split)
        first_ids = _first_ids(folder, split, shards, job)
        shuffled: list[DocumentRows] = []
        written = consumed = 0
        with replacing(path) as file:
            header = {"descr": np.lib.format.dtype_to_descr(ROW), "fortran_order": False, "shape": (counts[split],)}
            np.lib.format.write_array_header_1_0(file, header)
            documents = 0
            for source, positions, read in _positions(job, tokenizer):
                numbers = np.arange(documents, documents + len(positions))
                documents += len(positions)
                chosen = is_validation(numbers, job.validation_fraction) == splits[split]
                rows = np.empty(int(chosen.sum()), ROW)
                written += len(rows)
                if written > counts[split]:
                    break
                rows["source"], rows["position"] = source, positions[chosen]
                if job.shuffle is None:
                    rows["first_id"] = first_ids(len(rows))
                    file.write(rows.tobytes())
                else:
                    shuffled.append(rows)
                consumed += read
                if progress is not None and split == TRAIN:
                    progress(consumed, total)
            if written != counts[split]:
                raise ValueError(f"{folder}: the sources hold other documents than the {counts[split]} of {split!r}")
            if job.shuffle is not None and shuffled:
                rows = np.concatenate(shuffled)[shuffle_order(job.shuffle, written)]
                rows["first_id"] = first_ids(written)
                file.write(rows.tobytes())
        paths.append(path)
    return paths


def read_document_table(folder: Path, split: str) -> DocumentRows | None:
    """Maps the table of a split into memory; None if there is none.

    Raises:
        OSError: The file cannot be read.
        ValueError: The file holds no rows, or rows of other shards.
    """
    path = table_path(folder, split)
    if not path.exists():
        return None
    table = map_npy(path)
    count = sum(shard.documents for shard in read_manifest(folder).splits.get(split, []))
    if table.dtype != ROW or table.shape != (count,):
        raise ValueError(f"{path}: {table.dtype} of shape {table.shape}; expected {count} rows of {ROW}")
    return table


def _check_sources(folder: Path, job: EncodeJob) -> None:
    """Refuses sources that are not the files that were encoded."""
    for entry in job.inputs:
        if entry.get("size") is None:
            raise ValueError(
                f"{folder}: a table of documents needs sources that can be read again; found {entry['name']!r}"
            )
        for found in find_files([entry["name"]]):
            if (found.name, found.size, found.version) != (entry["name"], entry["size"], entry["version"]):
                raise ValueError(
                    f"{entry['name']}: changed after it was encoded: {found.size} bytes of version {found.version}; "
                    f"expected {entry['size']} of version {entry['version']}"
                )


def _positions(job: EncodeJob, tokenizer: Tokenizer) -> Iterator[tuple[int, Int64Array, int]]:
    """For each block its source, the positions there of the documents that end in it, and the bytes that were read."""
    splitter = tokenizer.text_splitter if job.on_special == "text" else tokenizer.splitter
    for source, entry in enumerate(job.inputs):
        begun = 0  # where the document that continues in the next block begins
        for block in Blocks(Corpus([entry["name"]], **vars(job.reading)), splitter):
            if block.numbers is not None:
                positions = block.numbers
            else:
                ends = block.boundaries[block.boundaries[:, 2] == DOCUMENT_END, 1] + block.start.byte
                begun = begun if block.start.row else block.start.byte
                positions = np.concatenate([[begun], ends])[: len(ends)]
                begun = int(ends[-1]) if len(ends) else begun
            block.release()
            yield source, positions, block.consumed


def _first_ids(folder: Path, split: str, shards: list[Shard], job: EncodeJob) -> Callable[[int], Int64Array]:
    """A function that returns the first ids of the next documents of a split, whose number it is given."""
    # the ends before each document: the last one of a shard is needed for the first document that ends in the next
    known = np.zeros(1, np.int64)
    number = tokens = 0

    def take(count: int) -> Int64Array:
        nonlocal known, number, tokens
        while len(known) <= count and number < len(shards):
            ends = read_ends(folder / shard_files(split, number, job.format)[1]) + tokens
            known = np.concatenate([known, ends])
            tokens += shards[number].tokens
            number += 1
        found, known = known[:count], known[count:]
        return found

    return take
