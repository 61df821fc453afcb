"""Locks and imports that a fork cannot leave behind in a state that blocks the child.

A forked child has a copy of the thread that forked only. A lock that another thread held stays held in the child, and
`functools.cached_property` of Python 3.11 holds one while it computes. The same is true of an import.
"""

from __future__ import annotations

import functools
import os
import threading
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

Value = TypeVar("Value")

no_fork = threading.RLock()
"""A fork waits until no other thread holds it. It is held during an import at first use and during calls of a library
that locks, because a child in which these stopped halfway could never make them again."""

_locks: weakref.WeakSet[ForkSafeLock] = weakref.WeakSet()


class ForkSafeLock:
    """A reentrant lock that is free in a forked child if another thread held it.

    The object that it guards must be usable at any moment: set each attribute once, after it is computed.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        _locks.add(self)

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def free(self) -> None:
        """Replaces the lock if a thread that no longer exists holds it."""
        if self._lock.acquire(blocking=False):
            self._lock.release()
        else:
            self._lock = threading.RLock()


class cached_property(functools.cached_property[Value]):  # noqa: N801 - named as the one in functools
    """A property that is computed at its first use, in one thread at a time, and kept in the object's `__dict__`."""

    def __init__(self, func: Callable[[Any], Value]) -> None:
        super().__init__(func)
        self.fork_safe_lock = ForkSafeLock()

    if not TYPE_CHECKING:

        def __get__(self, instance, owner=None):
            if instance is None:
                return self
            values, name = instance.__dict__, self.attrname
            with self.fork_safe_lock:
                if name not in values:
                    values[name] = self.func(instance)
                return values[name]


def _free_locks() -> None:
    for lock in _locks:
        lock.free()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=no_fork.acquire, after_in_parent=no_fork.release, after_in_child=no_fork.release)
    os.register_at_fork(after_in_child=_free_locks)
