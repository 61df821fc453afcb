"""Writes the report: runs the sections and renders them."""

from __future__ import annotations

import datetime
import os
import platform
import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from fastlm._extras import install_command
from fastlm._version import __version__
from fastlm.files.atomic import write_files
from fastlm.machine import processor_name
from fastlm.report.content import Report, Section
from fastlm.report.corpora import TrainingText, training_texts
from fastlm.report.render import rendered
from fastlm.report.unicode2 import TEXT_NAME, texts
from fastlm.threads import thread_count

if TYPE_CHECKING:
    from fastlm.report.runs import Run

Folders: TypeAlias = Sequence[str | os.PathLike[str]] | Mapping[str, str | os.PathLike[str]]
"""Folders of training runs, or names with folders."""

FILES = ("report.html", "report.md", "report.json")
SECTIONS = ("unicode", "bpe", "accounting", "runs")
NEEDED = ("matplotlib", "jinja2")


def write_report(
    out: str | os.PathLike[str],
    *,
    tinystories: Sequence[str | os.PathLike[str]] = (),
    openwebtext: Sequence[str | os.PathLike[str]] = (),
    runs: Folders = (),
    sections: Collection[str] = SECTIONS,
    samples: bool = True,
    num_threads: int | None = None,
    progress: Callable[[str], None] = lambda line: None,
) -> list[Path]:
    """Reproduces the write-up and writes report.html, report.md and report.json. Needs the extra `fastlm[report]`.

    Args:
        out: Directory of the report. Files of an earlier report are replaced.
        tinystories: Files, directories, globs and addresses of TinyStories; without any, text that ships with CPython.
        openwebtext: The same for OpenWebText.
        runs: Folders of training runs, which are compared; a mapping gives them names.
        sections: Parts of the report: "unicode", "bpe" (both trainings and the experiments), "accounting", "runs".
        samples: Whether text is generated with the models of the runs.
        num_threads: Number of threads for training and encoding; None for all processors.
        progress: Called with a line before each step.

    Returns:
        The paths of the files.

    Raises:
        ModuleNotFoundError: matplotlib or jinja2 is not installed.
        ValueError: A section is unknown, a text cannot be read, or a run has a wrong content.
        OSError: A file cannot be read or written.
    """
    if (package := missing_package()) is not None:
        raise ModuleNotFoundError(f"the report needs {package}: {install_command('report')}", name=package)
    if unknown := sorted(set(sections) - set(SECTIONS)):
        raise ValueError(f"sections has {unknown[0]!r}; expected some of {', '.join(SECTIONS)}")
    report = Report([], _machine(num_threads))
    found_runs = _read_runs(runs) if "runs" in sections else []
    if "unicode" in sections:
        from fastlm.report.unicode1 import unicode1
        from fastlm.report.unicode2 import unicode2

        progress("unicode: three encodings, wrong decoders")
        report.first.append(f"Multilingual text: {TEXT_NAME} in {len(texts())} languages, which ships with fastlm.")
        report.sections += [unicode1(), unicode2()]
    if "bpe" in sections:
        with tempfile.TemporaryDirectory() as folder:
            corpora = training_texts(_names(tinystories), _names(openwebtext), Path(folder))
            report.first[:0] = [corpus.first_line for corpus in corpora]
            report.sections += _tokenizer_sections(corpora, Path(folder), num_threads, progress)
    if "accounting" in sections:
        from fastlm.report.accounting import transformer_accounting

        progress("accounting: parameters and FLOPs of GPT-2")
        report.sections.append(transformer_accounting())
    if "runs" in sections:
        report.first.append(_runs_line(runs))
        if found_runs:
            from fastlm.report.runs import experiments

            progress(f"training runs: {len(runs)}")
            report.sections += experiments(found_runs, samples)
    directory = Path(out)
    write_files(directory, rendered(report))
    return [directory / name for name in FILES]


def missing_package() -> str | None:
    """The first package of the extra `fastlm[report]` that is not installed; None if `write_report` can run."""
    return next((package for package in NEEDED if find_spec(package) is None), None)


def _tokenizer_sections(
    corpora: tuple[TrainingText, TrainingText], folder: Path, num_threads: int | None, progress: Callable[[str], None]
) -> list[Section]:
    """Trains both tokenizers in child processes, and compares them."""
    from fastlm.report.bpe_training import Trained, train_bpe_expts_owt, train_bpe_tinystories
    from fastlm.report.experiments import tokenizer_experiments
    from fastlm.report.training_job import measured_in_child

    found = []
    for corpus in corpora:
        progress(f"BPE training: {corpus.name}, {corpus.vocab_size:,} tokens")
        out = folder / f"{corpus.name}-tokenizer"
        found.append(Trained(corpus, *measured_in_child(corpus.paths, corpus.vocab_size, out, num_threads)))
    stories, web = found
    progress("experiments: compression and throughput")
    return [
        train_bpe_tinystories(stories),
        train_bpe_expts_owt(web, stories),
        tokenizer_experiments(stories, web, num_threads),
    ]


def _read_runs(folders: Folders) -> list[Run]:
    """The runs, which are checked before anything takes time."""
    if not folders:
        return []
    from fastlm.report.runs import read_runs

    return read_runs(folders)


def _names(paths: Sequence[str | os.PathLike[str]]) -> list[str]:
    return [os.fspath(path) for path in paths]


def _runs_line(runs: Folders) -> str:
    if not runs:
        return "Training runs: none given, so there are no curves, comparisons and samples (`--run FOLDER`)."
    return f"Training runs: {', '.join(_names(list(runs.values()) if isinstance(runs, Mapping) else runs))}."


def _machine(num_threads: int | None) -> dict[str, str]:
    return {
        "fastlm": __version__,
        "Python": platform.python_version(),
        "system": f"{platform.system()} on {platform.machine()}",
        "processor": processor_name(),
        "threads": str(thread_count(num_threads)),
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
    }
