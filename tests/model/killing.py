"""Runs that are killed at random moments and started again, compared with one that is not.

    python -m tests.model.killing --kills 100

Prints how many kills there were and how many runs differed in a loss, a weight or a state of the optimizer; exits
with 1 where any did.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from fastlm.model.files import load_model
from fastlm.model.safetensors_file import read_archive
from fastlm.training.checkpoint_rotation import CheckpointRotation
from fastlm.training.config import TrainingConfig
from fastlm.training.log import read_log
from fastlm.training.loop import train
from tests.model import tiny

TIMES = ("seconds", "tokens_per_second", "mfu")


def result(config: TrainingConfig) -> tuple[Any, ...]:
    """All that a run leaves but times: its log, the tensors and JSON of its last checkpoint, its model."""
    out = Path(config.out)
    log = [{name: value for name, value in line.items() if name not in TIMES} for line in read_log(out / "log.jsonl")]
    newest = CheckpointRotation(out / "checkpoints", 1).newest()
    assert newest is not None
    _, tensors, document = read_archive(newest)
    document["run"].pop("seconds")
    saved = {name: tensor.numpy().tobytes() for name, tensor in tensors.items()}
    model = {name: tensor.numpy().tobytes() for name, tensor in load_model(out / "model").state_dict().items()}
    names = sorted(str(path.relative_to(out)) for path in out.rglob("*"))
    return log, document, saved, model, names


def started(config: TrainingConfig) -> int:
    """The id of a child that trains; it exits with 0 when the run is complete."""
    child = os.fork()
    if child:
        return child
    try:
        train(config)
    except BaseException as error:  # noqa: BLE001 - the child must not return into the parent's code
        print(error, file=sys.stderr, flush=True)
        os._exit(1)
    os._exit(0)


def run_killed(config: TrainingConfig, longest: float, rng: random.Random) -> int:
    """Kills a run after at most `longest` seconds, again and again until it is complete; returns how often."""
    kills = 0
    while True:
        child = started(config)
        time.sleep(rng.random() * longest)
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status):
            if os.WEXITSTATUS(status):
                raise RuntimeError("a run that was started again failed")
            return kills
        kills += 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rng = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as directory:
        base = Path(directory)
        settings = {"steps": 40, "checkpoint_every": 3, "end_of_text": 0, "micro_batch_size": 4}
        config = tiny.config(base / "whole", **settings)
        begun = time.perf_counter()
        os.waitpid(started(config), 0)
        longest = 0.7 * (time.perf_counter() - begun)
        expected = result(config)
        kills = runs = differing = 0
        while kills < arguments.kills:
            config = tiny.config(base / f"killed-{runs}", **settings)
            kills += run_killed(config, longest, rng)
            differing += result(config) != expected
            runs += 1
    print(f"{kills} kills in {runs} runs, {differing} of which differ from one that was not killed")
    return int(differing > 0)


if __name__ == "__main__":
    sys.exit(main())
