"""Rows 20, 22 and 27: the tests on builds with sanitizers, the lines they reach, the mutants they notice."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import tempfile

from tests import coverage, sanitizers
from tests.fuzz import harness
from tests.reliability.row import Row, Trial

LEAST_SECONDS = 60.0
# in less time, builds with checks are not made, but used if they exist
BUILDING_SECONDS = 600.0


def sanitized(trial: Trial) -> None:
    """Each build with checks runs test files for its part of the time."""
    if trial.seconds < LEAST_SECONDS:
        trial.worst = "needs a minute"
        return
    if reason := harness.missing("gcc"):
        trial.worst = reason
        return
    shares = {"address": 0.5, "thread": 0.2, "bounds": 0.2, "kernels": 0.1}
    parts = []
    for name, share in shares.items():
        if trial.seconds < BUILDING_SECONDS and not sanitizers.is_built(name):
            parts.append(f"{name} not built")
            continue
        passed = 0
        for outcome in sanitizers.results(name, seconds=share * trial.seconds):
            trial.count(True, times=outcome.passed)
            passed += outcome.passed
            if outcome.report:
                trial.count(False, f"{name}: {outcome.file}: {outcome.report[-400:]}")
        parts.append(f"{name} {passed:,}")
    trial.worst = f"tests that passed: {', '.join(parts)}"


def covered(trial: Trial) -> None:
    """Lines of Python and Cython, and branches of Python."""
    if trial.seconds < LEAST_SECONDS:
        trial.worst = "needs a minute"
        return
    if importlib.util.find_spec("coverage") is None:
        trial.worst = "coverage is not installed"
        return
    found = coverage.measured(profile="ci" if trial.seconds >= 600 else "brief")
    trial.tried = found.lines + found.branches
    trial.survived = found.lines_reached + found.branches_reached
    trial.worst = str(found)
    if not found.is_enough:
        trial.findings.append(f"{found}; {found.tests}")


def mutants(trial: Trial) -> None:
    if trial.seconds < LEAST_SECONDS:
        trial.worst = "needs a minute"
        return
    number = max(2, int(trial.seconds / 30))
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "tests.mutants", "--sample", str(number), "--folder", folder + "/copy"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = re.search(r"(\d+) mutants, (\d+) noticed", done.stdout)
    if not found:
        trial.count(False, (done.stdout + done.stderr)[-300:])
        return
    tried, noticed = map(int, found.groups())
    trial.count(True, times=noticed)
    trial.worst = f"{tried} of {_all_mutants()} mutants, chosen at random"
    if tried > noticed:
        survivors = re.findall(r"^(\d+ .*)\n +SURVIVED", done.stdout, re.MULTILINE)
        trial.count(False, "; ".join(survivors)[:300], times=tried - noticed)


def _all_mutants() -> int:
    from tests.mutants.__main__ import MUTANTS

    return len(MUTANTS)


ROWS = [
    Row(20, "tests under AddressSanitizer and UBSan, ThreadSanitizer, bounds checks", "0 reports", sanitized, share=20),
    Row(22, "coverage of the tokenizer side, Python and Cython", "95 % of lines, 90 % of branches", covered, share=18),
    Row(27, "mutants of the source that the tests notice", "at least 95 %", mutants, share=12),
]
