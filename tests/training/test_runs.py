"""What a run refuses before its first step, what it never saves, and how it resumes."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import fastlm  # noqa: E402
from fastlm.cli import main  # noqa: E402
from fastlm.corpus.encode_corpus import encode_corpus  # noqa: E402
from fastlm.model import ModelConfig, SpecialTokenIds, bfloat16  # noqa: E402
from fastlm.model.files import load_model, save_model  # noqa: E402
from fastlm.model.hf import export_llama  # noqa: E402
from fastlm.model.llama2c import export_llama2c  # noqa: E402
from fastlm.training import TrainingConfig, hardware, load_config, parallel, train  # noqa: E402
from fastlm.training.checkpoint import read_checkpoint  # noqa: E402
from fastlm.training.log import read_log  # noqa: E402
from fastlm.training.loop import TrainingRun  # noqa: E402
from tests.model import tiny  # noqa: E402
from tests.model.killing import result  # noqa: E402
from tests.model.models import made, same_weights  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
TEXTS = [f"the cat sat on mat {number} and the dog ran" for number in range(60)]
SHAPE = ModelConfig(vocab_size=300, context_length=12, d_model=16, num_layers=1, num_heads=2, d_ff=24)


pytestmark = pytest.mark.usefixtures("one_torch_thread")


@pytest.fixture(scope="module")
def tokenizer():
    return fastlm.train_bpe([" ".join(TEXTS)], 300, ["<|endoftext|>"])


@pytest.fixture(scope="module")
def other_tokenizer():
    return fastlm.train_bpe(["completely other words are here, zebra quilt vortex jumps " * 20], 300, ["<|endoftext|>"])


@pytest.fixture(scope="module")
def ids(tokenizer, tmp_path_factory):
    """Folders of ids, and the tokenizer's."""
    directory = tmp_path_factory.mktemp("ids")
    tokenizer.save(directory / "tokenizer")
    encode_corpus(tokenizer, TEXTS, directory / "eot", end_of_text="<|endoftext|>", shard_tokens=200)
    encode_corpus(tokenizer, TEXTS, directory / "split", end_of_text="<|endoftext|>", validation_fraction=0.3)
    encode_corpus(tokenizer, TEXTS, directory / "bare")
    return directory


def config_of(directory, *folders, **changes):
    values = {
        "model": SHAPE,
        "out": str(directory / "run"),
        "train_data": tuple(map(str, folders)),
        "steps": 4,
        "batch_size": 4,
        "learning_rate": 1e-2,
        "precision": "float32",
        "device": "cpu",
        "log_every": 1,
        "checkpoint_every": 2,
        "peak_flops": 1e11,
    }
    return TrainingConfig(**{**values, **changes})


def losses(config):
    return [line["loss"] for line in read_log(Path(config.out) / "log.jsonl") if "loss" in line]


def checkpoints(config):
    return sorted(path.name for path in (Path(config.out) / "checkpoints").glob("*"))


# --- data, tokenizer and model that belong together ---


def test_a_folder_says_all_that_its_manifest_knows(ids, tokenizer, tmp_path):
    config = config_of(tmp_path, ids / "split", tokenizer=str(ids / "tokenizer"))
    folder = train(config)
    logged = read_log(Path(config.out) / "log.jsonl")
    assert logged[-1].keys() == {"step", "valid_loss", "valid_perplexity", "valid_bits_per_byte"}
    explicit = config_of(
        tmp_path,
        ids / "split" / "train-00000.npy",
        out=str(tmp_path / "explicit"),
        validation_data=(str(ids / "split" / "val-00000.npy"),),
        tokenizer=str(ids / "tokenizer"),
        end_of_text=tokenizer.special_tokens["<|endoftext|>"],
    )
    train(explicit)
    assert result(config)[:4] == result(explicit)[:4]
    model = load_model(folder, tokenizer)
    assert model.special_token_ids == SpecialTokenIds(eos=(0,))
    without = config_of(tmp_path, ids / "split", out=str(tmp_path / "without"), end_of_text=None)
    train(without)
    assert losses(without) != losses(config)
    by_glob = config_of(tmp_path, ids / "split" / "train-*.npy", out=str(tmp_path / "glob"))
    train(dataclasses.replace(by_glob, validation_data=(str(ids / "split" / "val-*"),)))
    assert losses(by_glob) == losses(config)
    # files by their names say nothing of documents, as before
    named = config_of(tmp_path, ids / "split" / "train-00000.npy", out=str(tmp_path / "named"))
    train(named)
    assert losses(named) == losses(without)


