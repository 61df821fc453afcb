"""Batches of token ids from memory-mapped files.

B batch, T sequence.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fastlm._types import Int64Array
from fastlm.corpus.shard_formats import map_npy

# of each file, what its fingerprint reads: so many stretches of so many ids
SAMPLES, SAMPLE_IDS = 64, 2048


def get_batch(
    dataset: np.ndarray[Any, np.dtype[Any]], batch_size: int, context_length: int, device: str | torch.device
) -> tuple[Tensor, Tensor]:
    """Windows of a sequence of ids, at starts drawn uniformly by torch's generator, and the ids that follow each.

    Args:
        dataset: Integer ids, (n), in memory or memory-mapped.
        batch_size: B.
        context_length: T.
        device: Where the result lies.

    Returns inputs and targets, (B, T), int64; each target is the id after its input. Raises ValueError for a dataset
    with fewer than T + 1 ids, TypeError for one that is not a sequence of integers; torch says what is wrong with a
    device.
    """
    if dataset.ndim != 1 or dataset.dtype.kind not in "iu":
        raise TypeError(f"dataset is {dataset.dtype} of shape {dataset.shape}; expected a sequence of integers")
    if len(dataset) <= context_length:
        raise ValueError(f"dataset has {len(dataset)} ids; a context of {context_length} needs at least one more")
    starts = torch.randint(len(dataset) - context_length, (batch_size,)).tolist()
    rows = np.stack([dataset[start : start + context_length + 1] for start in starts]).astype(np.int64)
    windows = torch.from_numpy(rows).to(device)  # (B, T + 1)
    return windows[:, :-1], windows[:, 1:]


def window_starts(seed: int, step: int, count: int, places: int) -> Int64Array:
    """Starts of the windows of a step, (count), each uniform over 0 .. places - 1.

    They depend on nothing else, so that a run goes on at any step without a state of the sampler: Philox (Salmon et al.
    2011) with seed and step as its key. numpy keeps the raw numbers of a bit generator the same from version to
    version; taken modulo `places` some are more probable than others by a part in 2^64 / places.
    """
    raw = np.random.Philox(key=[seed, step]).random_raw(count)
    return (raw % np.uint64(places)).astype(np.int64)


def document_ids(token_ids: Tensor, end_of_text: int) -> Tensor:
    """Numbers of the documents that ids, (B, T), belong to. The token between two documents begins the second: from it
    the first token of a document is predicted, and it is itself predicted from the document that it ends."""
    return (token_ids == end_of_text).cumsum(-1)


class TokenFiles:
    """Files of ids as one sequence, memory-mapped; a window may begin in one and end in the next.

    Args:
        paths: .npy of one dimension, uint16 or uint32, as `fastlm encode` writes; or .bin, raw little-endian uint16.
        vocab_size: Ids must be below it; each window is checked when it is read.
        context_length: T; the files must have more ids together.

    Raises OSError where a file cannot be read, ValueError that names it where it is none of these.
    """

    def __init__(self, paths: Sequence[str], vocab_size: int, context_length: int):
        self.paths = [Path(path) for path in paths]
        self.vocab_size = vocab_size
        self.context_length = context_length
        self._arrays = [_mapped(path) for path in self.paths]
        self._ends = np.cumsum([len(array) for array in self._arrays], dtype=np.int64)
        if len(self) <= context_length:
            raise ValueError(
                f"{', '.join(map(str, self.paths))}: {len(self)} ids; "
                f"a context_length of {context_length} needs at least {context_length + 1}"
            )

    def __len__(self) -> int:
        return int(self._ends[-1])

    @property
    def places(self) -> int:
        """Number of places where a window can start."""
        return len(self) - self.context_length

    def windows(self, starts: Int64Array) -> Tensor:
        """The T + 1 ids from each start on, (B, T + 1), int64.

        Raises ValueError that names file and position of an id that is not below vocab_size.
        """
        rows = np.empty((len(starts), self.context_length + 1), np.int64)
        for row, start in zip(rows, starts.tolist(), strict=True):
            self._read(start, row)
        return torch.from_numpy(rows)

    def spread(self, most: int | None) -> Int64Array:
        """Starts of windows that do not overlap, spread evenly; all that there are, or the most that are wanted."""
        count = (len(self) - 1) // self.context_length
        if most is None or most >= count:
            return np.arange(count, dtype=np.int64) * self.context_length
        return np.arange(most, dtype=np.int64) * count // most * self.context_length

    def fingerprint(self) -> str:
        """sha256 of the files' lengths and of stretches of ids spread over them; the same in either type of ids."""
        digest = hashlib.sha256()
        for array in self._arrays:
            digest.update(len(array).to_bytes(8, "little"))
            for start in np.linspace(0, max(0, len(array) - SAMPLE_IDS), SAMPLES).astype(np.int64).tolist():
                digest.update(array[start : start + SAMPLE_IDS].astype("<u4").tobytes())
        return digest.hexdigest()

    def _read(self, start: int, row: Int64Array) -> None:
        file = int(np.searchsorted(self._ends, start, "right"))
        at = start - (int(self._ends[file]) - len(self._arrays[file]))
        filled = 0
        while filled < len(row):
            part = self._arrays[file][at : at + len(row) - filled]
            if len(part) and (highest := int(part.max())) >= self.vocab_size:
                position = at + int(part.argmax())
                raise ValueError(
                    f"{self.paths[file]}: id {highest} at position {position}; "
                    f"expected ids below the model's vocab_size, {self.vocab_size}"
                )
            row[filled : filled + len(part)] = part
            filled, file, at = filled + len(part), file + 1, 0


def _mapped(path: Path) -> np.ndarray[Any, np.dtype[Any]]:
    if path.suffix == ".bin":
        size = path.stat().st_size
        if size == 0 or size % 2:
            raise ValueError(f"{path}: {size} bytes; expected uint16 ids, so an even number of them")
        return np.memmap(path, dtype="<u2", mode="r")
    array = map_npy(path)
    if array.ndim != 1 or array.dtype not in (np.uint16, np.uint32):
        raise ValueError(f"{path}: {array.dtype} of shape {array.shape}; expected a sequence of uint16 or uint32")
    return array
