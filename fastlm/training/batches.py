"""The batches of a run, read ahead in a thread.

B batch, T sequence.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import NamedTuple, Self

import torch
from torch import Tensor

from fastlm._types import Int64Array
from fastlm.training.config import TrainingConfig
from fastlm.training.data import window_starts
from fastlm.training.parallel import Processes
from fastlm.training.run_data import RunData


class Batch(NamedTuple):
    """Sequences that are computed at once.

    Attributes:
        inputs: Ids, (B, T), int64.
        targets: The id after each input, (B, T), int64.
        documents: Document numbers of the inputs, (B, T), int64; None if documents are ignored.
    """

    inputs: Tensor
    targets: Tensor
    documents: Tensor | None

    def to(self, device: torch.device) -> Batch:
        """Copies the batch to a device."""
        from_pinned = device.type == "cuda"
        return Batch(*(None if ids is None else ids.to(device, non_blocking=from_pinned) for ids in self))  # type: ignore[arg-type]

    def pinned(self) -> Batch:
        """Copies the batch to page-locked memory, from which a copy to CUDA does not wait."""
        return Batch(*(None if ids is None else ids.contiguous().pin_memory() for ids in self))  # type: ignore[arg-type]


def step_starts(config: TrainingConfig, data: RunData, step: int) -> Int64Array:
    """The starts of all windows of a step, (batch_size), a function of seed and step."""
    return window_starts(config.seed, step, config.batch_size, data.train.num_starts)


def read_batches(data: RunData, starts: Int64Array, size: int) -> list[Batch]:
    """Reads the windows at `starts` in batches of `size` sequences.

    Raises:
        ValueError: An id is not one of the model's.
    """
    number = data.numbering(data.train)
    batches = []
    for first, windows in zip(range(0, len(starts), size), torch.split(data.train.windows(starts), size), strict=True):
        inputs, targets = windows[:, :-1], windows[:, 1:]
        batches.append(Batch(inputs, targets, number(starts[first : first + size], inputs)))
    return batches


class BatchReader:
    """Reads the batches of steps in order, a few steps ahead of their use. The result does not depend on how many.

    Args:
        config: The configuration; `prefetch` is the number of steps to read ahead.
        data: The data.
        processes: The processes of the run; each reads its share.
        micro_batch_size: Sequences of a batch.
    """

    def __init__(self, config: TrainingConfig, data: RunData, processes: Processes, micro_batch_size: int):
        self._config, self._data, self._processes = config, data, processes
        self._micro_batch_size = micro_batch_size
        self._pins = processes.device.type == "cuda"

    def steps(self, first: int, last: int) -> Generator[tuple[int, list[Batch]], None, None]:
        """Yields the number and the batches of each step from `first` to `last`."""
        if not self._config.prefetch:
            yield from ((step, self.read(step)) for step in range(first, last + 1))
            return
        with _Ahead() as ahead:
            waiting: deque[Future[list[Batch]]] = deque()
            for step in range(first, last + 1):
                for following in range(step + len(waiting), min(step + self._config.prefetch, last) + 1):
                    waiting.append(ahead.submit(self.read, following))
                yield step, waiting.popleft().result()

    def read(self, step: int) -> list[Batch]:
        """Reads the batches of a step for this process."""
        starts = step_starts(self._config, self._data, step)[self._processes.rank :: self._processes.count]
        batches = read_batches(self._data, starts, self._micro_batch_size)
        return [batch.pinned() for batch in batches] if self._pins else batches


class _Ahead(ThreadPoolExecutor):
    """One thread, whose waiting work is cancelled at the end."""

    def __init__(self) -> None:
        super().__init__(1, thread_name_prefix="fastlm-batches")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.shutdown(cancel_futures=True)
