"""Measures which lines and branches of the tokenizer side the tests reach, the extension modules included.

    python -m tests.coverage --unreached

coverage counts lines and branches of Python. The extension modules are built with gcc's counters, in a copy of the tree
in build/sanitizers/coverage, and cython_coverage.py finds the lines of Cython. Prints the totals, and the statements
`raise` that no test reaches; with --unreached all lines. Exits with 1 below 95 % of lines or 90 % of branches.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

from tests import cython_coverage
from tests.conftest import DATA
from tests.sanitizers import FOLDER, built

# the packages of the tokenizer side, whose tests have the same names
PACKAGES = (
    *("text", "pretokenize", "normalizers", "vocabulary", "encoding", "decoding", "formats", "merging"),
    *("bpe_training", "files"),
)
TESTS = (
    *(f"tests/{name}" for name in PACKAGES if name != "merging"),
    *(
        "tests/test_tokenizer.py",
        "tests/test_arguments.py",
        "tests/test_token_lookup.py",
        "tests/test_hostile_files.py",
    ),
    *("tests/corpus/test_read.py", "tests/corpus/test_shards.py", "tests/kernels/test_bpe.py"),
)
# tests of memory and of seconds, which the counters change
WITHOUT = ("interrupt", "peak_memory", "memory_stays_flat", "holds_little", "limit_that_does_not")
LEAST_LINES = 0.95
LEAST_BRANCHES = 0.9
PASSED = re.compile(r"\d+ passed")
SETTINGS = """[run]
branch = true
source = {sources}
[report]
exclude_also =
    if TYPE_CHECKING:
    @overload
    raise NotImplementedError
    assert_never
"""


class Totals(NamedTuple):
    """What was reached: lines of Python and Cython, branches of Python, and statements `raise`."""

    lines: int
    lines_reached: int
    branches: int
    branches_reached: int
    raises: int
    raises_reached: int
    unreached_raises: list[str]
    unreached_lines: list[str]
    tests: str

    @property
    def is_enough(self) -> bool:
        """Whether the shares are those that the tests must reach."""
        lines, branches = self.lines_reached / max(1, self.lines), self.branches_reached / max(1, self.branches)
        return self.lines > 0 and lines >= LEAST_LINES and branches >= LEAST_BRANCHES

    def __str__(self) -> str:
        parts = (
            ("lines", self.lines_reached, self.lines),
            ("branches", self.branches_reached, self.branches),
            ("raise statements", self.raises_reached, self.raises),
        )
        return ", ".join(f"{100 * reached / max(1, of):.1f} % of {of:,} {what}" for what, reached, of in parts)


def measured(tests: tuple[str, ...] = TESTS, profile: str = "ci") -> Totals:
    """Builds with counters, and runs tests. Raises RuntimeError where coverage or gcov fails."""
    folder = built("coverage", {"FASTLM_COVERAGE": "1"})
    cython_coverage.forget(folder)
    settings = folder / "coverage.ini"
    settings.write_text(SETTINGS.format(sources="".join(f"\n    fastlm/{name}" for name in PACKAGES)))
    report = FOLDER / "coverage.json"
    command = [sys.executable, "-m", "coverage"]
    environment = os.environ | {
        "FASTLM_DATA": str(DATA),
        "FASTLM_TEST_PROFILE": profile,
        "COVERAGE_FILE": str(FOLDER / "coverage.data"),
    }
    pytest = ["-m", "pytest", "-q", "-p", "no:xdist", "-p", "no:cacheprovider"]
    pytest += ["-k", " and ".join(f"not {part}" for part in WITHOUT)]

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*command, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
        )

    run("erase", f"--rcfile={settings}")
    ends = []
    for test in tests:  # one process each: what ends one of them leaves the counts of the others
        done = run("run", "--append", f"--rcfile={settings}", *pytest, test)
        ends.append((done.stdout.strip().splitlines() or [done.stderr[-300:]])[-1])
    last = "; ".join(f"{test}: {end}" for test, end in zip(tests, ends, strict=True) if not PASSED.match(end))
    made = run("json", f"--rcfile={settings}", "-o", str(report))
    if made.returncode:
        raise RuntimeError(f"coverage: {(made.stdout + made.stderr)[-500:]}; tests: {last}")
    content = json.loads(report.read_text())
    modules = ("fastlm/_merge.pyx", *(f"fastlm/{name}/" for name in PACKAGES))
    native = cython_coverage.files(folder)
    content["files"] |= {name: file for name, file in native.items() if name.startswith(modules)}
    return totals(content, folder, last)


def totals(content: dict[str, Any], folder: Path, tests: str = "") -> Totals:
    """Adds up a report of coverage on files of a folder."""
    lines = reached = branches = branches_reached = raises = raises_reached = 0
    missed_raises: list[str] = []
    missed_lines: list[str] = []
    for name, file in content["files"].items():
        summary, missing = file["summary"], set(file["missing_lines"])
        lines, reached = lines + summary["num_statements"], reached + summary["covered_lines"]
        branches += summary.get("num_branches", 0)
        branches_reached += summary.get("covered_branches", 0)
        found = raising_lines((folder / name).read_text(), name.endswith(".py")) - set(file.get("excluded_lines", ()))
        raises, raises_reached = raises + len(found), raises_reached + len(found - missing)
        missed_raises += [f"{name}:{line}" for line in sorted(found & missing)]
        missed_lines += [f"{name}:{line}" for line in sorted(missing)]
    return Totals(
        lines, reached, branches, branches_reached, raises, raises_reached, missed_raises, missed_lines, tests
    )


def raising_lines(source: str, is_python: bool) -> set[int]:
    """The lines of statements `raise` in Python or Cython."""
    if is_python:
        return {node.lineno for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Raise)}
    return {number for number, line in enumerate(source.splitlines(), 1) if re.match(r"\s*raise\b", line)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tests", nargs="*", help="test files or folders; default: those of the tokenizer side")
    parser.add_argument("--profile", default="ci", help="the Hypothesis profile of the tests")
    parser.add_argument("--unreached", action="store_true", help="print all lines that no test reaches")
    arguments = parser.parse_args()
    found = measured(tuple(arguments.tests) or TESTS, arguments.profile)
    for line in found.unreached_lines if arguments.unreached else found.unreached_raises:
        print(f"not reached: {line}")
    print(f"{found}; {found.tests or 'all tests passed'}")
    return 0 if found.is_enough else 1


if __name__ == "__main__":
    sys.exit(main())
