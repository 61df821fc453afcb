"""Configurations that name data and size briefly, and what a run will cost."""

import dataclasses

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import fastlm  # noqa: E402
from fastlm.cli import main  # noqa: E402
from fastlm.corpus.encode_corpus import encode_corpus  # noqa: E402
from fastlm.model.memory import training_memory  # noqa: E402
from fastlm.model.parameters import num_parameters  # noqa: E402
from fastlm.training import dry_run, hardware, load_config, train  # noqa: E402
from fastlm.training.batches import BatchReader  # noqa: E402
from fastlm.training.checkpoint_rotation import CheckpointRotation  # noqa: E402
from fastlm.training.config import TrainingConfig  # noqa: E402
from fastlm.training.parallel import Processes  # noqa: E402
from fastlm.training.run_data import RunData  # noqa: E402
from tests.model import tiny  # noqa: E402
from tests.model.killing import result  # noqa: E402

TEXTS = [f"the cat sat on mat {number} and the dog ran" for number in range(60)]


@pytest.fixture(scope="module")
def ids(tmp_path_factory):
    directory = tmp_path_factory.mktemp("ids")
    tokenizer = fastlm.train_bpe([" ".join(TEXTS)], 290, ["<|endoftext|>"])
    tokenizer.save(directory / "tokenizer")
    encode_corpus(tokenizer, TEXTS, directory / "ids", end_of_text="<|endoftext|>", validation_fraction=0.3)
    return directory


def values(ids, **changes):
    found = {
        "out": str(ids / "run"),
        "data": str(ids / "ids"),
        "steps": 4,
        "batch_size": 4,
        "learning_rate": 1e-2,
        "device": "cpu",
        "model": {"depth": 1, "context_length": 16},
    }
    return {**found, **changes}


def test_data_and_depth_are_enough(ids):
    config = TrainingConfig.from_dict(values(ids))
    assert config.train_data == (str(ids / "ids"),)
    assert (config.model.vocab_size, config.model.d_model, config.model.num_heads) == (290, 64, 1)
    assert TrainingConfig.from_dict(values(ids, data=[str(ids / "ids")])) == config
    by_glob = TrainingConfig.from_dict(values(ids, data=str(ids / "i*")))
    assert by_glob.model == config.model
    python = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    del python["train_data"]
    assert TrainingConfig(**python, data=config.train_data) == config
    with pytest.raises(ValueError, match="data and train_data are given; expected only train_data"):
        TrainingConfig.from_dict(values(ids, train_data="x"))


def test_the_tokenizer_gives_the_vocabulary_of_bare_files(ids, tmp_path):
    np.save(tmp_path / "ids.npy", np.zeros(100, np.uint16))
    bare = values(ids, data=str(tmp_path / "ids.npy"))
    with pytest.raises(ValueError, match=r"model: incomplete model: .*'vocab_size'"):
        TrainingConfig.from_dict(bare)
    assert TrainingConfig.from_dict({**bare, "tokenizer": str(ids / "tokenizer")}).model.vocab_size == 290


def test_a_model_may_be_a_name(ids, tmp_path):
    named = TrainingConfig.from_dict(values(ids, model="tinystories"))
    assert (named.model.vocab_size, named.model.d_model) == (10_000, 512)
    path = tmp_path / "config.toml"
    path.write_text(named.to_toml())
    # a size on the command line replaces the whole size of the file, and keeps the rest
    changed = load_config(path, {"model": {"depth": 2, "norm": "post"}})
    assert (changed.model.d_model, changed.model.num_heads, changed.model.vocab_size) == (128, 2, 10_000)
    assert (changed.model.norm, changed.model.context_length) == ("post", 256)
    assert load_config(path, {"model": {"d_ff": 64}}).model.d_ff == 64
    path.write_text(named.to_toml().split("[model]")[0] + "[model]\ndepth = 3\npreset = 'gpt2'\n")
    with pytest.raises(ValueError, match=r"config.toml: model: preset and depth are given"):
        load_config(path)


def test_the_command_needs_no_file(ids, tmp_path, capsys):
    options = ["--data", str(ids / "ids"), "--out", str(tmp_path / "run"), "--depth", "1", "--steps", "2"]
    options += ["--batch-size", "2", "--learning-rate", "1e-3", "--model.context-length", "8", "--device", "cpu"]
    assert main(["train", *options, "--dry-run"]) == 0
    printed = capsys.readouterr().out
    assert not (tmp_path / "run").exists()
    config = load_config(None, {**values(ids), "out": "x", "model": {"depth": 1, "context_length": 8}})
    assert f"{num_parameters(config.model):,} parameters" in printed
    assert "32 tokens in 2 steps of 16" in printed
    assert "measured: " in printed
    assert main(["train", *options]) == 0
    assert capsys.readouterr().out == f"model in {tmp_path / 'run' / 'model'}\n"
    assert main(["train", *options[2:]]) == 1
    assert "--train-data is missing" in capsys.readouterr().err


