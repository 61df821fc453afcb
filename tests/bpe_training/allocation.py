"""Allocations of the native modules that fail on request."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import numpy as np
import pytest

ALLOCATING = ("empty", "zeros", "full", "arange")
GROWING = ("grown", "grow_in_place")
Result = TypeVar("Result")


class Allocator:
    """Replaces what some modules allocate with; the k-th allocation raises MemoryError (k from 1; 0 for none)."""

    def __init__(self, patch: pytest.MonkeyPatch, modules: list[Any], k: int) -> None:
        self._left, self.failed = k, False
        for module in modules:
            patch.setattr(module, "np", self)
            for name in GROWING:
                if hasattr(module, name):
                    patch.setattr(module, name, self._failing(getattr(module, name)))

    def __getattr__(self, name: str) -> Any:
        found = getattr(np, name)
        return self._failing(found) if name in ALLOCATING else found

    def _failing(self, allocate: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            self._left -= 1
            if self._left == 0:
                self.failed = True
                raise MemoryError("refused by the test")
            return allocate(*arguments, **options)

        return call


def each_failure(modules: list[Any], make: Callable[[], Any]) -> Iterator[tuple[Any, Allocator, pytest.MonkeyPatch]]:
    """For k = 1, 2, ...: a new object, made without failures, and an allocator whose k-th allocation fails.

    The caller uses the object within the loop body. Ends after the first k for which nothing failed.
    """
    k = 0
    while True:
        k += 1
        made = make()
        with pytest.MonkeyPatch.context() as patch:
            allocator = Allocator(patch, modules, k)
            yield made, allocator, patch
        if not allocator.failed:
            assert k > 1, "nothing was allocated"
            return
