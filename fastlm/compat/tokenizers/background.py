"""Calls that an event loop awaits while a thread works."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from asyncio import Future

Result = TypeVar("Result")


def in_background(call: Callable[[], Result]) -> Future[Result]:
    """The call in a thread of the running event loop. Raises RuntimeError where none runs."""
    # the import takes longer than all of fastlm's own
    import asyncio

    return asyncio.get_running_loop().run_in_executor(None, call)
