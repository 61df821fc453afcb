"""The store of results, a file for each run in benchmarks/history/, and the page of ratios over time.

    python -m benchmarks.history                    # writes HISTORY.md and HISTORY.svg from the store
    python -m benchmarks.history add RESULT.json    # adds the JSON of benchmarks.run or benchmarks.model first

`benchmarks.run` and `benchmarks.model` add their result themselves. The store takes runs of a clean tree with full
sizes only, because a figure that no commit explains cannot be compared.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import Any

from benchmarks.ratios import Ratio, ratios_of
from benchmarks.tables import number, table

FOLDER = Path(__file__).with_name("history")
PAGE = Path(__file__).with_name("HISTORY.md")
PLOT = PAGE.with_suffix(".svg")
COLUMNS = 8  # of the table: the last runs of a machine
Series = tuple[str, str, str]
"""Group, peer and quantity."""


@dataclass(frozen=True)
class Run:
    """The ratios of one run of a benchmark.

    Attributes:
        date: End of the run, in ISO format, UTC.
        kind: "tokenizer" or "model".
        commit: Hash of the commit that was measured.
        machine: Processor, number of usable processors, and system. Runs of different machines are never compared.
        python: Version of Python.
        fastlm: Version of fastlm.
        ratios: The ratios.
    """

    date: str
    kind: str
    commit: str
    machine: str
    python: str
    fastlm: str
    ratios: Sequence[Ratio]

    def series(self) -> dict[Series, float]:
        """The geometric mean of the ratios of each group, peer and quantity; without ratios to an emulating peer."""
        logs: dict[Series, list[float]] = {}
        for ratio in self.ratios:
            if not ratio.emulated:
                logs.setdefault((ratio.group, ratio.peer, ratio.by), []).append(math.log(ratio.ratio))
        return {series: math.exp(statistics.fmean(values)) for series, values in logs.items()}


def run_of(content: dict[str, Any]) -> Run:
    """The run that a JSON of `benchmarks.run` or `benchmarks.model` holds.

    Raises:
        ValueError: the run may not be stored: of changed files, of small sizes, of no commit, or the JSON is of another
            program.
    """
    ratios = ratios_of(content)
    commit = content.get("commit_info") or {}
    if not commit.get("id"):
        raise ValueError("the run is of no commit")
    if commit.get("dirty"):
        raise ValueError(f"the run is of uncommitted changes on {commit['id'][:12]}")
    if "benchmarks" in content:
        facts, machine = content["fastlm"], content["machine_info"]
        if facts["quick"]:
            raise ValueError("the run has the small sizes of --quick")
        processor = machine.get("cpu", {}).get("brand_raw", machine["machine"])
        where = f"{processor}, {facts['processors']} usable, {machine['system']} {machine['machine']}"
        date, kind = content["datetime"][:19], "tokenizer"
        python, version = facts["python"], facts["fastlm"]
    else:
        versions = dict(part.rsplit(" ", 1) for part in content["machine"]["versions"].split(", "))
        where, kind = content["machine"]["device"], "model"
        date = datetime.strptime(content["machine"]["date"], "%Y-%m-%d %H:%M UTC").isoformat()
        python, version = versions["Python"], versions["fastlm"]
    if not ratios:
        raise ValueError("the run has no ratios: no other library took part")
    return Run(date, kind, commit["id"], where, python, version, ratios)


def add(content: dict[str, Any], folder: Path = FOLDER) -> Path:
    """Stores the run of a JSON; returns its file. Equal runs have equal files.

    Raises:
        ValueError: see `run_of`.
    """
    run = run_of(content)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{run.date.replace(':', '').replace('-', '')}-{run.kind}-{run.commit[:12]}.json"
    facts = {field.name: getattr(run, field.name) for field in fields(Run) if field.name != "ratios"}
    # a ratio a line, so that a diff shows what changed
    rows = ",\n".join(json.dumps(_rounded(ratio)) for ratio in run.ratios)
    path.write_text(f'{json.dumps(facts)[:-1]}, "ratios": [\n{rows}\n]}}\n', "utf-8")
    return path


def _rounded(ratio: Ratio) -> dict[str, Any]:
    found = {name: round(value, 4) if isinstance(value, float) else value for name, value in asdict(ratio).items()}
    return {name: value for name, value in found.items() if value not in (None, "", False)}


def read(folder: Path = FOLDER) -> list[Run]:
    """All stored runs, oldest first."""
    runs = []
    for path in sorted(folder.glob("*.json")):
        content = json.loads(path.read_text("utf-8"))
        try:
            runs.append(Run(**content | {"ratios": [Ratio(**ratio) for ratio in content["ratios"]]}))
        except (KeyError, TypeError) as error:
            raise ValueError(f"{path}: not a stored run: {error}") from error
    return sorted(runs, key=lambda run: run.date)


def by_machine(runs: Sequence[Run]) -> dict[tuple[str, str], list[Run]]:
    """The runs that may be compared, by kind and machine."""
    found: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        found.setdefault((run.kind, run.machine), []).append(run)
    return found


def render(runs: Sequence[Run]) -> str:
    """The page in Markdown."""
    parts = [
        "# Ratios over time",
        "Written by `python -m benchmarks.history` from the files in [history](history), one for each run of a clean "
        "tree. A figure is the geometric mean over the vocabularies and texts of a measurement: how many times as good "
        "as the peer fastlm is. Runs of different machines are not compared. Where the peer emulates a dtype, the "
        "ratio is marked and belongs to no mean. `python -m benchmarks.gate` fails if a ratio of the newest run is "
        "lower than its noise explains.",
    ]
    if not runs:
        return "\n\n".join([*parts, "No run is stored."]) + "\n"
    parts.append(f"![Ratios over time]({PLOT.name})")
    for (kind, machine), found in by_machine(runs).items():
        shown = found[-COLUMNS:]
        head = ["", "compared with", "by", *(f"{run.date[:10]}<br>{run.commit[:8]}" for run in shown)]
        means = [run.series() for run in shown]
        names = sorted({series for mean in means for series in mean})
        rows = [[*series, *(number(mean[series]) if series in mean else "-" for mean in means)] for series in names]
        parts += [f"## {kind.capitalize()}: {machine}", table([head, *rows], words=3), *_emulated(shown[-1])]
    return "\n\n".join(parts) + "\n"


def _emulated(run: Run) -> list[str]:
    """Ratios that are no merit of fastlm, from the newest run."""
    rows = [[ratio.case, f"{ratio.peer} (emulates)", number(ratio.ratio)] for ratio in run.ratios if ratio.emulated]
    if not rows:
        return []
    return [
        "Not counted, because the peer emulates the dtype:",
        table([["", "compared with", "ratio"], *rows], words=2),
    ]


def draw(runs: Sequence[Run], path: Path) -> None:
    """A plot for each machine and kind of run: the means of `Run.series` by date, on a logarithmic axis."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context({"svg.hashsalt": "fastlm", "font.size": 7}):
        groups = by_machine(runs)
        figure = Figure(figsize=(11, 6.5 * len(groups)), layout="constrained")
        for ax, ((kind, machine), found) in zip(
            figure.subplots(len(groups), 1, squeeze=False)[:, 0], groups.items(), strict=True
        ):
            means = [run.series() for run in found]
            for series in sorted({series for mean in means for series in mean}):
                points = [(k, mean[series]) for k, mean in enumerate(means) if series in mean]
                label = f"{series[0]}, x {series[1]}, {series[2]}"
                ax.plot(*zip(*points, strict=True), marker="o", markersize=3, linewidth=1, label=label)
            ax.set_title(f"{kind}: {machine}")
            ax.set_xticks(range(len(found)), [f"{run.date[:10]}\n{run.commit[:8]}" for run in found])
            ax.set_yscale("log")
            ax.axhline(1, color="grey", linewidth=0.5)
            ax.set_ylabel("times as good as the peer")
            ax.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), fontsize=5)
        figure.savefig(path, metadata={"Date": None})


def write(folder: Path = FOLDER, page: Path = PAGE) -> None:
    """HISTORY.md, and HISTORY.svg if a run is stored."""
    runs = read(folder)
    page.write_text(render(runs), "utf-8")
    if runs:
        draw(runs, page.with_suffix(".svg"))


def keep(content: dict[str, Any]) -> None:
    """Adds the result of a benchmark that has ended, and writes the page; prints why where it may not be stored."""
    try:
        path = add(content)
    except ValueError as reason:
        print(f"not added to benchmarks/history: {reason}", file=sys.stderr)
        return
    print(f"added {path}", file=sys.stderr)
    write()


def main(args: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command")
    adding = commands.add_parser("add", help="store the result of a run")
    adding.add_argument("results", type=Path, nargs="+", metavar="RESULT.json")
    options = parser.parse_args(args)
    for path in options.results if options.command == "add" else ():
        try:
            print(add(json.loads(path.read_text("utf-8"))))
        except (OSError, ValueError, KeyError) as error:
            print(f"history: {path}: {error}", file=sys.stderr)
            return 1
    write()
    return 0


if __name__ == "__main__":
    sys.exit(main())
