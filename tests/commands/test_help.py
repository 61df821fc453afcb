"""The help texts and docs/command_line.md: `python tools/write_command_line.py` writes both."""

import importlib.metadata
import os
import pty
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import fastlm
from fastlm import cli
from fastlm.commands import faults, overview, parse

ROOT = Path(__file__).resolve().parents[2]
HELPS = Path(__file__).parent / "help"
WRITER = runpy.run_path(str(ROOT / "tools" / "write_command_line.py"))
REMEDY = "run python tools/write_command_line.py and look at the difference"
NAMES = ("fastlm", *cli.COMMANDS)


@pytest.fixture(autouse=True)
def no_variables(monkeypatch):
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)


def pinned(package: str) -> str:
    constraints = (ROOT / "constraints.txt").read_text()
    return re.search(rf"^{package}==(.*)$", constraints, re.MULTILINE)[1]


@pytest.mark.parametrize("name", NAMES)
def test_the_help_is_the_recorded_one(name):
    if name != "fastlm" and importlib.metadata.version("tyro") != pinned("tyro"):
        pytest.skip("another version of tyro, which lays out the help of commands")
    assert (HELPS / f"{name}.txt").exists(), REMEDY
    assert WRITER["help_text"](name) == (HELPS / f"{name}.txt").read_text(), REMEDY


def test_there_are_no_other_recorded_texts():
    assert {path.stem for path in HELPS.glob("*")} == set(NAMES), REMEDY


@pytest.mark.parametrize("name", NAMES)
def test_the_help_fits_into_a_narrow_terminal_and_has_no_values_of_python(name):
    narrow = WRITER["help_text"](name).partition("--- 40 columns\n")[2]
    wide = [line for line in narrow.splitlines() if len(line) > 40]
    # an option with its metavar is not broken, and neither is the line of usage
    assert [line for line in wide if not re.match(r"usage:|│ -|  --", line)] == []
    for text in ("from CONFIG", "{None}", "(default: None)", "PosixPath", "<class"):
        assert text not in narrow


def test_the_page_is_up_to_date():
    assert (ROOT / "docs" / "command_line.md").read_text() == WRITER["page"](), REMEDY


def test_every_command_is_in_one_group():
    listed = [name for names in overview.GROUPS.values() for name in names]
    assert len(listed) == len(set(listed))
    assert [name for name in cli.COMMANDS if name not in listed] == []


def test_the_four_examples_are_command_lines_of_the_program():
    assert len(overview.EXAMPLES) == 4
    for _, (name, *arguments) in overview.EXAMPLES:
        assert callable(parse.parsed(name, cli.COMMANDS[name], arguments))


@pytest.mark.parametrize("width", ["40", "80", "200"])
def test_examples_can_be_pasted(width, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", width)
    assert cli.main(["--help"]) == 0
    examples = capsys.readouterr().out.partition("\nExamples\n")[2].replace("\\\n", " ")
    found = [shlex.split(line)[1:] for line in examples.splitlines() if line.startswith("    fastlm")]
    assert found == [list(arguments) for _, arguments in overview.EXAMPLES]


def test_no_command_prints_the_help_on_standard_error(capsys):
    assert cli.main([]) == 2
    without = capsys.readouterr()
    assert cli.main(["--help"]) == cli.main(["-h"]) == 0
    assert (without.out, 2 * without.err) == ("", capsys.readouterr().out)


@pytest.mark.parametrize(("no_color", "colored"), [(None, True), ("1", False), ("", True)])
@pytest.mark.parametrize("arguments", [["--help"], ["count", "--help"], ["count"]])
def test_colors_are_for_terminals_that_want_them(arguments, no_color, colored, tmp_path):
    """`script` runs the program with a terminal."""

    def child():
        environment = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
        if no_color is not None:
            environment["NO_COLOR"] = no_color
        environment["PYTHONPATH"] = str(Path(fastlm.__file__).parents[1])
        os.execve(sys.executable, [sys.executable, "-m", "fastlm", *arguments], environment | {"TERM": "xterm"})

    process, terminal = pty.fork()
    if process == 0:
        child()
    printed = b""
    try:
        while part := os.read(terminal, 1 << 16):
            printed += part
    except OSError:  # the end, on Linux
        pass
    os.waitpid(process, 0)
    os.close(terminal)
    assert (b"\x1b[" in printed) == colored


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_completion_scripts_name_commands_and_options(shell, capsys):
    with pytest.raises(SystemExit) as done:
        cli.main(["--tyro-print-completion", shell])
    assert done.value.code in (None, 0)
    script = capsys.readouterr().out
    for word in ("train-tokenizer", "vocab-size", "megatron"):
        assert word in script


def test_the_completion_script_is_one_of_bash(tmp_path):
    command = [sys.executable, "-m", "fastlm", "--tyro-write-completion", "bash", str(tmp_path / "script")]
    assert subprocess.run(command, cwd=ROOT, check=False).returncode == 0
    assert subprocess.run(["bash", "-n", str(tmp_path / "script")], check=False).returncode == 0


def test_the_exit_codes_of_the_page_are_those_of_the_program():
    from fastlm.interrupts import INTERRUPTS

    assert INTERRUPTS
    codes = {0, 1, parse.USAGE_ERROR, cli.INTERRUPTED, cli.BROKEN_PIPE, cli.TERMINATED}
    assert set(faults.EXIT_CODES) == codes
