"""Runs work in threads. The native core releases the GIL, so the threads use all processors.

Threads are kept for later calls, because starting a thread takes as long as encoding 100 KB of text. Each idle thread
waits on a separate queue. The thread that worked last is used first, because its data is still in its processor's
cache. The threads end with the interpreter. A forked child starts without threads.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from queue import SimpleQueue
from threading import Event, Semaphore, Thread
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from fastlm.forks import no_fork

if TYPE_CHECKING:
    from concurrent.futures import Future

Item = TypeVar("Item")
Result = TypeVar("Result")
Task: TypeAlias = "tuple[Future[Any], Callable[[Any], Any], Any]"

# the largest number of idle threads that are kept
MOST_IDLE = 64
# seconds after which a thread counts as one that cannot be started, and seconds between two looks whether it has ended
START_SECONDS = 30.0
LOOK_SECONDS = 0.01

_idle: list[Helper] = []
_helpers: set[Helper] = set()


class _Started(Event):
    """The event that Thread.start waits for.

    A new thread whose first allocation fails never sets it. The thread then ends, and drops the function that it was to
    call.

    Attributes:
        function: A weak reference to this function.
    """

    def __init__(self) -> None:
        super().__init__()
        self.function: Callable[[], object] = object

    def wait(self, timeout: float | None = None) -> bool:
        stop = time.monotonic() + START_SECONDS
        while not super().wait(LOOK_SECONDS):
            has_ended = self.function() is None
            if self.is_set():
                break
            if has_ended:
                raise RuntimeError("a new thread ended before it began to run")
            if time.monotonic() > stop:
                raise RuntimeError(f"a new thread did not begin to run in {START_SECONDS:g} seconds")
        return True


class Helper(Thread):
    """A thread that runs tasks, one after the other."""

    def __init__(self) -> None:
        super().__init__(name="fastlm", daemon=True)
        self._started = _Started()
        self.tasks: SimpleQueue[Task | None] = SimpleQueue()

    @property
    def _bootstrap(self) -> Callable[[], object]:
        """The function that Thread.start gives to the new thread, which alone refers to it."""
        function: Callable[[], object] = super()._bootstrap  # type: ignore[misc]
        self._started.function = weakref.ref(function)
        return function

    def run(self) -> None:
        while (task := self.tasks.get()) is not None:
            try:
                self._do(*task)
            except BaseException as error:  # noqa: BLE001 - without a result the caller would wait forever
                task[0].set_exception(error)
            del task  # an idle thread must not keep objects alive

    def _do(self, future: Future[Any], work: Callable[[Any], Any], item: Any) -> None:
        if not future.set_running_or_notify_cancel():
            return
        # the thread becomes idle before the caller gets the result, so that the caller's next call finds it
        try:
            result = work(item)
        except BaseException as error:  # noqa: BLE001 - the caller raises it
            self.rest()
            future.set_exception(error)
        else:
            self.rest()
            future.set_result(result)

    def rest(self) -> None:
        """Adds the thread to the idle ones, or ends it if there are MOST_IDLE of them."""
        if len(_idle) < MOST_IDLE:
            _idle.append(self)
        else:
            self.leave()

    def leave(self) -> None:
        """Ends the thread after the tasks in its queue."""
        _helpers.discard(self)
        self.tasks.put(None)


class Call:
    """A call work(item) in another thread. Raises RuntimeError if no thread can be started."""

    def __init__(self, work: Callable[[Any], Any], item: Any) -> None:
        with no_fork:
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
        """Cancels the call unless it has begun. Returns whether it was cancelled."""
        cancelled = self.future.cancel()
        if cancelled:
            self.helper.rest()
        return cancelled


def thread_count(num_threads: int | None) -> int:
    """Returns the number of threads to use.

    Args:
        num_threads: The number of threads, or None for the number of processors that this process may use.

    Raises:
        TypeError: The number is not an int.
        ValueError: The number is below 1.
    """
    if num_threads is None:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if not isinstance(num_threads, int) or isinstance(num_threads, bool):
        raise TypeError(f"num_threads must be an int, not {type(num_threads).__name__}")
    if num_threads < 1:
        raise ValueError(f"num_threads must be at least 1, not {num_threads}")
    return num_threads


def together(work: Callable[[int], object], threads: int) -> None:
    """Calls `work` in several threads at the same time, and waits until all calls have ended.

    The calling thread runs work(0). Calls that have not begun when work(0) ends are skipped, and fewer threads are used
    if no more can be started. So each call must take parts of a shared task until none is left.

    Args:
        work: Gets the number of its call, from 0 to threads - 1.
        threads: The largest number of threads, including the calling one.

    Raises:
        BaseException: The exception of work(0); if it has none, the one of the call with the smallest number.
    """
    calls: list[Call] = []
    try:
        with contextlib.suppress(RuntimeError):  # the threads that did start do all the work
            calls.extend(Call(work, number) for number in range(1, threads))
        work(0)
    finally:
        begun = [call.future for call in calls if not call.cancel()]
        failed = [error for future in begun if (error := future.exception())]
    if failed:
        raise failed[0]


def map_in_order(function: Callable[[Item], Result], items: Iterable[Item], threads: int) -> Iterator[Result]:
    """Yields function(item) of each item, in order, and computes several results at the same time.

    Items are consumed only as fast as results: at most threads + 1 items are ahead of the last result.

    Args:
        function: Called with one item, in any thread.
        items: The items. The calling thread iterates them.
        threads: The largest number of calls at the same time. With 1, the calling thread makes them.

    Raises:
        BaseException: An exception of `function` or `items`, after the running calls have ended.
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
    """Yields function(item) of each item, in order, and produces the next items at the same time.

    One other thread calls `function`, with one item at a time. The calling thread iterates `items` meanwhile.

    Args:
        function: Called with one item.
        items: The items.
        threads: With 1, the calling thread calls `function` too, before it produces the next item.
        ahead: The largest number of items whose results are outstanding when the next item is produced.

    Raises:
        BaseException: An exception of `function` or `items`, after the running call has ended.
    """
    if threads == 1:
        yield from map(function, items)
        return
    with no_fork:
        from concurrent.futures import Future

    ended = False
    call: Call | None = None
    tasks: SimpleQueue[tuple[Future[Result], Item] | None] = SimpleQueue()
    waiting: deque[Future[Result]] = deque()

    def in_turn(tasks: SimpleQueue[tuple[Future[Result], Item] | None]) -> None:
        nonlocal ended
        while (task := tasks.get()) is not None:
            future, item = task
            try:
                if ended:
                    raise RuntimeError("skipped after a call that failed")  # the caller gets that call's error first
                future.set_result(function(item))
            except BaseException as error:  # noqa: BLE001 - the caller raises it
                ended = True
                future.set_exception(error)
            del task, future, item  # an idle thread must not keep objects alive

    try:
        for item in items:
            call = call or Call(in_turn, tasks)
            waiting.append(Future())
            tasks.put((waiting[-1], item))
            while len(waiting) > ahead or (waiting and waiting[0].done()):
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        ended = True
        tasks.put(None)
        if call is not None and not call.cancel():
            call.future.exception()


def _end() -> None:
    """Waits for the threads: none may run while the interpreter destroys its objects."""
    helpers = list(_helpers)
    _idle.clear()
    for helper in helpers:
        helper.leave()
    for helper in helpers:
        helper.join()


def _forget() -> None:
    """Forgets the parent's threads, which do not run in a forked child."""
    _idle.clear()
    _helpers.clear()


atexit.register(_end)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
