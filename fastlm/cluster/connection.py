"""The connection to a Ray cluster, and the errors of its workers."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from typing import Any, Literal, TypeAlias

from fastlm._extras import install_command
from fastlm.threads import thread_count

Engine: TypeAlias = Literal["local", "ray"]

# how often Ray restarts a task whose worker died
RETRIES = 3


@contextlib.contextmanager
def ray_connection(num_workers: int | None = None, address: str | None = None) -> Iterator[Any]:
    """Connects to a Ray cluster; a connection or cluster made here ends with the block.

    An existing connection is used. Otherwise it is the cluster at `address` or, without one, at RAY_ADDRESS; without
    either a cluster on this machine is started.

    Args:
        num_workers: Number of processors of a cluster that is started here.
        address: Address of a running cluster.

    Yields:
        The module ray.

    Raises:
        ValueError: ray is not installed, or it is connected already and an address is given.
        ConnectionError: No cluster is at the address.
    """
    try:
        import ray
    except ImportError:
        raise ValueError(f"engine='ray' needs ray: {install_command('dist')}") from None
    if ray.is_initialized():
        if address is not None:
            raise ValueError(f"ray is connected already: leave out the address {address!r}")
        yield ray
        return
    # ray.init replaces the handler of SIGTERM, by which an interrupted job saves its state
    handler = signal.getsignal(signal.SIGTERM)
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
    if address is None and not os.environ.get("RAY_ADDRESS"):
        ray.init("local", num_cpus=thread_count(num_workers), include_dashboard=False, **quiet)
    else:
        ray.init(address, **quiet)
    if threading.current_thread() is threading.main_thread() and handler is not None:
        signal.signal(signal.SIGTERM, handler)
    try:
        yield ray
    finally:
        ray.shutdown()


def check_engine(engine: str) -> None:
    """Raises ValueError unless `engine` is an Engine."""
    if engine not in ("local", "ray"):
        raise ValueError(f"engine must be 'local' or 'ray', got {engine!r}")


def worker_count(ray: Any, num_workers: int | None) -> int:
    """The number of workers; the number of processors of the cluster for None. Raises ValueError below 1."""
    if num_workers is None:
        return max(1, int(ray.cluster_resources().get("CPU", 1)))
    return thread_count(num_workers)


def original_error(ray: Any, error: Exception) -> Exception:
    """The exception that a task raised; OSError or MemoryError for an error of the cluster itself."""
    if isinstance(error, ray.exceptions.RayTaskError):
        cause = error.cause
        return cause if isinstance(cause, Exception) else error
    if isinstance(error, ray.exceptions.OutOfMemoryError):
        return MemoryError(str(error))
    if isinstance(error, ray.exceptions.RayError):
        return OSError(f"a worker of the cluster failed {1 + RETRIES} times: {str(error).strip().splitlines()[0]}")
    return error
