"""The reliability table: the cheap rows briefly, and the page. `python -m tests.reliability` measures all."""

import json
import sys

import pytest

from tests.fuzz import harness
from tests.reliability import children, failing, limited, table
from tests.reliability.row import Row, Trial

CHEAP = (4, 5, 8, 9, 23)


@pytest.mark.parametrize(
    "number",
    [
        *CHEAP,
        *(pytest.param(number, marks=pytest.mark.nightly) for number in table.ROWS if number not in CHEAP),
    ],
)
def test_everything_of_a_row_survives(number):
    trial = Trial(0.3 if number in CHEAP else 20.0)
    table.ROWS[number].measure(trial)
    assert trial.findings == []
    assert trial.tried == trial.survived


def test_the_table_has_27_rows_without_gaps():
    assert sorted(table.ROWS) == list(range(1, 28))


def test_a_page_says_what_was_measured_and_what_was_not(tmp_path):
    result = table.Result(5, 1234, 1233, "a|b", 2.0, "abc", ["encode of None: crash"])
    path = tmp_path / "folder" / "results.json"
    table.write(path, {5: result})
    assert table.read(path) == {5: result}
    assert table.read(tmp_path / "missing") == {}
    assert json.loads(path.read_text())[0]["tried"] == 1234
    page = table.page(table.read(path))
    assert r"| 1,234 | 1,233 | a\|b | 2 | abc |" in page
    assert page.count("| not measured |") == 26
    assert "- Row 5: encode of None: crash" in page


def test_a_measurement_that_fails_is_a_finding(monkeypatch):
    def broken(trial: Trial) -> None:
        trial.count(True, times=3)
        trial.count(False, "wrong")
        raise OSError("no room")

    monkeypatch.setitem(table.ROWS, 99, Row(99, "made up", "-", broken))
    result = table.measured(table.ROWS[99], 1.0)
    assert (result.tried, result.survived) == (5, 3)
    assert result.findings == ["wrong", "the measurement ended with OSError: no room"]
    assert table.line(result) == "99 made up: 5 tried, 3 survived, worst: -"


@pytest.mark.filterwarnings("ignore:This process.*fork:DeprecationWarning")
@pytest.mark.parametrize(
    ("function", "outcome"),
    [
        (lambda: "right", "right"),
        (lambda: __import__("os").kill(__import__("os").getpid(), 9), "signal 9"),
        (lambda: [None for _ in iter(int, 1)], "hang of more than 0 s"),
        (lambda: 1 // 0, "ZeroDivisionError"),
    ],
)
def test_the_outcome_of_a_child_is_told(function, outcome):
    assert outcome in children.outcome_of(function, 0.4 if "hang" in outcome else 30.0)


@pytest.mark.skipif(not sys.platform.startswith("linux") or bool(harness.missing("gcc")), reason="gcc on Linux")
@pytest.mark.parametrize(("kind", "name", "least"), [("memory", "decode", 3), ("files", "save fastlm", 8)])
def test_each_failing_call_is_survived(kind, name, least):
    found = list(failing.tried(kind, name, budget=60.0))
    assert [(operation, k, fault) for operation, k, fault in found if fault] == []
    assert len(found) >= least


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits of Linux")
@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("file_size", "save fastlm"),
        pytest.param("memory", "decode", marks=pytest.mark.nightly),
        pytest.param("disk", "save fastlm", marks=pytest.mark.nightly),
    ],
)
def test_each_limit_is_survived(kind, name):
    if kind == "disk" and (reason := limited.reason_without_disk()):
        pytest.skip(reason)
    found = list(limited.tried(kind, name, budget=60.0, steps=8))
    assert [(operation, step, fault) for operation, step, fault in found if fault] == []
    assert len(found) == 8
