"""Work in threads. The native core runs without the GIL, so they use all processors.

Threads are kept for later calls: to start one takes as long as it then needs for 100 KB of text. An idle one waits for
a queue of its own; the one that worked last is taken first, because the processor it ran on still holds what it knows.
They end with the interpreter, and a forked child begins without any.
"""

from __future__ import annotations

import atexit
import contextlib
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from queue import SimpleQueue
from threading import Semaphore, Thread
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

if TYPE_CHECKING:
    from concurrent.futures import Future

Item = TypeVar("Item")
Result = TypeVar("Result")
Task: TypeAlias = "tuple[Future[Any], Callable[[Any], Any], Any]"

# more idle threads than this are not kept
MOST_IDLE = 64

_idle: list[Helper] = []
_helpers: set[Helper] = set()


class Helper(Thread):
    """A thread that does tasks, one after the other."""

    def __init__(self) -> None:
        super().__init__(name="fastlm", daemon=True)
        self.tasks: SimpleQueue[Task | None] = SimpleQueue()

    def run(self) -> None:
        while (task := self.tasks.get()) is not None:
            self._do(*task)
            del task  # an idle thread keeps nothing alive

    def _do(self, future: Future[Any], work: Callable[[Any], Any], item: Any) -> None:
        if not future.set_running_or_notify_cancel():
            return
        # idle before the caller is told: its next call is to find this thread
        try:
            result = work(item)
        except BaseException as error:  # noqa: BLE001 - the caller raises it
            self.rest()
            future.set_exception(error)
        else:
            self.rest()
            future.set_result(result)

    def rest(self) -> None:
        """Waits among the idle ones, or ends where they are many."""
        if len(_idle) < MOST_IDLE:
            _idle.append(self)
        else:
            self.leave()

    def leave(self) -> None:
        """Ends after the tasks given so far."""
        _helpers.discard(self)
        self.tasks.put(None)


class Call:
    """work(item) in another thread. Raises RuntimeError where no thread can be had."""

    def __init__(self, work: Callable[[Any], Any], item: Any) -> None:
        from concurrent.futures import Future

        self.future: Future[Any] = Future()
        try:
            self.helper = _idle.pop()
        except IndexError:
            self.helper = Helper()
            self.helper.start()
            _helpers.add(self.helper)
        self.helper.tasks.put((self.future, work, item))

    def cancel(self) -> bool:
        """Whether it had not begun, and now never will."""
        cancelled = self.future.cancel()
        if cancelled:
            self.helper.rest()
        return cancelled


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
    calls: list[Call] = []
    try:
        with contextlib.suppress(RuntimeError):  # those there are do everything
            calls.extend(Call(work, number) for number in range(1, threads))
        work(0)
    finally:
        begun = [call.future for call in calls if not call.cancel()]
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
    running: deque[Call] = deque()
    places = Semaphore(threads)

    def in_place(item: Item) -> Result:
        with places:
            return function(item)

    try:
        for item in items:
            running.append(Call(in_place, item))
            if len(running) > threads:
                yield running.popleft().future.result()
        while running:
            yield running.popleft().future.result()
    finally:
        for call in [call for call in running if not call.cancel()]:
            call.future.exception()


def map_behind(function: Callable[[Item], Result], items: Iterable[Item], threads: int, ahead: int) -> Iterator[Result]:
    """function(item) of each item, in order, one at a time, while up to `ahead` items more are made; with one thread,
    before the next is.

    An exception of `function` or `items` ends the iteration after the call under way.
    """
    if threads == 1:
        yield from map(function, items)
        return
    from concurrent.futures import ThreadPoolExecutor

    ended = False

    def in_turn(item: Item) -> Result:
        nonlocal ended
        if ended:
            raise RuntimeError("left out after one that failed")  # which is told before this
        try:
            return function(item)
        except BaseException:
            ended = True
            raise

    waiting: deque[Future[Result]] = deque()
    thread = ThreadPoolExecutor(1)
    try:
        for item in items:
            waiting.append(thread.submit(in_turn, item))
            while len(waiting) > ahead or (waiting and waiting[0].done()):
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        ended = True
        thread.shutdown(cancel_futures=True)


def _end() -> None:
    """Waits for the threads: none is to run when the interpreter takes its objects apart."""
    helpers = list(_helpers)
    _idle.clear()
    for helper in helpers:
        helper.leave()
    for helper in helpers:
        helper.join()


def _forget() -> None:
    """In a forked child no thread of the parent runs."""
    _idle.clear()
    _helpers.clear()


atexit.register(_end)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