def test_a_dry_run_checks_everything_and_writes_nothing(ids):
    config = TrainingConfig.from_dict(values(ids, steps=300_000, micro_batch_size=2, precision="float32"))
    found = dry_run.dry_run(config)
    assert not (ids / "run").exists()
    assert found.plan.tokens == 300_000 * 4 * 16
    assert found.plan.memory == training_memory(config.model, 2)
    assert found.step_seconds > 0
    with pytest.raises(ValueError, match="end_of_text is 5"):
        dry_run.dry_run(dataclasses.replace(config, end_of_text=5))
    with pytest.raises(ValueError, match="micro_batch_size is 3"):
        dry_run.dry_run(dataclasses.replace(config, micro_batch_size=3))


def test_a_dry_run_measures_no_step_that_needs_more_memory_than_there_is(ids, monkeypatch):
    monkeypatch.setattr(dry_run, "available_memory", lambda device: 1000)
    found = dry_run.dry_run(TrainingConfig.from_dict(values(ids)))
    assert found.step_seconds is None
    assert "not enough free memory to measure a step" in list(found.lines())


def test_a_dry_run_of_a_stopped_run_plans_the_rest(tmp_path):
    config = tiny.config(tmp_path / "runs")
    train(config)
    longer = dataclasses.replace(config, steps=30)
    newest = CheckpointRotation(tmp_path / "runs" / "run" / "checkpoints", 2).newest()
    before = newest.read_bytes()
    found = dry_run.dry_run(longer)
    assert found.done == 12
    assert "steps 13 to 30" in next(found.lines())
    assert newest.read_bytes() == before


@pytest.mark.nightly
def test_a_long_run_of_gpt2s_size_is_planned_on_tiny_data(ids, tmp_path):
    # each split has more than a context of 1,024 ids
    data = tmp_path / "ids"
    tokenizer = fastlm.load(ids / "tokenizer")
    encode_corpus(tokenizer, TEXTS * 10, data, end_of_text="<|endoftext|>", validation_fraction=0.3)
    changes = {"data": str(data), "steps": 300_000, "batch_size": 512, "micro_batch_size": 1, "precision": "float32"}
    found = dry_run.dry_run(TrainingConfig.from_dict(values(ids, model="gpt2", **changes)))
    assert found.plan.tokens == 300_000 * 512 * 1024
    assert found.plan.parameters == 190_460_160
    assert any("of memory per process" in line for line in found.lines())


@pytest.mark.parametrize("prefetch", [0, 2, 50])
def test_batches_that_are_read_ahead_are_the_same(tmp_path, prefetch):
    plain = tiny.config(tmp_path / "runs", end_of_text=0, micro_batch_size=4)
    ahead = dataclasses.replace(plain, prefetch=prefetch, out=str(tmp_path / "ahead"))
    train(plain)
    train(ahead)
    assert result(ahead)[:4] == result(plain)[:4]


def test_an_error_while_reading_ahead_belongs_to_its_step(tmp_path, monkeypatch):
    config = tiny.config(tmp_path / "runs", prefetch=5)
    reader = BatchReader(config, RunData.open(config), Processes(0, 1, torch.device("cpu")), 8)
    read = reader.read
    monkeypatch.setattr(reader, "read", lambda step: read(step) if step < 4 else 1 / 0)
    done = []
    with pytest.raises(ZeroDivisionError):
        done.extend(step for step, _ in reader.steps(1, 9))
    done = []
    steps = reader.steps(1, 9)
    done = [next(steps)[0] for _ in range(3)]
    assert done == [1, 2, 3]
    with pytest.raises(ZeroDivisionError):
        next(steps)


def test_the_device_is_cuda_before_mps_before_cpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert hardware.find_device("auto", 0) == torch.device("cpu")
    made = []
    monkeypatch.setattr(torch, "empty", lambda *size, device: made.append(device))
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert hardware.find_device("auto", 0) == torch.device("mps")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert hardware.find_device("auto", 1) == torch.device("cuda:1")
    assert made == [torch.device("mps"), torch.device("cuda:1")]
