"""The checkpoint of a training: state.json in a directory, with the run files that it lists."""

from __future__ import annotations

import errno
import hashlib
import json
import re
import time
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from fastlm import interrupts
from fastlm.bpe_training.run_files import PREFIX, RunFile
from fastlm.files.atomic import remove_unfinished, replacing
from fastlm.files.reading import parse_json
from fastlm.merging._words import HEADER_CELLS

STATE = "state.json"
VERSION = 1
MOST = 2**63 - 1
# bytes that the tokens of merges may have together, besides those that the words of the run files allow
LEAST_BYTES = 1 << 20
BYTES_PER_MERGE = 256


@dataclass(frozen=True)
class State:
    """The state of a training.

    Attributes:
        counted: Bytes of text whose counts are in the run files.
        digest: sha256 of these bytes if the input is not files; otherwise None.
        runs: The run files.
        all_counted: Whether that is the whole input.
        merges: The merges learned so far, as pairs of symbols; empty until all is counted.
    """

    counted: int = 0
    digest: str | None = None
    runs: tuple[RunFile, ...] = ()
    all_counted: bool = False
    merges: tuple[tuple[int, int], ...] = ()


class Checkpoint:
    """Saves the state of a training in a directory, each time the last save is `seconds` old.

    Args:
        directory: Made if it does not exist.
        job: Everything that decides the result, as JSON.
        seconds: Time between two saves.
        resume: Whether to continue from the state in the directory, if there is one.

    Raises:
        FileExistsError: There is a state, and `resume` is false.
        ValueError: The state is damaged or of another job, or `seconds` is not positive.
        OSError: The directory cannot be read or written.
    """

    def __init__(self, directory: Path, job: dict[str, Any], seconds: float, resume: bool) -> None:
        if not seconds > 0:
            raise ValueError(f"checkpoint_seconds must be above 0, got {seconds}")
        directory.mkdir(parents=True, exist_ok=True)
        self.directory, self.state = directory, State()
        self.job, self._seconds = json.loads(json.dumps(job)), seconds
        self.path = directory / STATE
        if self.path.exists():
            if not resume:
                raise FileExistsError(errno.EEXIST, "Holds a checkpoint, and resume is not given", str(directory))
            self.state = self._read()
        remove_unfinished(directory)
        self._saved = time.monotonic()

    def due(self) -> bool:
        """Whether it is time to save: the last save is old, or a signal asks this process to end."""
        return interrupts.requested() or time.monotonic() - self._saved >= self._seconds

    def save(self, **changes: Any) -> None:
        """Saves the state with these fields changed."""
        self.state = replace(self.state, **changes)
        content = json.dumps({"version": VERSION, "job": self.job, "state": asdict(self.state)}, separators=(",", ":"))
        with replacing(self.path) as file:
            file.write(f"{hashlib.sha256(content.encode()).hexdigest()}\n{content}\n".encode())
        self._saved = time.monotonic()

    def _read(self) -> State:
        return read_state(self.path, self.job)


def read_state(path: Path, job: dict[str, Any] | None = None) -> State:
    """Reads state.json.

    Args:
        path: The file.
        job: The job that it must be of; None for any.

    Raises:
        OSError: The file cannot be read.
        ValueError: The file is damaged or of another job.
    """
    try:
        checksum, content, *_ = path.read_text("utf-8").split("\n")
    except ValueError:
        raise ValueError(f"{path} is damaged: it is not two lines of UTF-8") from None
    if hashlib.sha256(content.encode()).hexdigest() != checksum:
        raise ValueError(f"{path} is damaged: its content has another sha256 than its first line says")
    try:
        parsed = parse_json(content)
        if job is None:
            _check_object("the file", parsed, ("version", "job", "state"))
            job = parsed["job"]
        return _state_of(parsed, job)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


# --- the schema of state.json: every function raises ValueError that names the field ---


def _state_of(content: Any, job: dict[str, Any]) -> State:
    """The state that state.json describes; it must be of this job."""
    _check_object("the file", content, ("version", "job", "state"))
    if content["version"] is True or content["version"] != VERSION:
        raise _wrong("version", str(VERSION), content["version"])
    _check_object("job", content["job"], job)
    for name, value in job.items():
        was, now = _shown(content["job"][name]), _shown(value)
        if was != now:
            raise ValueError(f"the checkpoint was created with {name}={_short(was)}; this call has {_short(now)}")
    state = content["state"]
    _check_object("state", state, [field.name for field in fields(State)])
    counted = _count("state.counted", state["counted"])
    _check_digest(state["digest"], needed=job.get("files") is None)
    if not isinstance(state["all_counted"], bool):
        raise _wrong("state.all_counted", "true or false", state["all_counted"])
    merges = _merges_of(state["merges"], state["all_counted"])
    runs = _runs_of(state["runs"])
    _check_lengths(merges, sum(run.size for run in runs))
    return State(counted, state["digest"], runs, state["all_counted"], merges)


