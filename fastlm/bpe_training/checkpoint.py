"""The checkpoint of a training: state.json in a directory of its own, beside the runs it lists."""

from __future__ import annotations

import errno
import hashlib
import json
import re
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from fastlm.bpe_training.run_files import PREFIX, Run
from fastlm.files.atomic import remove_unfinished, replacing

STATE = "state.json"
VERSION = 1


@dataclass(frozen=True)
class State:
    """How far a training is: `counted` bytes of text, whose counts are in the runs and whose sha256 is `digest` where
    that tells the input; whether that is all of it, and then the merges that were learned, as pairs of symbols."""

    counted: int = 0
    digest: str | None = None
    runs: tuple[Run, ...] = ()
    all_counted: bool = False
    merges: tuple[tuple[int, int], ...] = ()


class Checkpoint:
    """Saves the state of a training in a directory, each time the former one is `seconds` old.

    job: all that decides the result, as JSON. resume: goes on from the state that is there, if any.

    Raises FileExistsError where there is a state and `resume` is not given; ValueError where it is one of another job,
    or damaged, or `seconds` is not positive; OSError where the directory cannot be read or written.
    """

    def __init__(self, directory: Path, job: dict[str, Any], seconds: float, resume: bool) -> None:
        if not seconds > 0:
            raise ValueError(f"checkpoint_seconds must be above 0, not {seconds}")
        directory.mkdir(parents=True, exist_ok=True)
        self.directory, self.state = directory, State()
        self.job, self._seconds = json.loads(json.dumps(job)), seconds
        self._path = directory / STATE
        if self._path.exists():
            if not resume:
                raise FileExistsError(errno.EEXIST, "Holds a checkpoint, and resume is not given", str(directory))
            self.state = self._read()
        remove_unfinished(directory)
        self._saved = time.monotonic()

    def due(self) -> bool:
        """Whether it is time to save."""
        return time.monotonic() - self._saved >= self._seconds

    def save(self, **changes: Any) -> None:
        """Replaces the state by one with these fields changed."""
        self.state = replace(self.state, **changes)
        content = json.dumps({"version": VERSION, "job": self.job, "state": asdict(self.state)}, separators=(",", ":"))
        with replacing(self._path) as file:
            file.write(f"{hashlib.sha256(content.encode()).hexdigest()}\n{content}\n".encode())
        self._saved = time.monotonic()

    def _read(self) -> State:
        try:
            checksum, content, *_ = self._path.read_text("utf-8").split("\n")
        except ValueError:
            raise ValueError(f"{self._path} is damaged: it is not two lines of UTF-8") from None
        if hashlib.sha256(content.encode()).hexdigest() != checksum:
            raise ValueError(f"{self._path} is damaged: its content has another sha256 than its first line says")
        read = json.loads(content)
        if read["version"] != VERSION:
            raise ValueError(f"{self._path}: version {read['version']} is not {VERSION}, which this fastlm writes")
        for name, value in self.job.items():
            was = read["job"].get(name)
            if was != value:
                raise ValueError(f"{self._path}: the training it is of had {name} {_short(was)}, not {_short(value)}")
        state = read["state"]
        runs = tuple(Run(**run) for run in state["runs"])
        if not all(re.fullmatch(rf"{PREFIX}\d+", run.name) for run in runs):
            raise ValueError(f"{self._path} is damaged: a run has the name of another file")
        merges = tuple((int(left), int(right)) for left, right in state["merges"])
        return State(state["counted"], state["digest"], runs, state["all_counted"], merges)


def _short(value: object) -> str:
    shown = json.dumps(value)
    return shown if len(shown) <= 200 else shown[:197] + "..."
