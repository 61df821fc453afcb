"""Trackers, samples, summaries, and runs that are extended."""

import dataclasses
import json
import logging
import sys
import types
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

import fastlm  # noqa: E402
from fastlm.corpus.encode_corpus import encode_corpus  # noqa: E402
from fastlm.model.config import ModelConfig  # noqa: E402
from fastlm.training import TrainingConfig, train  # noqa: E402
from fastlm.training.log import read_log  # noqa: E402
from fastlm.training.loop import TrainingRun  # noqa: E402
from fastlm.training.schedule import cosine_schedule  # noqa: E402
from tests.model import tiny  # noqa: E402
from tests.model.killing import TIMES, result  # noqa: E402

TEXTS = [f"the cat sat on mat {number} and the dog ran" for number in range(60)]


class Tracked:
    """A module that records what a tracker is told, as wandb and trackio have the functions."""

    def __init__(self):
        self.runs, self.lines, self.ended = [], [], []

    def init(self, **options):
        self.runs.append(options)
        return self

    def log(self, values, step):
        json.dumps(values, default=lambda table: table.__dict__)
        self.lines.append((step, values))

    def finish(self, exit_code=None):
        self.ended.append(exit_code)

    def Table(self, columns, data):  # noqa: N802 - the name in wandb
        return types.SimpleNamespace(columns=columns, data=data)


@pytest.fixture(params=["wandb", "trackio"])
def tracker(request, monkeypatch):
    tracked = Tracked()
    monkeypatch.setitem(sys.modules, request.param, tracked)
    return request.param, tracked


@pytest.fixture(scope="module")
def ids(tmp_path_factory):
    directory = tmp_path_factory.mktemp("ids")
    tokenizer = fastlm.train_bpe([" ".join(TEXTS)], 300, ["<|endoftext|>"])
    tokenizer.save(directory / "tokenizer")
    encode_corpus(tokenizer, TEXTS, directory / "ids", end_of_text="<|endoftext|>", validation_fraction=0.3)
    return directory


def config_of(ids, out, **changes):
    values = {
        "model": ModelConfig(vocab_size=300, context_length=12, d_model=16, num_layers=1, num_heads=2, d_ff=24),
        "out": str(out),
        "train_data": (str(ids / "ids"),),
        "tokenizer": str(ids / "tokenizer"),
        "steps": 6,
        "batch_size": 4,
        "learning_rate": 1e-2,
        "precision": "float32",
        "device": "cpu",
        "log_every": 2,
        "eval_every": 3,
        "checkpoint_every": 2,
        "peak_flops": 1e11,
    }
    return TrainingConfig(**{**values, **changes})


def lines_of(config, name="log.jsonl"):
    lines = read_log(Path(config.out) / name)
    return [{key: value for key, value in line.items() if key not in TIMES} for line in lines]


def test_trackers_get_what_the_log_gets(ids, tmp_path, tracker):
    name, tracked = tracker
    config = config_of(ids, tmp_path / "run", **{name: True}, project="mice", sample_every=4, sample_tokens=5)
    train(config)
    (options,) = tracked.runs
    assert options["project"] == "mice"
    assert options["name"].startswith("run")
    assert options["config"]["batch_size"] == 4
    figures = [(step, values) for step, values in tracked.lines if "loss" in values or "valid_loss" in values]
    logged = read_log(Path(config.out) / "log.jsonl")
    assert [{"step": step, **values} for step, values in figures] == logged
    samples = [step for step, values in tracked.lines if any(key.startswith("sample") for key in values)]
    assert samples == [4, 6]
    assert tracked.ended == ([0] if name == "wandb" else [None])


def test_a_run_that_resumes_continues_its_run_of_the_tracker(ids, tmp_path, tracker, monkeypatch):
    name, tracked = tracker
    config = config_of(ids, tmp_path / "run", **{name: True})
    update = TrainingRun._update

    def failing(self, step, batches):
        if step == 5:
            raise ZeroDivisionError
        return update(self, step, batches)

    with monkeypatch.context() as patch:
        patch.setattr(TrainingRun, "_update", failing)
        with pytest.raises(ZeroDivisionError):
            train(config)
    assert tracked.ended == ([1] if name == "wandb" else [None])
    train(config)
    key = "id" if name == "wandb" else "name"
    first, second = tracked.runs
    assert first[key] == second[key]
    assert second["resume"] == "allow"
    other = dataclasses.replace(config, out=str(tmp_path / "other"))
    train(other)
    assert tracked.runs[2][key] != first[key]


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_a_missing_package_is_named_and_imported_only_if_it_is_asked_for(ids, tmp_path, monkeypatch, name):
    monkeypatch.setitem(sys.modules, name, None)
    train(config_of(ids, tmp_path / "plain", steps=2))
    with pytest.raises(ValueError, match=rf"{name} is true, but the package is missing: pip install {name}$"):
        train(config_of(ids, tmp_path / "run", **{name: True}))


