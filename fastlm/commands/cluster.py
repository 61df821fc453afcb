"""The connection of a command to a cluster."""

from __future__ import annotations

import contextlib
from typing import Any


def cluster(engine: str, workers: int | None, address: str | None) -> contextlib.AbstractContextManager[Any]:
    """A context in which the cluster of an engine is connected.

    Args:
        engine: "local" or "ray".
        workers: Number of workers of a cluster that is started here.
        address: Address of a running cluster.

    Raises:
        ValueError: for an address with the engine "local".
    """
    from fastlm.cluster.connection import ray_connection

    if engine == "ray":
        return ray_connection(workers, address)
    if address is not None:
        raise ValueError("--address needs --engine ray")
    return contextlib.nullcontext()
