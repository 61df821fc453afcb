"""Progress: bars on a terminal and in a notebook, log lines everywhere else."""

import json
import logging
import re
import subprocess
import sys
import threading
import types

import numpy as np
import pytest

import fastlm
from fastlm import progress
from fastlm.corpus.block_encoder import count_tokens
from fastlm.corpus.verify import verify_shards
from fastlm.planning.rates import measure_rates
from fastlm.progress import Bars, Lines, progress_line, progress_values, reporting, shown
from tests import texts
from tests.children import LIMIT


@pytest.fixture
def lines(caplog):
    caplog.set_level(logging.INFO, "fastlm.progress")
    return caplog


def logged_by(caplog, number):
    """Waits for a number of lines of the timer."""
    ticks = threading.Event()
    while len(caplog.records) < number:
        ticks.wait(0.001)
    return caplog.records[:number]


def test_lines_have_rate_part_remaining_time_and_memory(lines):
    display = Lines(0.01)
    display("encode", 0, 4_000_000)
    display("encode", 1_000_000, 4_000_000)
    first, second = logged_by(lines, 2)
    display.close()
    for record in (first, second):
        assert record.levelno == logging.INFO
        expected = r"encode: 1\.00 MB of 4\.00 MB \(25\.0 %\), \S+ [kMG]?B/s, \S+ left, \S+ [MG]B of memory"
        assert re.fullmatch(expected, record.getMessage()), record.getMessage()
    values = first.progress
    assert (values["phase"], values["unit"], values["done"], values["total"]) == ("encode", "B", 1_000_000, 4_000_000)
    assert values["remaining_seconds"] == pytest.approx(3_000_000 / values["rate"])
    assert values["memory_bytes"] > 1_000_000
    assert second.progress["rate"] < values["rate"]  # the same work in more time


def test_a_phase_that_ends_before_the_first_line_is_not_logged(lines):
    display = Lines(3600)
    display("count", 1, 2)
    display("merge", 1, 2)
    display.close()
    assert not lines.records


def test_the_last_line_of_a_phase_is_its_end(lines):
    display = Lines(0.01)
    display("count", 5, 10)
    logged_by(lines, 1)
    display("count", 10, 10)
    display("merge", 0, 100)
    display.close()
    assert [record.progress["done"] for record in lines.records if record.progress["phase"] == "count"][-1] == 10


def test_the_rate_of_a_resumed_phase_is_of_the_new_part():
    values = progress_values("train", 900, 1000, 50, 10.0)
    assert values["rate"] == 5.0
    assert values["remaining_seconds"] == 20.0
    assert progress_line(values).startswith("train: 900 steps of 1,000 steps (90.0 %), 5 steps/s, 00:20 left, ")


def test_an_unknown_total_has_no_part_and_no_remaining_time():
    line = progress_line(progress_values("count", 3_000_000, None, 3_000_000, 2.0))
    assert line.startswith("count: 3.00 MB, 1.50 MB/s, ")
    assert "left" not in line


def test_text_is_shown_with_the_progress(lines):
    display = Lines(0.01)
    display("train", 3, 10)
    display.describe("loss 2.5")
    while not any("text" in record.progress for record in list(lines.records)):
        threading.Event().wait(0.001)
    display.close()
    last = lines.records[-1]
    assert last.getMessage().endswith("; loss 2.5")
    assert last.progress["text"] == "loss 2.5"


class Screen:
    """A standard error that is a terminal."""

    encoding = "utf-8"

    def __init__(self):
        self.text = ""

    def isatty(self):
        return True

    def write(self, text):
        self.text += text

    def flush(self):
        pass


def test_a_terminal_gets_one_bar_for_each_phase(monkeypatch, lines):
    screen = Screen()
    monkeypatch.setattr(sys, "stderr", screen)
    with shown() as display:
        assert isinstance(display, Bars)
        display("count", 0, 2_000_000)
        display("count", 2_000_000, 2_000_000)
        display("merge", 5, 10)
    assert "count: 100%" in screen.text
    assert "2.00M/2.00M" in screen.text
    assert "merge:  50%" in screen.text
    assert not lines.records


def test_a_notebook_gets_the_bar_of_tqdm_auto(monkeypatch):
    """Without ipywidgets, and outside of a real notebook, tqdm.auto falls back to text."""
    from tqdm.auto import tqdm

    shell = types.SimpleNamespace(config={"IPKernelApp": {}})
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: shell))
    assert progress._bar_class() is tqdm
    with shown() as display:
        assert isinstance(display, Bars)
        display("encode", 1, 2)
        assert isinstance(display._bar, tqdm)
        assert not display._bar.disable


