"""SIGTERM and SIGINT at random moments of `fastlm train`: no step is lost."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from fastlm.cli import main  # noqa: E402
from fastlm.model.files import load_model  # noqa: E402
from fastlm.training.log import read_log  # noqa: E402
from tests.children import LIMIT, ended  # noqa: E402
from tests.model import tiny  # noqa: E402
from tests.model.models import same_weights  # noqa: E402

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs signals")

ROOT = Path(__file__).resolve().parents[2]


def hear_signals():
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def newest_step(out):
    return max((int(path.stem.removeprefix("step-")) for path in (out / "checkpoints").glob("step-*")), default=0)


def logged_step(out):
    path = out / "log.jsonl"
    return max((line["step"] for line in read_log(path)), default=0) if path.exists() else 0


def stopped(config, number, delay, log):
    """Starts a run, sends a signal `delay` seconds after its first new step, and returns the exit code."""
    out = Path(log["out"])
    before = logged_step(out)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "fastlm", "train", str(config), "--log-json"],
        cwd=ROOT, env=environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, preexec_fn=hear_signals,
    )  # fmt: skip
    with ended(process):
        while logged_step(out) == before and process.poll() is None:
            time.sleep(0.005)
        time.sleep(delay)
        process.send_signal(number)
        _, errors = process.communicate(timeout=LIMIT)
    return process.returncode, errors.decode().splitlines()


@pytest.mark.parametrize(("kills", "steps"), [(1, 200), pytest.param(20, 400, marks=pytest.mark.nightly)])
def test_no_step_is_lost(tmp_path, kills, steps):
    random_moments = random.Random(kills)
    # no regular checkpoint is due before the end, so a signal that saved nothing would lose every step
    common = {"steps": steps, "warmup_steps": 0, "checkpoint_every": steps, "log_every": 1}
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for out in (whole, killed):
        settings = tiny.config(tmp_path / "runs", **common)
        text = settings.to_toml().replace(json.dumps(settings.out), json.dumps(str(out)))
        (tmp_path / f"{out.name}.toml").write_text(text)
    assert main(["train", str(tmp_path / "whole.toml")]) == 0
    done = stops = 0
    for kill in range(kills):
        number = signal.SIGTERM if kill % 2 == 0 else signal.SIGINT
        code, lines = stopped(tmp_path / "killed.toml", number, random_moments.uniform(0, 0.05), {"out": killed})
        if code == 0:  # the run ended before the signal
            break
        stops += 1
        assert code == (143 if number == signal.SIGTERM else 130), lines
        last = json.loads(lines[-1])["message"]
        assert last.endswith("is saved; the same command resumes"), lines
        saved = newest_step(killed)
        assert saved > done
        assert logged_step(killed) == saved
        done = saved
    assert stops
    assert main(["train", str(tmp_path / "killed.toml")]) == 0
    assert [line.get("loss") for line in read_log(killed / "log.jsonl")] == [
        line.get("loss") for line in read_log(whole / "log.jsonl")
    ]
    assert same_weights(load_model(killed / "model"), load_model(whole / "model"))
