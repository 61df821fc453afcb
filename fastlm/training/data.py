"""Batches of token ids from memory-mapped files.

B batch, T sequence.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fastlm._types import Int64Array
from fastlm.forks import cached_property
from fastlm.training.token_source import TokenFile, check_ids, open_token_files


def get_batch(
    dataset: np.ndarray[Any, np.dtype[Any]], batch_size: int, context_length: int, device: str | torch.device
) -> tuple[Tensor, Tensor]:
    """Draws windows of a sequence of ids, at starts that torch's generator draws uniformly.

    Args:
        dataset: Integer ids, (n), in memory or memory-mapped.
        batch_size: B.
        context_length: T.
        device: Device of the result.

    Returns:
        Inputs and targets, (B, T) each, int64. Each target is the id after its input.

    Raises:
        ValueError: The dataset has fewer than T + 1 ids.
        TypeError: The dataset is not a sequence of integers.
        RuntimeError: torch cannot use the device.
    """
    if dataset.ndim != 1 or dataset.dtype.kind not in "iu":
        raise TypeError(f"dataset is {dataset.dtype} of shape {dataset.shape}; expected a sequence of integers")
    if len(dataset) <= context_length:
        raise ValueError(f"dataset has {len(dataset)} ids; a context of {context_length} needs at least one more")
    starts = torch.randint(len(dataset) - context_length, (batch_size,)).tolist()
    rows = np.stack([dataset[start : start + context_length + 1] for start in starts]).astype(np.int64)
    windows = torch.from_numpy(rows).to(device)  # (B, T + 1)
    return windows[:, :-1], windows[:, 1:]


def window_starts(seed: int, step: int, count: int, num_starts: int) -> Int64Array:
    """Draws the starts of the windows of a step, each uniform over 0 .. num_starts - 1.

    They depend on the arguments only, so a run can resume at any step without a sampler state. The generator is Philox
    (Salmon et al. 2011) with seed and step as its key; numpy keeps the raw numbers of a bit generator the same from
    version to version. Taken modulo `num_starts`, some starts are more probable by a part in 2^64 / num_starts.

    Args:
        seed: Seed of the run.
        step: The step.
        count: Number of windows.
        num_starts: Number of possible starts.

    Returns:
        The starts, (count), int64.
    """
    raw = np.random.Philox(key=[seed, step]).random_raw(count)
    return (raw % np.uint64(num_starts)).astype(np.int64)


def document_ids(token_ids: Tensor, end_of_text: int) -> Tensor:
    """Numbers the documents that ids belong to.

    The end-of-text token belongs to the document after it: the first token of a document is predicted from it, and it
    is itself predicted from the document before it.

    Args:
        token_ids: Ids, (B, T).
        end_of_text: Id of the token between documents.

    Returns:
        Document numbers, (B, T), int64.
    """
    return (token_ids == end_of_text).cumsum(-1)


@dataclass(frozen=True)
class FilePart:
    """Consecutive ids of a file.

    Attributes:
        file: The file.
        first, last: Positions in the file where the part begins and ends.
        offset: Number of ids of the whole range before the part.
    """

    file: TokenFile
    first: int
    last: int
    offset: int


class TokenFiles:
    """Files of ids as one sequence, memory-mapped. A window may begin in one file and end in the next.

    Args:
        paths: Folders that `fastlm encode` wrote, files, and globs of both; see TrainingConfig.train_data.
        vocab_size: Ids must be below it. `check` checks all ids, and `windows` those that it reads.
        context_length: T. There must be more than T ids.
        data_dtype: Dtype of .bin files of which nothing else tells the dtype.
        splits: Splits to read of folders, "train" or "val": the first that a folder has.

    Attributes:
        files: The files.

    Raises:
        OSError: A file cannot be read.
        ValueError: A file holds no ids, nothing tells their dtype, or there are too few.
    """

    def __init__(
        self,
        paths: Sequence[str],
        vocab_size: int,
        context_length: int,
        *,
        data_dtype: str | None = None,
        splits: Sequence[str] = ("train",),
    ):
        self.files = open_token_files(paths, splits, data_dtype)
        if not self.files:
            raise ValueError("no files of ids are given")
        self.vocab_size = vocab_size
        self.context_length = context_length
        self._ends = np.cumsum([len(file.ids) for file in self.files], dtype=np.int64)
        if len(self) <= context_length:
            raise ValueError(
                f"{', '.join(str(file.path) for file in self.files)}: {len(self)} ids; "
                f"a context_length of {context_length} needs at least {context_length + 1}"
            )

    def __len__(self) -> int:
        return int(self._ends[-1])

    @property
    def num_starts(self) -> int:
        """Number of positions where a window can start."""
        return len(self) - self.context_length

    @property
    def tokenizers(self) -> dict[str, str]:
        """Fingerprints of the tokenizers that made the ids, with the manifests that name them."""
        listings = [file.listing for file in self.files if file.listing is not None]
        return {listing.manifest.job.tokenizer: str(listing.manifest_path) for listing in listings}

    @property
    def end_of_text_ids(self) -> dict[int | None, str]:
        """Ids between documents (None for none), with the manifests that name them."""
        listings = [file.listing for file in self.files if file.listing is not None]
        return {listing.end_of_text_id: str(listing.manifest_path) for listing in listings}

    @property
    def has_document_ends(self) -> bool:
        """Whether all files are of folders, whose documents' ends are recorded."""
        return all(file.in_folder for file in self.files)

    def check(self) -> None:
        """Checks all ids against vocab_size, by manifests where possible, else by reading the files.

        Raises:
            ValueError: An id is not below vocab_size, or a file was changed after its manifest was written.
        """
        for file in self.files:
            file.check_ids(self.vocab_size)

    def windows(self, starts: Int64Array) -> Tensor:
        """Reads windows.

        Args:
            starts: Positions of the first ids, (B).

        Returns:
            T + 1 ids from each start, (B, T + 1), int64.

        Raises:
            ValueError: An id is not below vocab_size. The message names file and position.
        """
        rows = np.empty((len(starts), self.context_length + 1), np.int64)
        for row, start in zip(rows, starts.tolist(), strict=True):
            self._read(start, row)
        return torch.from_numpy(rows)

    def parts(self, start: int, stop: int) -> list[FilePart]:
        """The parts of the files that ids from `start` to `stop` of the whole sequence are in."""
        found = []
        for file, end in zip(self.files, self._ends.tolist(), strict=True):
            first = end - len(file.ids)
            if first < stop and start < end:
                begun = max(start, first)
                found.append(FilePart(file, begun - first, min(stop, end) - first, begun - start))
        return found

    def window_documents(self, starts: Int64Array) -> Tensor:
        """Numbers the documents of windows by their recorded ends.

        Args:
            starts: Positions of the first ids, (B).

        Returns:
            Document numbers, (B, T), int64.
        """
        positions = starts[:, None] + np.arange(self.context_length)
        return torch.from_numpy(np.searchsorted(self._document_ends, positions, "right").astype(np.int64))

    def spread(self, most: int | None) -> Int64Array:
        """Chooses windows that do not overlap: all, or `most` windows spread evenly. Returns their starts, int64."""
        count = (len(self) - 1) // self.context_length
        if most is None or most >= count:
            return np.arange(count, dtype=np.int64) * self.context_length
        return np.arange(most, dtype=np.int64) * count // most * self.context_length

    def fingerprint(self) -> str:
        """Identifies the ids: sha256 over the lengths and checksums of the files.

        A checksum is the manifest's, or sha256 of all ids of the file, which does not depend on their dtype.
        """
        digest = hashlib.sha256()
        for file in self.files:
            digest.update(f"{len(file.ids)} {file.digest}\n".encode())
        return digest.hexdigest()

    @cached_property
    def _document_ends(self) -> Int64Array:
        """The ends of documents in the whole sequence."""
        starts = (int(end) - len(file.ids) for end, file in zip(self._ends, self.files, strict=True))
        return np.concatenate([file.document_ends() + start for file, start in zip(self.files, starts, strict=True)])

    def _read(self, start: int, row: Int64Array) -> None:
        number = int(np.searchsorted(self._ends, start, "right"))
        at = start - (int(self._ends[number]) - len(self.files[number].ids))
        filled = 0
        while filled < len(row):
            file = self.files[number]
            part = file.ids[at : at + len(row) - filled]
            check_ids(part, self.vocab_size, file.path, at)
            row[filled : filled + len(part)] = part
            filled, number, at = filled + len(part), number + 1, 0
