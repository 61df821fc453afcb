"""Runs that are killed at random moments and started again, compared with one that is not.

    python -m tests.model.killing --kills 100
    python -m tests.model.killing --kills 20 --terminate

Prints how many kills there were and how many runs differed in a loss, a weight or a state of the optimizer; exits
with 1 where any did. With --terminate the signal is SIGTERM, after which no step may be lost: the newest checkpoint has
all steps that the log has.
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
    except SystemExit as ended:
        os._exit(ended.code if isinstance(ended.code, int) else 1)
    except BaseException as error:  # noqa: BLE001 - the child must not return into the parent's code
        print(error, file=sys.stderr, flush=True)
        os._exit(1)
    os._exit(0)


def steps_lost(config: TrainingConfig) -> int:
    """The steps that a run has logged and that its newest checkpoint lacks."""
    out = Path(config.out)
    log = read_log(out / "log.jsonl") if (out / "log.jsonl").exists() else []
    newest = CheckpointRotation(out / "checkpoints", 1).newest()
    saved = 0 if newest is None else int(newest.stem.partition("-")[2])
    return max((line["step"] for line in log), default=0) - saved


def run_killed(
    config: TrainingConfig, longest: float, rng: random.Random, number: int = signal.SIGKILL
) -> tuple[int, int]:
    """Sends a signal to a run after at most `longest` seconds, again and again until it is complete.

    Returns:
        How often, and the number of steps that were lost.
    """
    kills = lost = 0
    while True:
        child = started(config)
        time.sleep(rng.random() * longest)
        os.kill(child, number)
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status) and os.WEXITSTATUS(status) != 128 + number:
            if os.WEXITSTATUS(status):
                raise RuntimeError("a run that was started again failed")
            return kills, lost
        kills += 1
        lost += steps_lost(config)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--terminate", action="store_true", help="send SIGTERM instead of SIGKILL")
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
        kills = runs = differing = lost = 0
        number = signal.SIGTERM if arguments.terminate else signal.SIGKILL
        while kills < arguments.kills:
            config = tiny.config(base / f"killed-{runs}", **settings)
            killed, steps = run_killed(config, longest, rng, number)
            kills, lost = kills + killed, lost + steps
            differing += result(config) != expected
            runs += 1
    print(f"{kills} kills in {runs} runs, {differing} of which differ from one that was not killed")
    if arguments.terminate:
        print(f"{lost} steps lost")
    return int(differing > 0 or (arguments.terminate and lost > 0))


if __name__ == "__main__":
    sys.exit(main())
