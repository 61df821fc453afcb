"""What an operation must do when the system fails it: raise MemoryError or OSError, and leave everything usable."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from tests.reliability.operations import Operation


def fault_under(
    operation: Operation,
    folder: Path,
    made: object,
    expected: object,
    begin: Callable[[], None],
    end: Callable[[], None],
    writes_files: bool,
) -> str:
    """Calls an operation under a failure, and again without it.

    Args:
        operation: The operation, which ran in the folder before.
        folder: Its folder.
        made: What it prepared.
        expected: Its result.
        begin: Makes the system fail.
        end: Ends the failure.
        writes_files: Whether an OSError must name its file.

    Returns:
        What is wrong, or nothing.
    """
    before, raised, found = _files(folder), None, None
    begin()
    try:
        found = operation.call(folder, made)
    except BaseException as error:  # noqa: BLE001 - the kind is what is tested
        raised = error
    finally:
        end()
    if raised is None:
        if found != expected:
            return "another result without an error"
    elif not isinstance(raised, (OSError, MemoryError)) and "new thread" not in str(raised):
        return f"{type(raised).__name__}: {raised}"
    elif writes_files and isinstance(raised, OSError) and raised.errno is None and str(folder) not in str(raised):
        return f"names no file: {raised}"
    after = _files(folder)
    if left := sorted(name for name in after.keys() - before.keys() if name.endswith(".tmp")):
        return f"left {left[:3]}"
    if operation.keeps_files and (damaged := [name for name, sha256 in before.items() if after.get(name) != sha256]):
        return f"changed {damaged[:3]}"
    raised = None
    return "" if operation.call(folder, made) == expected else "another result after the error"


def _files(folder: Path) -> dict[str, str]:
    """Name -> sha256 of the files in a folder."""
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}
