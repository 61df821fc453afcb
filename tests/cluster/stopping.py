"""Stops a job from its progress callback."""

from collections.abc import Callable


class StopError(Exception):
    pass


def stop_at(number: int) -> Callable[..., None]:
    """A callback that raises StopError when it is called for this number of times."""
    calls: list[tuple[object, ...]] = []

    def stop(*progress: object) -> None:
        calls.append(progress)
        if len(calls) == number:
            raise StopError

    return stop
