"""One function of many items, in threads, as the `num_threads` of tiktoken means it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from operator import length_hint
from typing import Any, TypeVar

from fastlm.encoding import batches
from fastlm.threads import thread_count

Item = TypeVar("Item")
Result = TypeVar("Result")

# a batch of fewer characters or ids in all is done before threads have started
SMALLEST_THREADED = 1 << 16


def mapped(function: Callable[[Item], Result], items: Iterable[Item], num_threads: Any) -> list[Result]:
    """function(item) of each item, in order. Raises ValueError for fewer threads than one."""
    if num_threads is not None and num_threads <= 0:
        raise ValueError("num_threads must be greater than 0")
    items = list(items)
    processors = thread_count(None)
    threads = processors if num_threads is None else min(int(num_threads), processors)
    if threads == 1 or len(items) < 2 or sum(map(length_hint, items)) < SMALLEST_THREADED:
        return list(map(function, items))
    return batches.map_items(function, items, threads)
