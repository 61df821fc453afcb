"""`fastlm report`: reproduces the write-up as one page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from tyro.conf import UseAppendAction

from fastlm.commands.inputs import NumThreads, option, refuse_to_overwrite
from fastlm.commands.output import note, say

_Paths = Annotated[UseAppendAction[tuple[str, ...]], option("PATH")]


def report(
    out: Path = Path("report"),
    tinystories: _Paths = (),
    openwebtext: _Paths = (),
    run: Annotated[UseAppendAction[tuple[str, ...]], option("FOLDER")] = (),
    no_samples: bool = False,
    num_threads: NumThreads = None,
    force: bool = False,
) -> None:
    """Reproduce the write-up of CS336's first assignment, and write report.html, report.md and report.json.

    Each figure is next to the write-up's. Without corpora, text that ships with CPython takes their place, and the
    report takes about a minute. Needs the extra fastlm[report].

    Args:
        out: Directory of the report.
        tinystories: File, directory, glob or address of TinyStories; repeat the option for several.
        openwebtext: File, directory, glob or address of OpenWebText; repeat the option for several.
        run: Folder of a training run, for curves and samples; repeat the option to compare several runs.
        no_samples: Do not generate text with the models of the runs.
        num_threads: Number of threads; by default one for each processor.
        force: Overwrite files in OUT that are not of a report.
    """
    from fastlm.report import write_report
    from fastlm.report.write import FILES

    refuse_to_overwrite(out, FILES, "report.json", force)
    written = write_report(
        out,
        tinystories=tinystories,
        openwebtext=openwebtext,
        runs=run,
        samples=not no_samples,
        num_threads=num_threads,
        progress=note,
    )
    say(f"wrote {', '.join(map(str, written))}")