def test_documents_without_a_token_between_them_are_told_apart_by_their_ends(ids, tmp_path):
    by_ends = config_of(tmp_path, ids / "bare", validation_data=(str(ids / "split"),))
    train(by_ends)
    mixed = config_of(tmp_path, ids / "bare", out=str(tmp_path / "mixed"), end_of_text=None)
    train(mixed)
    assert losses(by_ends) != losses(mixed)
    run = read_checkpoint(max((Path(by_ends.out) / "checkpoints").iterdir()))[2]["run"]
    assert run["end_of_text"] == "recorded ends"


@pytest.mark.parametrize("given", ["tokenizer", "validation", "init_from", "two folders"])
def test_what_does_not_belong_together_is_refused(ids, other_tokenizer, tmp_path, given):
    other_tokenizer.save(tmp_path / "other")
    encode_corpus(other_tokenizer, TEXTS, tmp_path / "other-ids", end_of_text="<|endoftext|>")
    save_model(made(SHAPE), tmp_path / "model", other_tokenizer)
    folders, changes = [ids / "eot"], {}
    if given == "tokenizer":
        changes = {"tokenizer": str(tmp_path / "other")}
    elif given == "validation":
        changes = {"validation_data": (str(tmp_path / "other-ids"),)}
    elif given == "init_from":
        changes = {"init_from": str(tmp_path / "model")}
    else:
        folders.append(tmp_path / "other-ids")
    for names in (folders, [sorted(folder.glob("train-*.npy"))[0] for folder in folders]):
        with pytest.raises(ValueError, match=r"fingerprint .* belong together") as error:
            train(config_of(tmp_path, *names, **changes))
        assert other_tokenizer.vocabulary.fingerprint in str(error.value)
    assert not (tmp_path / "run").exists()


def test_the_fingerprint_of_the_ids_goes_with_the_model(ids, tokenizer, other_tokenizer, tmp_path):
    folder = train(config_of(tmp_path, ids / "eot"))
    assert load_model(folder, tokenizer).tokenizer_fingerprint == tokenizer.vocabulary.fingerprint
    with pytest.raises(ValueError, match="was trained with the tokenizer of fingerprint"):
        load_model(folder, other_tokenizer)


def test_ids_are_checked_before_the_first_step(ids, tmp_path):
    late = np.ones(5000, np.uint16)
    late[4321] = 300
    np.save(tmp_path / "late.npy", late)
    for changes in ({"train_data": (str(tmp_path / "late.npy"),)}, {"validation_data": (str(tmp_path / "late.npy"),)}):
        with pytest.raises(ValueError, match=r"late.npy: id 300 at position 4321; expected ids below .* 300"):
            train(config_of(tmp_path, ids / "eot", **changes))
    assert not (tmp_path / "run").exists()


def test_ends_of_text_that_contradict_each_other_are_refused(ids, tmp_path):
    with pytest.raises(ValueError, match=r"end_of_text is 5; .*manifest.json has 0"):
        train(config_of(tmp_path, ids / "eot", end_of_text=5))
    with pytest.raises(ValueError, match=r"end_of_text is 'auto', but folders differ: .* has 0, .* has None"):
        train(config_of(tmp_path, ids / "eot", ids / "bare"))
    with pytest.raises(ValueError, match=r"train-00000.npy: is in train_data and validation_data"):
        train(config_of(tmp_path, ids / "eot", validation_data=(str(ids / "eot"),)))


# --- numbers that are not finite ---


def finite(path):
    return all(bool(t.isfinite().all()) for t in read_checkpoint(path)[1].values())


@pytest.mark.parametrize("broken", ["gradient", "loss", "weight"])
def test_nothing_that_is_not_finite_is_saved(ids, tmp_path, monkeypatch, broken):
    config = config_of(tmp_path, ids / "split", steps=9, checkpoint_every=1, keep_checkpoints=1, eval_every=2)
    real = TrainingRun._update

    def update(self, step, batches):
        if step == 6:
            weight = self.model.lm_head.weight
            if broken == "gradient":
                # the loss does not see it
                weight.register_hook(lambda gradient: gradient * torch.nan)
            elif broken == "loss":
                weight.data[0, 0] = torch.nan
            else:
                found = real(self, step, batches)
                weight.data[0, 0] = torch.inf
                return found
        return real(self, step, batches)

    monkeypatch.setattr(TrainingRun, "_update", update)
    what = {
        "gradient": "the gradient norm of step 6 is nan",
        "loss": "the loss of step 6 is nan",
        "weight": "lm_head.weight is not finite after step 6",
    }[broken]
    advice = "try a lower learning_rate; the run resumes from step-00000005.safetensors"
    with pytest.raises(ValueError, match=f"{what}; {advice}"):
        train(config)
    assert checkpoints(config) == ["step-00000005.safetensors"]
    assert finite(Path(config.out) / "checkpoints" / "step-00000005.safetensors")
    assert not (Path(config.out) / "model").exists()
    assert all(np.isfinite(value) for line in read_log(Path(config.out) / "log.jsonl") for value in line.values())
    monkeypatch.undo()
    lower = dataclasses.replace(config, learning_rate=5e-3)
    train(lower)
    assert finite(Path(config.out) / "checkpoints" / "step-00000009.safetensors")


