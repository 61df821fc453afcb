"""Runs a recipe: each stage whose inputs or options changed, in order.

A stage works in a folder below `unfinished/`, whose name has the checksum of everything that the stage depends on. When
its record is written, the folder is moved to the name of the stage. So a process may be killed at any moment, and the
next one continues in the same folder.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from fastlm.files.atomic import sync_directory
from fastlm.files.checksum import sha256_of_json
from fastlm.files.remote import local_path
from fastlm.model.account import duration
from fastlm.recipes.corpus_stage import CORPUS
from fastlm.recipes.evaluation_stage import EVALUATION
from fastlm.recipes.export_stage import EXPORT
from fastlm.recipes.recipe import Recipe
from fastlm.recipes.report_stage import REPORT_STAGE
from fastlm.recipes.shards_stage import SHARDS
from fastlm.recipes.stage import Stage, StageJob
from fastlm.recipes.stage_record import RECORD, StageRecord, outputs_of, read_record
from fastlm.recipes.tokenizer_stage import TOKENIZER
from fastlm.recipes.training_stage import TRAINING

fcntl: ModuleType | None
try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None

STAGES: tuple[Stage, ...] = (CORPUS, TOKENIZER, SHARDS, TRAINING, EVALUATION, EXPORT, REPORT_STAGE)
UNFINISHED = "unfinished"
_LOCK = "run.lock"


def run_recipe(recipe: Recipe, say: Callable[[str], None] = lambda line: None, last: str = "report") -> Path:
    """Runs the stages of a recipe. A stage is skipped if its options, and the contents that it read, are unchanged.

    Args:
        recipe: The recipe.
        say: Prints a line about each stage.
        last: The last stage to run.

    Returns:
        The directory of the run.

    Raises:
        OSError: A file cannot be read or written, or another process runs in the directory.
        ValueError: A stage refuses its inputs or options.
    """
    stages = stages_up_to(last)
    CORPUS.options(recipe)  # a missing corpus leaves no directory
    run = local_path(recipe.out, "out")
    run.mkdir(parents=True, exist_ok=True)
    with _locked(run):
        done: dict[str, StageRecord] = {}
        for stage in stages:
            state = _state(stage, recipe, run, done)
            record = state.record
            if record is None:
                record, summary = _run_stage(stage, recipe, run, state.key)
                say(f"{stage.name}: {summary} ({duration(record.seconds)})")
            else:
                say(f"{stage.name}: unchanged")
            done[stage.name] = record
    return run


def stages_up_to(last: str) -> tuple[Stage, ...]:
    """The stages up to one of them. Raises ValueError for another name."""
    names = [stage.name for stage in STAGES]
    if last not in names:
        raise ValueError(f"no stage {last!r}; expected one of {', '.join(names)}")
    return STAGES[: names.index(last) + 1]


def unchanged_stages(recipe: Recipe) -> list[str]:
    """The names of the stages that `run_recipe` would skip. Nothing is written."""
    done: dict[str, StageRecord] = {}
    for stage in STAGES:
        record = _state(stage, recipe, Path(recipe.out), done).record
        if record is None:
            break
        done[stage.name] = record
    return list(done)


@dataclass(frozen=True)
class _State:
    """The key of a stage, and its record if it is finished with that key."""

    key: str
    record: StageRecord | None


def _state(stage: Stage, recipe: Recipe, run: Path, done: dict[str, StageRecord]) -> _State:
    inputs = {name: done[name].digest for name in stage.needs}
    if stage is REPORT_STAGE:  # it reports times and figures too
        inputs |= {f"{name} figures": sha256_of_json([one.figures, one.seconds]) for name, one in done.items()}
    key = sha256_of_json(
        {"stage": stage.name, "version": stage.version, "options": stage.options(recipe), "inputs": inputs}
    )  # fmt: skip
    record = read_record(run / stage.name)
    finished = record is not None and record.key == key and record.has_outputs(run / stage.name)
    return _State(key, record if finished else None)


def _run_stage(stage: Stage, recipe: Recipe, run: Path, key: str) -> tuple[StageRecord, str]:
    """Does the work of a stage, or continues it. Returns its record and summary."""
    folder = run / UNFINISHED / f"{stage.name}-{sha256_of_json([key, stage.versions(recipe, run)])[:16]}"
    for other in folder.parent.glob(f"{stage.name}-*"):
        if other != folder:
            shutil.rmtree(other)
    folder.mkdir(parents=True, exist_ok=True)
    record = read_record(folder)
    summary = "continued"
    if record is None or record.key != key or not record.has_outputs(folder):
        start = time.perf_counter()
        result = stage.work(StageJob(recipe, run, folder))
        outputs = outputs_of(folder, result.outputs)
        record = StageRecord(stage.name, key, outputs, result.figures, time.perf_counter() - start)
        record.write(folder)
        summary = result.summary
    if (run / stage.name).exists():
        # the record goes first, so that a folder that is removed in part is not taken for whole
        with contextlib.suppress(FileNotFoundError):
            os.unlink(run / stage.name / RECORD)
        shutil.rmtree(run / stage.name)
    os.replace(folder, run / stage.name)
    sync_directory(run)
    return record, summary


@contextlib.contextmanager
def _locked(run: Path) -> Iterator[None]:
    """Refuses a second process in a directory, where the system can lock files."""
    with open(run / _LOCK, "wb") as file:
        if fcntl is not None:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise FileExistsError(f"{run}: another process runs a recipe in this directory") from None
        yield
