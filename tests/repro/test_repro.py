"""Every program of a folder next to the data prints what is right."""

import subprocess
import sys
from pathlib import Path

import pytest

import fastlm
from tests.conftest import DATA
from tests.repro.runner import FORMER_NAMES, programs, run
from tests.repro.table import RIGHT
from tests.repro.verdict import Right, Run

ROOT = Path(fastlm.__file__).parents[1]
FOLDER = DATA.parent / "repro"
# those that take long: all runs of training, and imports of transformers
SLOW = ("model/", "tokenizers/E1", "tokenizers/F1")
NAMES = [pytest.param(name, marks=pytest.mark.nightly if name.startswith(SLOW) else ()) for name in sorted(RIGHT)]


@pytest.fixture(scope="module")
def folder() -> Path:
    """The folder of the programs, which lies next to the data."""
    if not FOLDER.is_dir():
        pytest.skip(f"no folder {FOLDER}: the programs lie next to the folder that FASTLM_DATA names")
    return FOLDER


@pytest.mark.parametrize("name", NAMES)
def test_the_output_is_right(folder, name):
    found = programs(folder)
    if name not in found:
        pytest.skip(f"{folder} has no program {name}")
    for module in ("torch", "transformers", "tokenizers") if name.startswith(("model/", "tokenizers/")) else ():
        pytest.importorskip(module)
    result = run(found[name], ROOT, RIGHT[name].arguments)
    assert RIGHT[name].complaints(result) == [], f"{result.out}\n{result.err}"


def test_every_program_has_a_right_outcome(folder):
    assert set(programs(folder)) <= set(RIGHT)


def test_an_outcome_that_is_not_right_is_told():
    run = Run("one\ntwo 3\n", "three\n", 0, ROOT)
    assert Right(("^one$",), ("^three$",), ("four",)).complaints(run) == []
    assert Right(("^tw$",)).complaints(run) == ["no match of '^tw$'"]
    assert Right(errors=("^one",)).complaints(run) == ["no match of '^one'"]
    assert Right(never=("tw.",)).complaints(run) == ["printed 'two'"]
    assert Right(returncode=1).complaints(run) == ["exit status 0, expected 1"]
    assert Right(check=lambda run: [f"{run.numbers('two (.)')}"]).complaints(run) == ["[3.0]"]
    assert Right().complaints(Run("", "", None, ROOT)) == ["killed: it took too long"]


def test_a_program_runs_in_its_own_folder_under_former_names(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "text").write_text("abc")
    (tmp_path / "repro" / "kind").mkdir(parents=True)
    (tmp_path / "repro" / "kind" / "common.py").write_text("A = 5")
    program = tmp_path / "repro" / "kind" / "x1_name.py"
    program.write_text(
        "import os, sys; from common import A; from fastlm._decode import Decoder; open('made', 'w')\n"
        "print(A, Decoder.__name__, os.listdir(), open('../shared/data/text').read(), sys.argv[1:])\n"
        "print('wrong', file=sys.stderr); sys.exit(3)"
    )
    assert programs(tmp_path / "repro") == {"kind/x1": program}
    found = run(program, ROOT, ["argument"])
    assert found == Run("5 Decoder ['made'] abc ['argument']\n", "wrong\n", 3, ROOT)
    assert sorted(path.name for path in tmp_path.rglob("*")) == [
        "common.py",
        "data",
        "kind",
        "repro",
        "text",
        "x1_name.py",
    ]


CHECK_FORMER_NAMES = """
import importlib, sitecustomize
for former, name in sitecustomize.RENAMED_MODULES.items():
    assert importlib.import_module(former) is importlib.import_module(name)
for module, names in sitecustomize.MOVED_NAMES.items():
    for former, (home, name) in names.items():
        assert getattr(importlib.import_module(module), former) is getattr(importlib.import_module(home), name)
loop = importlib.import_module(sitecustomize.TRAINING_LOOP)
assert loop.Run.train is loop.TrainingRun.train
loop.Run._update = lambda run, step: step
assert loop.Run._update(type("", (), {"former_batches": []})(), 5) == 5
"""


def test_former_names_lead_to_names_that_exist():
    pytest.importorskip("torch")
    environment = {"PYTHONPATH": f"{FORMER_NAMES}:{ROOT}"}
    done = subprocess.run([sys.executable, "-c", CHECK_FORMER_NAMES], env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