@pytest.mark.parametrize("rate", [100.0, 1e38, 1e300])
def test_a_run_that_diverges_keeps_what_was_good(ids, tmp_path, rate):
    config = config_of(tmp_path, ids / "split", steps=12, checkpoint_every=1)
    train(dataclasses.replace(config, steps=3))
    broken = dataclasses.replace(config, learning_rate=rate, min_learning_rate=rate, out=str(tmp_path / "broken"))
    try:
        train(broken)
    except ValueError as error:
        assert "try a lower learning_rate" in str(error)  # noqa: PT017 - it need not diverge
    for run in (config, broken):
        for path in (Path(run.out) / "checkpoints").glob("*"):
            assert finite(path)


# --- resuming ---


def test_steps_may_grow_and_learning_rates_fall(ids, tmp_path):
    config = config_of(tmp_path, ids / "split")
    first = load_model(train(config))
    longer = dataclasses.replace(config, steps=7, learning_rate=5e-3)
    second = load_model(train(longer))
    assert [line["step"] for line in read_log(Path(config.out) / "log.jsonl") if "loss" in line] == [*range(1, 8)]
    assert not same_weights(first, second)
    for changes, message in [
        ({"steps": 6}, "made with steps 7, not 6"),
        ({"steps": 8, "learning_rate": 6e-3}, "made with learning_rate 0.005, not 0.006"),
        ({"steps": 8, "min_learning_rate": 1e-3}, "made with min_learning_rate 0.0, not 0.001"),
        ({"steps": 8, "batch_size": 2}, "made with batch_size 4, not 2"),
    ]:
        with pytest.raises(ValueError, match=message):
            train(dataclasses.replace(longer, **changes))


def test_the_precision_that_a_run_began_with_is_kept(ids, tmp_path, monkeypatch):
    config = config_of(tmp_path, ids / "eot", precision="auto", steps=6)
    monkeypatch.setattr(bfloat16, "multiplies_bfloat16", lambda device: True)
    train(dataclasses.replace(config, steps=2))
    monkeypatch.setattr(bfloat16, "multiplies_bfloat16", lambda device: False)
    with pytest.warns(UserWarning, match="began with precision 'bfloat16' and keeps it; .* would choose 'float32'"):
        train(config)
    whole = dataclasses.replace(config, out=str(tmp_path / "whole"))
    monkeypatch.setattr(bfloat16, "multiplies_bfloat16", lambda device: True)
    train(whole)
    assert losses(config)[2:] != losses(whole)[2:]  # another schedule
    explicit = dataclasses.replace(whole, precision="float32")
    with pytest.raises(ValueError, match="made with precision 'bfloat16', not 'float32'"):
        train(explicit)
    run = read_checkpoint(Path(whole.out) / "checkpoints" / "step-00000006.safetensors")[2]["run"]
    assert run["precision"] == "bfloat16"


def test_the_older_checkpoint_is_named_if_the_newest_is_damaged(ids, tmp_path):
    config = config_of(tmp_path, ids / "eot", steps=6, keep_checkpoints=3)
    train(config)
    newest, middle = (Path(config.out) / "checkpoints" / f"step-0000000{step}.safetensors" for step in (6, 4))
    os.truncate(newest, 5000)
    with pytest.raises(ValueError, match=r"step-00000006.*; step-00000004.safetensors is whole: remove step-00000006"):
        train(config)
    os.truncate(middle, 50)
    with pytest.raises(ValueError, match=r"step-00000002.safetensors is whole: remove .* to resume from step 2"):
        train(config)
    shutil.copy(middle, Path(config.out) / "checkpoints" / "step-00000002.safetensors")
    with pytest.raises(ValueError, match=r"step-00000006.*not a whole checkpoint") as error:
        train(config)
    assert "is whole" not in str(error.value)


