"""Runs a function in a forked process, so that a crash or a hang is an outcome and not the end of the measurement."""

from __future__ import annotations

import os
import select
import signal
import time
import traceback
from collections.abc import Callable

SECONDS = 60.0


def outcome_of(function: Callable[[], str], seconds: float = SECONDS) -> str:
    """What a function returns in a forked process; "signal N", "hang", or the last lines of an exception."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reading)
            try:
                found = function()
            except BaseException:  # noqa: BLE001 - the outcome is what is asked for
                found = "\n".join(traceback.format_exc().strip().splitlines()[-4:])
            os.write(writing, found.encode("utf-8", "replace")[:4000])
        finally:
            os._exit(0)
    os.close(writing)
    content, end = b"", time.monotonic() + seconds
    while True:
        ready, _, _ = select.select([reading], [], [], max(0.0, end - time.monotonic()))
        part = os.read(reading, 4096) if ready else b""
        content += part
        if not part:
            break
    os.close(reading)
    if not ready:
        os.kill(child, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if not ready:
        return f"hang of more than {seconds:.0f} s"
    return f"signal {-status}" if status < 0 else content.decode("utf-8", "replace")
