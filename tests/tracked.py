"""The files of the repository, for checks that work in a copy of the tree."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def tracked_files(*, new: bool = False) -> list[str]:
    """The names of the files that git tracks and that exist; with `new`, also of those that it does not ignore."""
    command = ["git", "ls-files", "-z", *(["-co", "--exclude-standard"] if new else [])]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [name for name in names.split("\0") if name and (ROOT / name).is_file()]


def copy_files(names: Iterable[str], folder: Path) -> None:
    """Copies files of the repository to the same places in a folder."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, folder / name)