def test_data_that_changed_in_place_is_another_run(tmp_path):
    config = tiny.config(tmp_path / "runs", steps=2, warmup_steps=0)
    train(config)
    ids = np.load(config.train_data[0])
    ids[1234] = (ids[1234] + 1) % 40
    np.save(config.train_data[0], ids)
    with pytest.raises(ValueError, match="made with data_sha256"):
        train(dataclasses.replace(config, steps=3))


def test_a_run_that_gets_a_signal_saves_and_resumes(ids, tmp_path, monkeypatch):
    config = config_of(tmp_path, ids / "split", steps=8, checkpoint_every=100)
    whole = dataclasses.replace(config, out=str(tmp_path / "whole"))
    train(whole)
    real = TrainingRun._update
    for number, error, at in ((signal.SIGINT, KeyboardInterrupt, 3), (signal.SIGTERM, SystemExit, 5)):

        def update(self, step, batches, number=number, at=at):
            if step == at:
                os.kill(os.getpid(), number)
            return real(self, step, batches)

        with monkeypatch.context() as patch:
            patch.setattr(TrainingRun, "_update", update)
            before = [signal.getsignal(kind) for kind in (signal.SIGINT, signal.SIGTERM)]
            with pytest.raises(error) as raised:
                train(config)
            assert [signal.getsignal(kind) for kind in (signal.SIGINT, signal.SIGTERM)] == before
        assert raised.value.code == 143 if error is SystemExit else "stopped after step 3" in str(raised.value)
        assert checkpoints(config)[-1] == f"step-0000000{at}.safetensors"
    train(config)
    assert losses(config) == losses(whole)
    assert same_weights(load_model(Path(config.out) / "model"), load_model(Path(whole.out) / "model"))


# --- weights to start from ---


@pytest.mark.parametrize("form", ["fastlm", "llama", "llama2c"])
def test_a_run_starts_from_given_weights(ids, tokenizer, tmp_path, form):
    shape = dataclasses.replace(SHAPE, rope_layout="interleaved" if form == "llama2c" else "half", context_length=20)
    model = made(shape)
    model.special_token_ids = SpecialTokenIds(eos=(7,))
    source = tmp_path / "source"
    if form == "fastlm":
        save_model(model.bfloat16(), source, tokenizer)
        tokenizer.save(source)
    elif form == "llama":
        export_llama(model.bfloat16(), source, tokenizer)
    else:
        source.mkdir()
        export_llama2c(model, source := source / "model.bin")
    text = config_of(tmp_path, ids / "split", init_from=str(source), steps=1, learning_rate=1e-30).to_toml()
    for shortened in (text[: text.index("[model]")], text[: text.index("[model]")] + "[model]\ncontext_length = 9\n"):
        path = tmp_path / "config.toml"
        path.write_text(shortened)
        config = dataclasses.replace(load_config(path), out=str(tmp_path / f"run-{len(shortened)}"))
        assert config.model.context_length == (9 if "context_length" in shortened else 20)
        assert config.model.d_ff == shape.d_ff
        trained = load_model(train(config))
        for name, weight in trained.state_dict().items():
            torch.testing.assert_close(weight, model.float().state_dict()[name], rtol=0, atol=1e-6)
        assert trained.special_token_ids.eos == ((0,) if form == "llama2c" else (7,))
        assert trained.tokenizer_fingerprint == tokenizer.vocabulary.fingerprint
        if form == "fastlm":  # the tokenizer in the folder comes along
            assert "valid_bits_per_byte" in read_log(Path(config.out) / "log.jsonl")[-1]
    longer = dataclasses.replace(config, steps=2)
    train(longer)
    with pytest.raises(ValueError, match=r"a model with d_ff 24; \[model\] has 26"):
        train(dataclasses.replace(config, model=dataclasses.replace(config.model, d_ff=26)))
    with pytest.raises(FileNotFoundError, match="init_from"):
        train(dataclasses.replace(config, init_from=str(tmp_path)))
    with pytest.raises(ValueError, match="made with initial_weights"):
        train(dataclasses.replace(longer, init_from=None, steps=3))


def test_a_run_that_starts_from_a_model_learns_from_there(ids, tmp_path):
    first = config_of(tmp_path, ids / "eot", steps=60)
    folder = train(first)
    second = config_of(tmp_path, ids / "eot", init_from=str(folder), out=str(tmp_path / "second"), steps=2, seed=1)
    train(second)
    assert losses(second)[0] < (losses(first)[0] + losses(first)[-1]) / 2


