"""Child processes of tests."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from typing import Any

LIMIT = 1200
"""Seconds after which a child hangs. It is far more than any child takes on a busy machine."""


@contextlib.contextmanager
def ended(process: subprocess.Popen[Any]) -> Iterator[subprocess.Popen[Any]]:
    """The process within a block. It is killed if the block leaves it running."""
    with process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
