"""Finds the lines of Cython that ran, from the counters that gcc adds to the generated C.

Cython writes the place of each statement into the C that it becomes. A statement ran if the first line of its C that
has a counter ran. Line tracing would tell the same, and take some hundred times longer.
"""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

STATEMENT = re.compile(r'\s*/\* "([^"]+)":(\d+)$')
END_OF_FUNCTION = "/* function exit code */"


def forget(folder: Path) -> None:
    """Deletes the counts of earlier runs in a tree that is built with FASTLM_COVERAGE=1."""
    for path in folder.glob("build/temp*/**/*.gcda"):
        path.unlink()


def files(folder: Path) -> dict[str, dict[str, Any]]:
    """The Cython files of a tree whose tests have run, in the form of coverage's reports.

    Raises:
        CalledProcessError: gcov fails.
    """
    found = {}
    for objects in sorted(folder.glob("build/temp*")):
        for notes in sorted(objects.rglob("*.gcno")):
            name = notes.relative_to(objects).with_suffix(".pyx").as_posix()
            generated = [(folder / name).with_suffix(ending) for ending in (".c", ".cpp")]
            generated = [path for path in generated if path.exists()]
            if not generated or not (folder / name).exists():
                continue
            ran = statements(generated[0].read_text("utf-8"), counts(notes, generated[0].name), name)
            missing = sorted(line for line, has_run in ran.items() if not has_run)
            found[name] = {
                "summary": {"num_statements": len(ran), "covered_lines": len(ran) - len(missing)},
                "missing_lines": missing,
            }
    return found


def counts(notes: Path, source: str) -> dict[int, int]:
    """How often each line of a C file ran that has a counter; 0 for all if no process has ended that used it."""
    command = ["gcov", "--json-format", "--stdout", str(notes)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    lines = [
        (line["line_number"], line["count"])
        for file in json.loads(done.stdout)["files"]
        if Path(file["file"]).name == source
        for line in file["lines"]
    ]
    found: dict[int, int] = {}
    for number, count in lines:
        found[number] = max(count, found.get(number, 0))
    return found


def statements(generated: str, ran: dict[int, int], name: str) -> dict[int, bool]:
    """Whether each statement of a Cython file ran.

    Args:
        generated: The C that Cython made.
        ran: Line of the C -> how often it ran.
        name: The Cython file, as Cython names it.
    """
    found: dict[int, bool] = {}
    waiting: int | None = None  # the statement whose first line with a counter comes next
    for number, line in enumerate(generated.splitlines(), 1):
        if place := STATEMENT.match(line):
            waiting = int(place[2]) if place[1] == name else None
        elif END_OF_FUNCTION in line:
            waiting = None
        elif waiting is not None and number in ran:
            found[waiting] = found.get(waiting, False) or ran[number] > 0
            waiting = None
    return found
