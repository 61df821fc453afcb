"""Calls in a thread of a running event loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from asyncio import Future

Result = TypeVar("Result")


def in_thread(call: Callable[[], Result]) -> Future[Result]:
    """Runs the call in a thread of the running event loop. Raises RuntimeError if no event loop runs."""
    # the import takes longer than all of fastlm's own
    import asyncio

    return asyncio.get_running_loop().run_in_executor(None, call)
