"""Recipes that are killed at random moments and run again, compared with a run that is not.

    python -m tests.recipe_kills --kills 20

Prints the number of kills, the stages in which they came, and how many runs differ in an output of any stage: corpus,
tokenizer, shards, losses and weights, evaluation, exported files. Exits with 1 if any did.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from fastlm.files.checksum import sha256_of_file, sha256_of_json
from fastlm.model.safetensors_file import read_archive
from fastlm.recipes.recipe import Recipe, load_recipe
from fastlm.recipes.run import STAGES, UNFINISHED, run_recipe
from fastlm.recipes.stage_record import read_record
from fastlm.training.checkpoint_rotation import CheckpointRotation
from fastlm.training.log import read_log

TEXT = "<|endoftext|>".join(f"the cat {k} sat on mat {k * k} and ran" for k in range(3000))
# a small model on a small text, so that a run takes seconds
SMALL = {
    "tokenizer.vocab_size": 300,
    "model": {"d_model": 16, "num_layers": 1, "num_heads": 2, "d_ff": 24, "context_length": 16},
    "training.steps": 60,
    "training.batch_size": 4,
    "training.warmup_steps": 3,
    "training.log_every": 1,
    "training.eval_every": 20,
    "training.eval_sequences": 8,
    "training.checkpoint_every": 7,
    "training.peak_flops": 1e11,
    "evaluation.sequences": 16,
    "evaluation.max_new_tokens": 5,
}
TIMES = ("seconds", "tokens_per_second", "mfu")


def result(run: Path) -> dict[str, Any]:
    """Everything that a run leaves but times: outputs of the stages, the log, the last checkpoint, names of files."""
    found: dict[str, Any] = {}
    for stage in STAGES:
        record = read_record(run / stage.name)
        assert record is not None, f"{stage.name} has no record"
        assert record.has_outputs(run / stage.name)
        found[stage.name] = {name: output.sha256 for name, output in record.outputs.items()}
        for name in found[stage.name]:
            assert sha256_of_file(run / stage.name / name) == found[stage.name][name]
    log = read_log(run / "training" / "log.jsonl")
    found["log"] = [{name: value for name, value in line.items() if name not in TIMES} for line in log]
    newest = CheckpointRotation(run / "training" / "checkpoints", 1).newest()
    assert newest is not None
    _, tensors, document = read_archive(newest)
    document["run"].pop("seconds")
    weights = {name: sha256_of_json(tensor.numpy().tobytes().hex()) for name, tensor in tensors.items()}
    found["checkpoint"] = (json.dumps(document, sort_keys=True), weights)
    found["names"] = sorted(str(path.relative_to(run)) for path in run.rglob("*"))
    return found


def started(recipe: Recipe) -> int:
    """The id of a child that runs a recipe; it exits with 0 when the run is complete."""
    child = os.fork()
    if child:
        return child
    try:
        run_recipe(recipe)
    except BaseException as error:  # noqa: BLE001 - the child must not return into the parent's code
        print(type(error), error, file=sys.stderr, flush=True)
        os._exit(1)
    os._exit(0)


def stage_of(run: Path) -> str:
    """The stage that was at work when the process was killed."""
    unfinished = [path.name.rpartition("-")[0] for path in (run / UNFINISHED).glob("*-*")]
    return unfinished[0] if unfinished else "between"


def run_killed(recipe: Recipe, rng: random.Random, longest: float, stages: collections.Counter[str]) -> int:
    """Kills a run after at most `longest` seconds, again and again until it is complete; returns how often."""
    kills = 0
    while True:
        child = started(recipe)
        time.sleep(rng.random() * longest)
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status):
            if os.WEXITSTATUS(status):
                raise RuntimeError("a run that was started again failed")
            return kills
        kills += 1
        longest *= 1.2  # a busy machine may need longer for a stage than the run before it
        stages[stage_of(Path(recipe.out))] += 1


def small(out: Path, text: Path) -> Recipe:
    """The embedded recipe with a small model and another text, in a directory."""
    corpus = {"corpus.embedded": False, "corpus.inputs": [str(text)], "corpus.separator": "<|endoftext|>"}
    return load_recipe("embedded", {**SMALL, **corpus, "out": str(out)})


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--share", type=float, default=0.7, help="the longest time to a kill, as a share of a whole run"
    )
    parser.add_argument("--whole", action="store_true", help="the recipe as it is shipped, not a small model")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rng = random.Random(arguments.seed)
    stages: collections.Counter[str] = collections.Counter()
    with tempfile.TemporaryDirectory() as directory:
        base = Path(directory)
        (base / "text.txt").write_text(TEXT)

        def made(name: str) -> Recipe:
            whole = load_recipe("embedded", {"out": str(base / name)})
            return whole if arguments.whole else small(base / name, base / "text.txt")

        begun = time.perf_counter()
        os.waitpid(started(made("uninterrupted")), 0)
        longest = arguments.share * (time.perf_counter() - begun)
        expected = result(base / "uninterrupted")
        kills = runs = differing = 0
        while kills < arguments.kills:
            recipe = made(f"killed-{runs}")
            kills += run_killed(recipe, rng, longest, stages)
            differing += result(Path(recipe.out)) != expected
            runs += 1
    where = ", ".join(f"{count} in {name}" for name, count in stages.most_common())
    print(f"{kills} kills ({where}) in {runs} runs, {differing} of which differ from one that was not killed")
    return int(differing > 0)


if __name__ == "__main__":
    sys.exit(main())
