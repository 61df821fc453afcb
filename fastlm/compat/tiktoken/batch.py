"""Applies a function to many items in threads, with the `num_threads` of tiktoken."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from operator import length_hint
from typing import Any, TypeVar

from fastlm.encoding import batches
from fastlm.threads import thread_count

Item = TypeVar("Item")
Result = TypeVar("Result")

# a batch with fewer characters or ids in total finishes before threads start
SMALLEST_THREADED = 1 << 16


def mapped(function: Callable[[Item], Result], items: Iterable[Item], num_threads: Any) -> list[Result]:
    """Applies a function to each item.

    Args:
        function: The function.
        items: The items.
        num_threads: Largest number of threads; None for the number of processors.

    Returns:
        The results, in the order of the items.

    Raises:
        ValueError: `num_threads` is less than 1.
    """
    if num_threads is not None and num_threads <= 0:
        raise ValueError("num_threads must be greater than 0")
    items = list(iter(items))  # an iterator does not use the length that a subclass of list reports
    processors = thread_count(None)
    threads = processors if num_threads is None else min(int(num_threads), processors)
    if threads == 1 or len(items) < 2 or sum(map(length_hint, items)) < SMALLEST_THREADED:
        return list(map(function, items))
    return batches.map_items(function, items, threads)
