"""Reads each hostile file in a forked process, whose CPU time and memory are limited."""

from __future__ import annotations

import os
import pickle
import resource
import signal
import tempfile
import warnings
from pathlib import Path
from typing import NamedTuple

from tests.hostile_files import corpora, models, readers, tokenizers
from tests.hostile_files.readers import HostileFile

SECONDS = 1.0
MEGABYTES = 100


class Outcome(NamedTuple):
    """What reading a file came to."""

    kind: str  # of the error, or what else happened
    message: str
    seconds: float
    megabytes: float


def hostile_files() -> list[HostileFile]:
    """All files. The ones of models need torch."""
    files = [*tokenizers.tokenizer_files(), *corpora.corpus_files(), *corpora.token_files()]
    try:
        import torch  # noqa: F401
    except ImportError:
        return files
    return [*files, *models.model_files()]


def write(file: HostileFile, folder: Path) -> Path:
    """Writes the files to a new folder. Returns the path to read."""
    directory = folder / file.name
    directory.mkdir()
    for name, content in file.files.items():
        (directory / name).write_bytes(content)
    return directory if file.reads_folder else directory / next(iter(file.files))


def prepare() -> None:
    """Imports what readers import, so that the limits of a child count what a file costs."""
    for name in ("corpus.verify", "corpus.read", "training.token_source", "training.config", "training.checkpoint"):
        __import__(f"fastlm.{name}")
    for name in (
        "model.hf",
        "model.llama2c",
        "commands.account",
        "compat.tokenizers",
        "compat.tiktoken.load",
        "formats",
    ):
        __import__(f"fastlm.{name}")
    with tempfile.TemporaryDirectory() as folder:
        for file in (
            HostileFile("tokenizer", readers.load_tokenizer, {"tokenizer.json": tokenizers.good_json()}),
            HostileFile("model", readers.import_llama, models.good_llama(), True),
        ):
            file.reader(write(file, Path(folder)))


def outcome_of(file: HostileFile, path: Path) -> Outcome:
    """Reads a file in a forked process with limits."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reading)
            found = _limited(file, path)
            os.write(writing, pickle.dumps(found)[: 1 << 15])
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        content = pipe.read()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status or not content:
        cause = "too slow" if status == -signal.SIGPROF else f"ended with {status}"
        return Outcome(cause, "", SECONDS, float("nan"))
    result: Outcome = pickle.loads(content)
    return result


def _limited(file: HostileFile, path: Path) -> Outcome:
    warnings.simplefilter("ignore")
    pages, resident = (int(value) for value in Path("/proc/self/statm").read_text().split()[:2])
    page = resource.getpagesize()
    most = pages * page + MEGABYTES * 1_000_000
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    kind, message = "accepted", ""
    try:
        file.reader(path)
    except Exception as error:  # noqa: BLE001 - the kind is what is tested
        kind, message = type(error).__name__, str(error)[:8000]
        if isinstance(error, ValueError | OSError):
            kind = "ValueError" if isinstance(error, ValueError) else "OSError"
    used = resource.getrusage(resource.RUSAGE_SELF)
    left = signal.setitimer(signal.ITIMER_PROF, 0)[0]
    grown = max(0, used.ru_maxrss * 1024 - resident * page) / 1e6
    return Outcome(kind, message, max(0.0, SECONDS - left), grown)


def fault_of(file: HostileFile, path: Path, outcome: Outcome) -> str:
    """What is wrong with an outcome, or nothing."""
    if outcome.kind not in ("ValueError", "OSError"):
        return f"{outcome.kind}: {outcome.message[:200]}"
    folder = path if path.is_dir() else path.parent
    if not any(name in outcome.message for name in [*file.files, str(folder)]):
        return f"the message names no file: {outcome.message[:200]}"
    return ""
