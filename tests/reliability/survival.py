"""What an operation must do when the system fails it: raise MemoryError or OSError, and leave everything usable."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.reliability.operations import Operation


@dataclass(frozen=True)
class Rehearsed:
    """An operation that ran twice in a folder, so that memory and caches are what they stay.

    Attributes:
        operation: The operation.
        folder: The folder in which it runs.
        made: What it prepared.
        expected: Its result.
        kept: A copy of the folder as the operation left it.
    """

    operation: Operation
    folder: Path
    made: object
    expected: object
    kept: Path

    def restore(self) -> None:
        """Makes the folder what it was."""
        shutil.rmtree(self.folder)
        shutil.copytree(self.kept, self.folder)


@contextmanager
def rehearsed(operation: Operation, place: Path) -> Iterator[Rehearsed]:
    """Runs an operation in a new folder inside `place`, which is removed at the end."""
    folder, kept = place / "folder", place / "kept"
    folder.mkdir()
    made = operation.prepare(folder)
    expected = operation.call(folder, made)
    operation.call(folder, made)
    shutil.copytree(folder, kept)
    try:
        yield Rehearsed(operation, folder, made, expected, kept)
    finally:
        shutil.rmtree(folder)
        shutil.rmtree(kept)


def fault_under(
    rehearsal: Rehearsed,
    begin: Callable[[], None],
    end: Callable[[], None],
    writes_files: bool,
) -> str:
    """Calls an operation under a failure, and again without it.

    Args:
        rehearsal: The operation, and what it needs.
        begin: Makes the system fail.
        end: Ends the failure.
        writes_files: Whether an OSError must name its file.

    Returns:
        What is wrong, or nothing.
    """
    operation, folder, made = rehearsal.operation, rehearsal.folder, rehearsal.made
    before, raised, found = _files(folder), None, None
    begin()
    try:
        found = operation.call(folder, made)
    except BaseException as error:  # noqa: BLE001 - the kind is what is tested
        raised = error
    finally:
        end()
    if raised is None:
        if found != rehearsal.expected:
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
    return "" if operation.call(folder, made) == rehearsal.expected else "another result after the error"


def _files(folder: Path) -> dict[str, str]:
    """Name -> sha256 of the files in a folder."""
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}