def test_lines_go_to_the_standard_error_of_a_program_without_logging():
    program = (
        "from fastlm.progress import line_seconds, shown\nimport time\nline_seconds.set(0.01)\n"
        "with shown() as report:\n    report('encode', 1, 2)\n    time.sleep(0.1)"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=LIMIT)
    assert result.stdout == ""
    assert result.stderr.startswith("encode: 1.00 B of 2.00 B (50.0 %), ")


def test_progress_of_every_long_function(tmp_path, trained, monkeypatch):
    """Each tells increasing numbers that end at the total."""
    monkeypatch.setattr("fastlm.corpus.text_blocks.BLOCK_BYTES", 3000)
    monkeypatch.setattr("fastlm.planning.rates.BLOCK_BYTES", 3000)
    path = tmp_path / "text"
    path.write_bytes("<|endoftext|>".join(texts.DOCUMENTS).encode() * 3)
    size = path.stat().st_size
    seen = []

    def told(done, total):
        seen.append((done, total))

    fastlm.encode_corpus(trained, path, tmp_path / "ids", progress=told)
    count_tokens(trained, path, told)
    assert [pair for pair in seen if pair[0] == size] == [(size, size)] * 2
    seen.clear()
    verify_shards(tmp_path / "ids", told)
    files = [file.stat().st_size for file in (tmp_path / "ids").iterdir() if file.name.startswith("train")]
    assert seen[-1] == (sum(files), sum(files))
    phases = []
    measure_rates(path, 300, trained, progress=lambda *values: phases.append(values))
    assert {phase for phase, _, _ in phases} == {"count", "merge", "encode"}
    for phase in ("count", "merge", "encode"):
        done = [value for name, value, _ in phases if name == phase]
        assert done == sorted(done)
        assert done[-1] <= [total for name, _, total in phases if name == phase][-1]


def test_true_shows_the_progress(tmp_path, trained, lines, monkeypatch):
    token = progress.line_seconds.set(1e-4)
    try:
        text = texts.DOCUMENTS * 200
        fastlm.encode_corpus(trained, text, tmp_path / "ids", progress=True)
        fastlm.train_bpe(text, 400, progress=True)
    finally:
        progress.line_seconds.reset(token)
    assert {record.progress["phase"] for record in lines.records} <= {"encode", "count", "merge"}
    assert {record.progress["phase"] for record in lines.records} >= {"encode", "count"}


def test_false_and_none_show_nothing(lines):
    for value in (False, None):
        with reporting(value, "encode") as report:
            report(1, 2)
    assert not lines.records


def command(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "fastlm", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT,
    )


@pytest.fixture(scope="module")
def files(tmp_path_factory, trained):
    folder = tmp_path_factory.mktemp("progress")
    (folder / "text").write_bytes("<|endoftext|>".join(texts.DOCUMENTS).encode() * 400)
    trained.save(folder / "tokenizer")
    np.save(folder / "ids.npy", np.array(trained.encode("some text ") * 1_000_000, np.uint16))
    return folder


def test_commands_print_lines_without_a_terminal(files):
    tokenizer = ["--tokenizer", files / "tokenizer", "--log-seconds", "0.002"]
    runs = {
        "encode": ["encode", files / "text", "--out", files / "out", "--on-special", "text", *tokenizer],
        "verify": ["verify", files / "out", "--log-seconds=0.002"],
        "count": ["count", files / "text", *tokenizer],
        "decode": ["decode", files / "ids.npy", *tokenizer],
    }
    for phase, arguments in runs.items():
        result = command(*arguments)
        assert result.returncode == 0, result.stderr
        lines = result.stderr.splitlines()
        assert lines, phase
        for line in lines:
            assert re.fullmatch(rf"fastlm: {phase}: .* of memory", line), line
    # the last line is the end of the phase
    assert "(100.0 %)" in lines[-1]


def test_log_json_makes_every_line_of_the_standard_error_an_object(files):
    arguments = ["--tokenizer", files / "tokenizer", "--log-json", "--log-seconds", "0.002"]
    result = command("count", files / "text", *arguments)
    assert result.returncode == 0
    lines = [json.loads(line) for line in result.stderr.splitlines()]
    assert lines
    for line in lines:
        assert (line["level"], line["phase"], line["unit"]) == ("info", "count", "B")
        assert line["total"] == (files / "text").stat().st_size
        assert {"time", "message", "done", "rate", "remaining_seconds", "memory_bytes"} <= line.keys()
    result = command("--log-json", "count", files / "missing", "--tokenizer", files / "tokenizer")
    (line,) = result.stderr.splitlines()
    assert result.returncode == 1
    assert (json.loads(line)["level"], "missing" in json.loads(line)["message"]) == ("error", True)


@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf", "soon", ""])
def test_seconds_between_lines_must_be_positive(value):
    result = command("verify", "ids", "--log-seconds", value)
    expected = f"fastlm: --log-seconds must be a number above 0, got {value!r}\n"
    assert (result.returncode, result.stderr) == (1, expected)