def test_samples_change_nothing_and_are_the_same_after_a_stop(ids, tmp_path, monkeypatch):
    plain = config_of(ids, tmp_path / "plain")
    options = {"sample_every": 2, "sample_tokens": 6, "sample_prompts": ("the cat", "a dog")}
    sampled, stopped = (config_of(ids, tmp_path / name, **options) for name in ("sampled", "stopped"))
    train(plain)
    train(sampled)
    assert result(sampled)[:4] == result(plain)[:4]
    found = lines_of(sampled, "samples.jsonl")
    assert [line["step"] for line in found] == [2, 4, 6]
    assert [sample["prompt"] for sample in found[0]["samples"]] == ["the cat", "a dog"]
    assert all(sample["text"] for line in found for sample in line["samples"])
    assert not (tmp_path / "plain" / "samples.jsonl").exists()
    update = TrainingRun._update

    def stopping(self, step, batches):
        if step == 5:
            raise KeyboardInterrupt
        return update(self, step, batches)

    with monkeypatch.context() as patch:
        patch.setattr(TrainingRun, "_update", stopping)
        with pytest.raises(KeyboardInterrupt):
            train(stopped)
    with open(tmp_path / "stopped" / "samples.jsonl", "a") as file:
        file.write('{"step": 5, "samples": []}\n{"st')
    train(stopped)
    assert lines_of(stopped, "samples.jsonl") == found


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tokenizer": None}, "sample_every is 2, but no tokenizer is given"),
        ({"parallel": "fsdp"}, "sample_every does not go with parallel = 'fsdp'"),
        ({"sample_prompts": ("the cat " * 30,)}, "sample_prompts has 'the cat .* tokens; expected 1 to 11"),
        ({"sample_prompts": ("",)}, "sample_prompts has '', 0 tokens"),
    ],
)
def test_samples_that_cannot_be_made_are_refused_before_the_first_step(ids, tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        train(config_of(ids, tmp_path / "run", sample_every=2, **changes))
    assert not (tmp_path / "run").exists()


def test_the_end_of_a_run_is_summed_up(ids, tmp_path, caplog):
    caplog.set_level(logging.INFO, "fastlm.progress")
    config = config_of(ids, tmp_path / "run")
    train(config)
    found = json.loads((tmp_path / "run" / "summary.json").read_text())
    log = read_log(tmp_path / "run" / "log.jsonl")
    losses = [line for line in log if "loss" in line]
    assert found["loss"] == losses[-1]["loss"]
    assert found["valid_loss"] == log[-1]["valid_loss"]
    assert found["valid_bits_per_byte"] == log[-1]["valid_bits_per_byte"]
    assert found["tokens"] == 6 * 4 * 12
    assert found["tokens_per_second"] == pytest.approx(losses[-1]["tokens"] / losses[-1]["seconds"])
    assert found["model"] == str(tmp_path / "run" / "model")
    printed = caplog.text
    assert f"6 steps, 288 tokens, loss {found['loss']:.4f}, validation loss {found['valid_loss']:.4f}" in printed
    assert f"model in {tmp_path / 'run' / 'model'}" in printed


def test_a_run_that_is_extended_says_what_its_schedule_is(tmp_path, caplog):
    caplog.set_level(logging.INFO, "fastlm.progress")
    config = tiny.config(tmp_path / "runs", steps=4, warmup_steps=1)
    train(config)
    assert "extended from" not in caplog.text
    train(dataclasses.replace(config, steps=9))
    now, before = (cosine_schedule(4, 1e-2, 1e-3, 1, steps) for steps in (9, 4))
    assert (
        "extended from 4 to 9 steps: from step 5 on the learning rate follows the schedule of 9 steps, which has "
        f"{now:.3g} at step 4; the schedule of 4 steps had {before:.3g}"
    ) in caplog.text
    rates = [line["learning_rate"] for line in lines_of(config) if "loss" in line]
    assert rates[4:] == [cosine_schedule(step, 1e-2, 1e-3, 1, 9) for step in range(5, 10)]
    caplog.clear()
    train(dataclasses.replace(config, steps=9))
    assert "extended from" not in caplog.text
