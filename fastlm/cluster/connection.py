"""A Ray cluster, joined or made on this machine, and what its failures become."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any, Literal, TypeAlias

from fastlm.threads import thread_count

Engine: TypeAlias = Literal["local", "ray"]

# a task whose worker dies is begun anew so often
RETRIES = 3


@contextlib.contextmanager
def connected(num_workers: int | None = None, address: str | None = None) -> Iterator[Any]:
    """The module ray, connected: as it is already; or to the cluster at `address` or, without it, at RAY_ADDRESS; or to
    one of `num_workers` processors made on this machine. What is connected or made here is left in the end.

    Raises ValueError where ray is missing or connected already and an address is given, ConnectionError (an OSError)
    where no cluster is at the address.
    """
    try:
        import ray
    except ImportError:
        raise ValueError("the engine 'ray' needs ray: pip install 'fastlm[dist]'") from None
    if ray.is_initialized():
        if address is not None:
            raise ValueError(f"ray is connected already: leave out the address {address!r}")
        yield ray
        return
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
    if address is None and not os.environ.get("RAY_ADDRESS"):
        ray.init("local", num_cpus=thread_count(num_workers), include_dashboard=False, **quiet)
    else:
        ray.init(address, **quiet)
    try:
        yield ray
    finally:
        ray.shutdown()


def check_engine(engine: str) -> None:
    """Raises ValueError for what is no Engine."""
    if engine not in ("local", "ray"):
        raise ValueError(f"engine must be 'local' or 'ray', got {engine!r}")


def worker_count(ray: Any, num_workers: int | None) -> int:
    """The number of workers asked for, or of processors of the cluster. Raises ValueError below 1."""
    if num_workers is None:
        return max(1, int(ray.cluster_resources().get("CPU", 1)))
    return thread_count(num_workers)


def local_error(ray: Any, error: Exception) -> Exception:
    """The error that a task raised, as it was raised; OSError or MemoryError for one of the cluster's own."""
    if isinstance(error, ray.exceptions.RayTaskError):
        cause = error.cause
        return cause if isinstance(cause, Exception) else error
    if isinstance(error, ray.exceptions.OutOfMemoryError):
        return MemoryError(str(error))
    if isinstance(error, ray.exceptions.RayError):
        return OSError(f"a worker of the cluster failed {1 + RETRIES} times: {str(error).strip().splitlines()[0]}")
    return error
