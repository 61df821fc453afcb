"""Work in threads. The native core runs without the GIL, so they use all processors.

Threads are kept for later calls: to start one takes as long as a thread needs for 100 KB of text. They wait in a pool
that ends with the interpreter; a forked child makes its own.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

Item = TypeVar("Item")
Result = TypeVar("Result")

# threads beside those that call; where more calls ask for more at once, they have to wait or do without
MOST_THREADS = 256

_starting = threading.Lock()
_pool: ThreadPoolExecutor | None = None


def thread_count(num_threads: int | None) -> int:
    """The number of threads asked for, or of processors this process may use. Raises ValueError below 1."""
    if num_threads is None:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if not isinstance(num_threads, int) or isinstance(num_threads, bool):
        raise TypeError(f"num_threads must be an int, not {type(num_threads).__name__}")
    if num_threads < 1:
        raise ValueError(f"num_threads must be at least 1, not {num_threads}")
    return num_threads


def together(work: Callable[[int], object], threads: int) -> None:
    """work(0) here and work(1) to work(threads - 1) in other threads, at once; returns when all have ended.

    Where work(0) ends before another has begun, that one is left out: so `work` is to be what takes parts of something
    until none is left. Raises what a work raises, that of the smallest number first.
    """
    futures: list[Future[object]] = []
    # no thread can be had: this one does everything
    with contextlib.suppress(RuntimeError):
        futures.extend(_threads().submit(work, number) for number in range(1, threads))
    try:
        work(0)
    finally:
        begun = [future for future in futures if not future.cancel()]
        failed = [error for future in begun if (error := future.exception())]
    if failed:
        raise failed[0]


def map_in_order(function: Callable[[Item], Result], items: Iterable[Item], threads: int) -> Iterator[Result]:
    """function(item) of each item, in order, so many at a time; items are taken only as fast as results are.

    An exception of `function` or `items` ends the iteration after the calls under way.
    """
    if threads == 1:
        yield from map(function, items)
        return
    running: deque[Future[Result]] = deque()
    try:
        for item in items:
            running.append(_threads().submit(function, item))
            if len(running) > threads:
                yield running.popleft().result()
        while running:
            yield running.popleft().result()
    finally:
        for future in [future for future in running if not future.cancel()]:
            future.exception()


def _threads() -> ThreadPoolExecutor:
    global _pool
    with _starting:
        if _pool is None:
            from concurrent.futures import ThreadPoolExecutor

            _pool = ThreadPoolExecutor(MOST_THREADS, "fastlm")
        return _pool


def _forget() -> None:
    """In a forked child no thread of the parent runs, and one may have held the lock."""
    global _pool, _starting
    _pool, _starting = None, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
