"""All rows, and docs/reliability.md made of what was measured."""

from __future__ import annotations

import json
import platform
import subprocess
import time
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path

from fastlm.machine import processor_name
from tests.reliability import adversarial, arguments, checked_builds, concurrency, exactness, files, training, whole
from tests.reliability.mended import MENDED
from tests.reliability.row import Row, Trial

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "reliability.md"
LIBRARIES = ("numpy", "tiktoken", "tokenizers", "pyarrow", "torch")

ROWS: dict[int, Row] = {
    row.number: row
    for module in (exactness, training, files, arguments, adversarial, concurrency, whole, checked_builds)
    for row in sorted(module.ROWS)
}


@dataclass
class Result:
    """What a row came to, and where and when."""

    number: int
    tried: int
    survived: int
    worst: str
    seconds: float
    commit: str
    findings: list[str] = field(default_factory=list)


def commit() -> str:
    """The commit of the tree; "changed" is added where files differ from it."""

    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()

    changed = git("status", "--porcelain", "--", "fastlm", "tests")
    return git("rev-parse", "--short", "HEAD") + (" changed" if changed else "")


def measured(row: Row, seconds: float) -> Result:
    """Measures a row. An exception of the measurement is a finding."""
    trial, start = Trial(seconds), time.monotonic()
    try:
        row.measure(trial)
    except Exception as error:  # noqa: BLE001 - the other rows are measured all the same
        trial.count(False, f"the measurement ended with {type(error).__name__}: {error}")
    return Result(
        row.number, trial.tried, trial.survived, trial.worst, time.monotonic() - start, commit(), trial.findings
    )


def line(result: Result) -> str:
    """The line that a row prints."""
    row = ROWS[result.number]
    return (
        f"{row.number} {row.name}: {result.tried:,} tried, {result.survived:,} survived, worst: {result.worst or '-'}"
    )


def read(path: Path) -> dict[int, Result]:
    """Results that an earlier run wrote; none if there is no file."""
    if not path.exists():
        return {}
    return {fields["number"]: Result(**fields) for fields in json.loads(path.read_text("utf-8"))}


def write(path: Path, results: dict[int, Result]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([asdict(result) for result in results.values()], indent=1), "utf-8")


def page(results: dict[int, Result]) -> str:
    """docs/reliability.md."""
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in LIBRARIES if _is_installed(name))
    lines = [
        "# Reliability",
        "",
        "Each row is a property that fastlm is tested for, with the number of cases tried and survived. `python -m",
        "tests.reliability` measures the rows and writes this page. A row that was not measured says so.",
        "",
        f"{processor_name()}, {platform.system()}, Python {platform.python_version()}, {versions}.",
        f"{sum(result.seconds for result in results.values()) / 60:.0f} minutes in all, while other work ran.",
        "",
        "| # | row | bar | tried | survived | worst | s | commit |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for number in range(1, max(ROWS) + 1):
        row = ROWS[number]
        result = results.get(number)
        if result is None or not result.tried:
            why = (result.worst if result else "") or "not part of the last run"
            lines.append(f"| {number} | {row.name} | {row.bar} | not measured | | {why} | | |")
        else:
            lines.append(
                f"| {number} | {row.name} | {row.bar} | {result.tried:,} | {result.survived:,} | {_cell(result.worst)} "
                f"| {result.seconds:.0f} | {result.commit} |"
            )
    lines += ["", "## Open findings", ""]
    open_findings = [f"- Row {number}: {_cell(found)}" for number in results for found in results[number].findings[:5]]
    lines += [*(open_findings or ["None."]), "", "## Mended findings", ""]
    lines += [f"- {fault} Shown by {test}." for fault, test in MENDED]
    return "\n".join([*lines, ""])


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ").encode("ascii", "backslashreplace").decode() or "-"


def _is_installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True