# --- processes ---

WORKER = """
import os, sys
from pathlib import Path
import torch
from tests.training.test_runs import config_of, train
directory, folder = map(Path, sys.argv[1:])
rank = int(os.environ["RANK"])
torch.distributed.init_process_group("gloo")
for case, changes in {"checkpoint": {}, "seed": {"seed": rank}}.items():
    try:
        train(config_of(directory / case / f"node{rank}", folder, **changes))
    except ValueError as error:
        # a file of its own: lines of two processes in one pipe run together
        (directory / case / f"told{rank}").write_text(str(error))
torch.distributed.destroy_process_group()
"""


def test_processes_that_would_begin_differently_are_refused(ids, tmp_path):
    for case in ("checkpoint", "seed"):
        for rank in (0, 1):
            (tmp_path / case / f"node{rank}").mkdir(parents=True)
    train(config_of(tmp_path / "checkpoint" / "node0", ids / "eot", steps=4))
    (tmp_path / "worker.py").write_text(WORKER)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    launcher = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "0", "--standalone"]
    command = [sys.executable, *launcher, str(tmp_path / "worker.py"), str(tmp_path), str(ids / "eot")]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for case in ("checkpoint", "seed"):
        for rank in (0, 1):
            told = (tmp_path / case / f"told{rank}").read_text()
            assert "process 1 would begin after step 0 (no checkpoint, sha256" in told
            assert ("process 0 after step 4" in told) == (case == "checkpoint")
        assert not (tmp_path / case / "node1" / "run" / "checkpoints").exists()


# --- the process, and the command ---


@pytest.mark.parametrize("allow", [False, True])
def test_settings_of_the_process_are_restored(monkeypatch, allow):
    monkeypatch.setattr(torch.cuda, "device", lambda device: warnings.catch_warnings())
    cuda = torch.device("cuda")
    for before in ("highest", "high", "medium"):
        torch.set_float32_matmul_precision(before)
        with hardware.device_settings(cuda, allow):
            assert torch.get_float32_matmul_precision() == ("high" if allow else "highest")
        with pytest.raises(KeyError), hardware.device_settings(cuda, allow):
            raise KeyError
        with parallel.processes("cpu", allow):
            assert torch.get_float32_matmul_precision() == before
        assert torch.get_float32_matmul_precision() == before
    torch.set_float32_matmul_precision("highest")


def test_errors_of_torch_are_one_line(ids, tmp_path, monkeypatch, capsys):
    path = tmp_path / "config.toml"
    path.write_text(config_of(tmp_path, ids / "eot").to_toml())
    no_memory = RuntimeError("[enforce fail] DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes.")
    compiler = type("InvalidCxxCompiler", (RuntimeError,), {"__module__": "torch._inductor.exc"})
    for error, line in (
        (no_memory, "not enough memory (.*); lower micro_batch_size"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate"), "lower micro_batch_size"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to"), "lower micro_batch_size"),
        (MemoryError(), "lower micro_batch_size"),
        (compiler("No working C++ compiler found in torch._inductor"), "set compile = false"),
    ):

        def fail(self, error=error):
            raise error

        monkeypatch.setattr(TrainingRun, "train", fail)
        assert main(["train", str(path)]) == 1
        printed = capsys.readouterr().err
        assert printed.count("\n") == 1
        assert line.split("(")[0] in printed
    monkeypatch.setattr(TrainingRun, "train", lambda self: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        main(["train", str(path)])
    monkeypatch.setattr(TrainingRun, "train", lambda self: self.nothing.matmul())
    with pytest.raises(AttributeError):
        main(["train", str(path)])


def test_a_model_without_norms_is_trained_by_the_command(ids, tmp_path, capsys):
    path = tmp_path / "config.toml"
    text = config_of(tmp_path, ids / "eot", steps=1).to_toml()
    path.write_text(text.replace('norm = "pre"', 'norm = "none"'))
    assert main(["train", str(path)]) == 0
    path.write_text(text)
    assert main(["train", str(path), "--model.norm", "none", "--out", str(tmp_path / "option")]) == 0
    for name in ("run", "option"):
        assert load_model(tmp_path / name / "model").config.norm == "none"
        assert load_config(tmp_path / name / "config.toml").model.norm == "none"
    assert json.loads((tmp_path / "run" / "model" / "model.json").read_text())["config"]["norm"] == "none"
