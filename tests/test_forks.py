"""Locks, cached properties and imports across a fork."""

import os
import threading

import pytest

from fastlm.forks import ForkSafeLock, cached_property, no_fork

pytestmark = pytest.mark.filterwarnings("ignore:This process.*fork:DeprecationWarning")


class Squares:
    def __init__(self) -> None:
        self.calls = 0
        self.entered = threading.Event()
        self.go_on = threading.Event()

    @cached_property
    def four(self) -> int:
        """2 squared."""
        self.calls += 1
        return 2 * 2

    @cached_property
    def slow(self) -> int:
        self.calls += 1
        self.entered.set()
        self.go_on.wait()
        return self.four + 5

    @cached_property
    def failing(self) -> int:
        self.calls += 1
        if self.calls == 1:
            raise ValueError("the first time")
        return 1


def child_of(function) -> int:
    """The exit status of a forked child that makes a call."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            status = 0 if function() else 2
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_a_cached_property_is_computed_once_and_kept():
    squares = Squares()
    assert (squares.four, squares.four, squares.calls) == (4, 4, 1)
    assert vars(squares)["four"] == 4
    assert Squares.four.__doc__ == "2 squared."
    del squares.four
    assert (squares.four, squares.calls) == (4, 2)


def test_a_cached_property_is_computed_again_after_an_error():
    squares = Squares()
    with pytest.raises(ValueError, match="the first time"):
        squares.failing  # noqa: B018 - reading it is the test
    assert squares.failing == 1


def test_threads_compute_a_cached_property_once():
    squares, found = Squares(), []
    threads = [threading.Thread(target=lambda: found.append(squares.slow)) for _ in range(8)]
    for thread in threads:
        thread.start()
    squares.entered.wait()
    squares.go_on.set()
    for thread in threads:
        thread.join()
    assert found == [9] * 8
    assert squares.calls == 2  # slow and four


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
class TestFork:
    def test_a_lock_of_another_thread_is_free_in_the_child(self):
        lock, held, release = ForkSafeLock(), threading.Event(), threading.Event()

        def hold() -> None:
            with lock:
                held.set()
                release.wait()

        def usable() -> bool:
            with lock, lock:
                return True

        thread = threading.Thread(target=hold)
        thread.start()
        held.wait()
        try:
            assert child_of(usable) == 0
        finally:
            release.set()
            thread.join()
        assert usable()

    def test_a_lock_of_the_forking_thread_stays_its_own(self):
        lock = ForkSafeLock()

        def refused_to_others() -> bool:
            taken = []
            thread = threading.Thread(target=lambda: taken.append(lock._lock.acquire(blocking=False)))
            thread.start()
            thread.join()
            return taken == [False]

        with lock:
            assert child_of(refused_to_others) == 0
        assert not refused_to_others()

    def test_a_property_that_another_thread_computes_is_computed_by_the_child(self):
        squares = Squares()
        thread = threading.Thread(target=lambda: squares.slow)
        thread.start()
        squares.entered.wait()

        def computed() -> bool:
            squares.go_on.set()
            return squares.slow == 9

        try:
            assert child_of(computed) == 0
        finally:
            squares.go_on.set()
            thread.join()

    def test_a_fork_waits_for_an_import_of_another_thread(self):
        begun, order = threading.Event(), []

        def import_slowly() -> None:
            with no_fork:
                begun.set()
                threading.Event().wait(0.1)
                order.append("imported")

        thread = threading.Thread(target=import_slowly)
        thread.start()
        begun.wait()
        assert child_of(lambda: order == ["imported"] and no_fork.acquire(blocking=False)) == 0
        thread.join()
        assert no_fork.acquire(blocking=False)
        no_fork.release()
