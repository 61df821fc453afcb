"""The record of a finished stage: what it depended on, and the checksums of what it made.

A record is the last file that is written to the folder of a stage, before the folder gets its name. So a folder with a
record is whole.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fastlm.corpus.manifest import with_checksum, without_checksum
from fastlm.files.atomic import write_files
from fastlm.files.checksum import sha256_of_file, sha256_of_json
from fastlm.files.reading import read_json
from fastlm.files.schema import Count, Sha256, parse

RECORD = "stage.json"


@dataclass(frozen=True)
class Output:
    """A file that a stage made.

    Attributes:
        sha256: Checksum of its content.
        size: Number of bytes.
        modified: Time of modification in nanoseconds, by which an unchanged file is recognized without reading it.
    """

    sha256: Sha256
    size: Count
    modified: Count


@dataclass(frozen=True)
class StageRecord:
    """A finished stage.

    Attributes:
        stage: The name of the stage.
        key: Checksum of everything that the stage depended on.
        outputs: The files that later stages depend on, by path in the folder of the stage.
        figures: What the stage reports.
        seconds: Wall time of the process that finished the stage.
    """

    stage: str
    key: Sha256
    outputs: dict[str, Output]
    figures: dict[str, Any]
    seconds: float

    @property
    def digest(self) -> str:
        """Checksum of the names and contents of all outputs."""
        return sha256_of_json({name: output.sha256 for name, output in self.outputs.items()})

    def write(self, folder: Path) -> None:
        """Writes the record to the folder of the stage."""
        content = with_checksum(asdict(self))
        write_files(folder, {RECORD: f"{json.dumps(content, indent=1)}\n".encode()})

    def has_outputs(self, folder: Path) -> bool:
        """Whether all outputs are in a folder with the recorded contents."""
        for name, output in self.outputs.items():
            path = folder / name
            if not path.is_file() or path.stat().st_size != output.size:
                return False
            if path.stat().st_mtime_ns != output.modified and sha256_of_file(path) != output.sha256:
                return False
        return True


def read_record(folder: Path) -> StageRecord | None:
    """Reads the record in the folder of a stage; None if there is none, or if it was changed."""
    try:
        return parse(StageRecord, without_checksum(parse(dict[str, Any], read_json(folder / RECORD))))
    except (FileNotFoundError, ValueError):
        return None


def outputs_of(folder: Path, names: list[str]) -> dict[str, Output]:
    """Describes files of a folder.

    Args:
        folder: The folder.
        names: Paths in the folder; a folder means all files below it.

    Raises:
        OSError: A file cannot be read.
    """
    found: dict[str, Output] = {}
    for name in names:
        path = folder / name
        for file in sorted(below for below in path.rglob("*") if below.is_file()) if path.is_dir() else [path]:
            status = file.stat()
            found[str(file.relative_to(folder))] = Output(sha256_of_file(file), status.st_size, status.st_mtime_ns)
    return found
