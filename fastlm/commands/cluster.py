"""How the commands reach a cluster."""

from __future__ import annotations

import contextlib
from typing import Any


def cluster(engine: str, workers: int | None, address: str | None) -> contextlib.AbstractContextManager[Any]:
    """What keeps a connection to the cluster of an engine. Raises ValueError for an address where there is none."""
    from fastlm.cluster.connection import connected

    if engine == "ray":
        return connected(workers, address)
    if address is not None:
        raise ValueError("--address is of a Ray cluster: give --engine ray too")
    return contextlib.nullcontext()