def _check_digest(digest: object, needed: bool) -> None:
    if needed and not (isinstance(digest, str) and re.fullmatch("[0-9a-f]{64}", digest)):
        raise _wrong("state.digest", "a sha256 of 64 hexadecimal digits", digest)
    if not needed and digest is not None:
        raise _wrong("state.digest", "null", digest)


def _runs_of(content: object) -> tuple[RunFile, ...]:
    runs = tuple(_run_of(f"state.runs[{k}]", run) for k, run in enumerate(_list("state.runs", content)))
    if len({run.name for run in runs}) < len(runs):
        raise ValueError("state.runs lists a file twice")
    return runs


def _run_of(field: str, content: Any) -> RunFile:
    _check_object(field, content, [one.name for one in fields(RunFile)])
    name = content["name"]
    if not isinstance(name, str) or not re.fullmatch(rf"{PREFIX}[0-9]{{6,18}}", name):
        raise _wrong(f"{field}.name", f"{PREFIX} and a number of at least six digits", name)
    size = _count(f"{field}.size", content["size"])
    words = _count(f"{field}.words", content["words"], least=1)
    cells = _count(f"{field}.cells", content["cells"])
    # a record takes at least three bytes
    if 3 * words > size:
        raise _wrong(f"{field}.words", f"at most {size // 3} for {size} bytes", words)
    if cells > HEADER_CELLS * words + size:
        raise _wrong(f"{field}.cells", f"at most {HEADER_CELLS * words + size} for {words} words", cells)
    return RunFile(name, size, _count(f"{field}.checksum", content["checksum"], most=2**32 - 1), words, cells)


def _merges_of(content: object, all_counted: bool) -> tuple[tuple[int, int], ...]:
    merges = []
    for k, pair in enumerate(_list("state.merges", content)):
        field = f"state.merges[{k}]"
        if len(_list(field, pair)) != 2:
            raise _wrong(field, "two symbols", pair)
        left, right = (_count(field, symbol, most=2**31 - 1) for symbol in pair)
        merges.append((left, right))
    if merges and not all_counted:
        raise ValueError("state.merges must be empty while state.all_counted is false")
    return tuple(merges)


def _check_lengths(merges: tuple[tuple[int, int], ...], run_bytes: int) -> None:
    """Refuses merges whose tokens have far more bytes together than vocabularies have, or than words in run files.

    Each merge may double a token, so a short list could describe tokens of 2^50 bytes.
    """
    most = LEAST_BYTES + BYTES_PER_MERGE * len(merges) + 4 * run_bytes
    lengths, total = [1] * 256, 0
    for k, pair in enumerate(merges):
        if max(pair) >= len(lengths):
            raise ValueError(f"state.merges[{k}] joins symbols {pair[0]} and {pair[1]}, not two below {len(lengths)}")
        lengths.append(lengths[pair[0]] + lengths[pair[1]])
        total += lengths[-1]
        if total > most:
            raise ValueError(f"state.merges[{k}]: the merges make tokens of more than {most} bytes together")


def _check_object(field: str, content: object, names: Any) -> None:
    if not isinstance(content, dict):
        raise _wrong(field, "an object", content)
    for name in names:
        if name not in content:
            raise ValueError(f"{field} has no {name!r}")
    for name in content:
        if name not in names:
            raise ValueError(f"{field} has an unknown entry {name!r}")


def _list(field: str, content: object) -> list[Any]:
    if not isinstance(content, list):
        raise _wrong(field, "an array", content)
    return content


def _count(field: str, content: object, least: int = 0, most: int = MOST) -> int:
    if not isinstance(content, int) or isinstance(content, bool) or not least <= content <= most:
        raise _wrong(field, f"an integer from {least} to {most}", content)
    return content


def _wrong(field: str, expected: str, found: object) -> ValueError:
    return ValueError(f"{field} must be {expected}, got {_short(_shown(found))}")


def _shown(value: object) -> str:
    try:
        return json.dumps(value)
    except RecursionError:
        return "a deeply nested value"


def _short(shown: str) -> str:
    return shown if len(shown) <= 200 else shown[:197] + "..."
