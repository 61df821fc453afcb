"""The training loop: what it computes, that it goes on where it stopped, and that processes change nothing."""

import json
import math
import os
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import fastlm  # noqa: E402
from fastlm.cli import main  # noqa: E402
from fastlm.model import TransformerLM, bfloat16  # noqa: E402
from fastlm.model.files import load_model  # noqa: E402
from fastlm.training import train  # noqa: E402
from fastlm.training.data import TokenFiles, document_ids, window_starts  # noqa: E402
from fastlm.training.evaluation import bytes_of_ids  # noqa: E402
from fastlm.training.hardware import autocast_type  # noqa: E402
from fastlm.training.log import read_log  # noqa: E402
from fastlm.training.mean_loss import MeanLoss  # noqa: E402
from tests.children import LIMIT  # noqa: E402
from tests.model import tiny  # noqa: E402
from tests.model.killing import TIMES, result  # noqa: E402
from tests.reference import training as reference  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]


pytestmark = pytest.mark.usefixtures("one_torch_thread")


def losses(config):
    return [line["loss"] for line in read_log(Path(config.out) / "log.jsonl") if "loss" in line]


def python(*arguments, timeout=LIMIT):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=timeout,
    )


def test_a_hundred_steps_are_those_of_a_plain_loop(tmp_path):
    config = tiny.config(tmp_path / "run", steps=100, eval_every=100, checkpoint_every=100, warmup_steps=10)
    train(config)
    torch.manual_seed(config.seed)
    model = TransformerLM.from_config(config.model)
    data = np.concatenate([np.load(config.train_data[0]), np.load(config.train_data[1]), tiny.ids(2000, 2)])
    length = config.model.context_length
    batches = []
    for step in range(1, 101):
        starts = window_starts(config.seed, step, config.batch_size, len(data) - length)
        batches.append(torch.stack([torch.from_numpy(data[s : s + length + 1].astype(np.int64)) for s in starts]))
    expected = reference.losses(model, batches, highest=1e-2, lowest=1e-3, warmup=10, cycle=100)
    assert expected[-1] < 0.9 * expected[0]
    np.testing.assert_allclose(losses(config), expected, rtol=1e-4)
    for name, weight in load_model(Path(config.out) / "model").state_dict().items():
        torch.testing.assert_close(weight, model.state_dict()[name], rtol=1e-2, atol=1e-4)


VARIANTS = {
    "accumulation": {"micro_batch_size": 2},
    "activation checkpointing": {"checkpoint_activations": True},
    "both": {"micro_batch_size": 1, "checkpoint_activations": True},
}


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    config = tiny.config(tmp_path_factory.mktemp("plain") / "run", end_of_text=0)
    train(config)
    return config


@pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS)
def test_what_saves_memory_changes_no_loss(tmp_path, plain, changes):
    config = tiny.config(tmp_path / "run", end_of_text=0, **changes)
    train(config)
    np.testing.assert_allclose(losses(config), losses(plain), rtol=1e-5)


def test_documents_are_kept_apart(tmp_path, plain):
    config = tiny.config(tmp_path / "run")
    train(config)
    assert losses(config)[0] != losses(plain)[0]


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize("stop", [1, 4, 7, 11])
def test_a_stopped_run_goes_on_bit_for_bit(tmp_path, monkeypatch, optimizer, stop):
    changes = {"optimizer": optimizer, "end_of_text": 0, "checkpoint_every": 3, "log_every": 2, "micro_batch_size": 4}
    whole, stopped = (tiny.config(tmp_path / name, **changes) for name in ("whole", "stopped"))
    train(whole)
    starts = fastlm.training.batches.window_starts

    def stopping(seed, step, *rest):
        if step > stop:
            raise KeyboardInterrupt
        return starts(seed, step, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(fastlm.training.batches, "window_starts", stopping)
        with pytest.raises(KeyboardInterrupt):
            train(stopped)
    with open(Path(stopped.out) / "log.jsonl", "a") as log:
        log.write('{"step": 1')  # as a kill in the middle of a line leaves it
    train(stopped)
    assert result(stopped) == result(whole)
    train(stopped)  # a run that is complete stays as it is
    assert result(stopped) == result(whole)


def test_runs_that_are_killed_end_as_if_they_were_not():
    done = python("-m", "tests.model.killing", "--kills", "4")
    assert done.returncode == 0, done.stderr
    assert "0 of which differ" in done.stdout


def test_two_processes_train_as_one(tmp_path):
    # DDP and FSDP2 over gloo, with accumulation, checkpoints and evaluation, stopped and continued
    directory = tmp_path / "runs"
    whole = tiny.config(directory, out=str(directory / "whole"))
    train(whole)
    launcher = ("-m", "torch.distributed.run", "--nproc-per-node", 2, "--master-port", 0, "--standalone")
    done = python(*launcher, "-m", "tests.model.processes", directory)
    assert done.returncode == 0, done.stderr
    for kind in ("ddp", "fsdp"):
        lines = zip(read_log(directory / "whole" / "log.jsonl"), read_log(directory / kind / "log.jsonl"), strict=True)
        for expected, found in lines:
            assert expected.keys() == found.keys()
            for name in expected.keys() - set(TIMES):
                assert found[name] == pytest.approx(expected[name], rel=1e-5), (kind, name)
        for name, weight in load_model(directory / "whole" / "model").state_dict().items():
            other = load_model(directory / kind / "model").state_dict()[name]
            torch.testing.assert_close(other, weight, rtol=1e-3, atol=1e-5)


# of torch itself, where it compiles an autograd.Function
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
@pytest.mark.parametrize(
    ("precision", "recompute"),
    [
        (None, False),
        pytest.param(None, True, marks=pytest.mark.nightly),
        pytest.param(torch.bfloat16, False, marks=pytest.mark.nightly),
        (torch.bfloat16, True),
    ],
)
def test_the_loss_compiles_to_one_graph(precision, recompute):
    torch.manual_seed(0)
    model = TransformerLM.from_config(tiny.MODEL)
    model.checkpoint_activations = recompute
    loss_of = MeanLoss(model, torch.device("cpu"), precision)
    compiled = torch.compile(loss_of, fullgraph=True, backend="aot_eager")
    inputs, targets = torch.randint(40, (2, 2, 12)).unbind()
    found = []
    for module in (loss_of, compiled):
        loss = module(inputs, targets, document_ids(inputs, 0))
        loss.backward()
        found.append([loss.detach(), *(parameter.grad for parameter in model.parameters())])
        model.zero_grad()
    tolerance = 1e-5 if precision is None else 3e-2
    for eager, graph in zip(*found, strict=True):
        assert float((eager - graph).norm()) <= tolerance * float(eager.norm())


@pytest.mark.filterwarnings("ignore:precision is 'bfloat16':UserWarning")
def test_bfloat16_trains_nearly_as_float32(tmp_path, plain):
    config = tiny.config(tmp_path / "run", end_of_text=0, precision="bfloat16")
    train(config)
    assert losses(config) != losses(plain)
    np.testing.assert_allclose(losses(config), losses(plain), rtol=2e-2)


@pytest.mark.parametrize(
    ("capabilities", "able"),
    [({}, False), ({"avx512_f": True}, False), *(({name: True}, True) for name in ("avx512_bf16", "amx_bf16", "bf16"))],
)
def test_bfloat16_is_chosen_where_the_processor_multiplies_it(tmp_path, monkeypatch, capabilities, able):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    config = {name: tiny.config(tmp_path, precision=name) for name in ("auto", "float32", "bfloat16")}
    cpu = torch.device("cpu")
    assert autocast_type(config["auto"], cpu) == (torch.bfloat16 if able else None)
    assert autocast_type(config["float32"], cpu) is None
    for left_to_torch, instead in ((True, "emulated, many times slower"), (False, "multiplied as float32")):
        monkeypatch.setattr(bfloat16, "LEFT_TO_TORCH", left_to_torch)
        with nullcontext() if able else pytest.warns(UserWarning, match=instead):
            assert autocast_type(config["bfloat16"], cpu) == torch.bfloat16


def test_an_evaluation_is_the_mean_over_all_windows_and_counts_bytes(tmp_path):
    tokenizer = fastlm.train_bpe(["ab abc abd"] * 3, 260, ["<|endoftext|>"])
    tokenizer.save(tmp_path / "tokenizer")
    ids = tokenizer.encode_to_numpy("ab abc<|endoftext|>abd cab" * 10).astype(np.uint16)
    directory = tmp_path / "run"
    directory.mkdir()
    np.save(directory / "ids.npy", ids)
    files = (str(directory / "ids.npy"),)
    config = tiny.config(
        directory,
        model=type(tiny.MODEL)(**{**tiny.MODEL.to_dict(), "vocab_size": 260}),
        train_data=files,
        validation_data=files,
        tokenizer=str(tmp_path / "tokenizer"),
        steps=2,
        warmup_steps=0,
        batch_size=3,
    )
    folder = train(config)
    line = read_log(Path(config.out) / "log.jsonl")[-1]
    model = load_model(folder, fastlm.load(folder))
    windows = [ids[start : start + 13] for start in range(0, len(ids) - 12, 12)]
    total = text = 0
    for window in windows:
        row = torch.from_numpy(window.astype(np.int64))
        with torch.no_grad():
            total += float(torch.nn.functional.cross_entropy(model(row[:-1]), row[1:], reduction="sum"))
        text += sum(len(tokenizer.vocab[token_id]) for token_id in row[1:].tolist() if token_id != 0)
    assert tokenizer.special_tokens["<|endoftext|>"] == 0
    loss = total / (12 * len(windows))
    assert line["valid_loss"] == pytest.approx(loss, rel=1e-5)
    assert line["valid_perplexity"] == pytest.approx(math.exp(loss), rel=1e-5)
    assert line["valid_bits_per_byte"] == pytest.approx(total / math.log(2) / text, rel=1e-5)
    with pytest.raises(ValueError, match="vocab_size is 259"):
        bytes_of_ids(tokenizer, 259)


def test_windows_of_an_evaluation_are_spread(tmp_path):
    config = tiny.config(tmp_path / "run")
    data = TokenFiles(config.validation_data, 40, 12)
    assert data.spread(4).tolist() == [0, 120, 240, 360]
    assert data.spread(1000).tolist() == data.spread(None).tolist() == [*range(0, 492, 12)]


def test_a_run_goes_on_only_as_what_it_was(tmp_path, plain):
    for changes, message in [
        ({"learning_rate": 2e-2}, "made with learning_rate 0.01, not 0.02"),
        ({"model": type(tiny.MODEL)(**{**tiny.MODEL.to_dict(), "d_ff": 26})}, "made with model.d_ff 24, not 26"),
        ({"train_data": plain.validation_data}, "made with data"),
    ]:
        config = tiny.config(Path(plain.train_data[0]).parent, **{"end_of_text": 0, **changes})
        with pytest.raises(ValueError, match=message):
            train(config)
    newest = Path(plain.out) / "checkpoints" / "step-00000012.safetensors"
    content = newest.read_bytes()
    newest.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(ValueError, match=r"step-00000012.* sha256"):
        train(plain)
    newest.write_bytes(content)


def test_a_loss_that_is_no_number_ends_the_run(tmp_path):
    config = tiny.config(tmp_path / "run", learning_rate=1e30, max_gradient_norm=None, warmup_steps=0)
    with pytest.raises(ValueError, match=r"the (loss|gradient norm) of step .* is (nan|inf); try a lower"):
        train(config)


def test_batches_that_do_not_divide_are_refused(tmp_path):
    with pytest.raises(ValueError, match="micro_batch_size is 3"):
        train(tiny.config(tmp_path / "run", micro_batch_size=3))
    with pytest.raises(ValueError, match="device is 'gpu'"):
        train(tiny.config(tmp_path / "run", device="gpu"))


def test_tensorboard_gets_what_the_log_gets(tmp_path, monkeypatch):
    config = tiny.config(tmp_path / "run", steps=3, tensorboard=True)
    pytest.importorskip("tensorboard")
    train(config)
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = EventAccumulator(str(Path(config.out) / "tensorboard"))
    board.Reload()
    assert [event.value for event in board.Scalars("loss")] == pytest.approx(losses(config))
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ValueError, match="pip install tensorboard"):
        train(tiny.config(tmp_path / "other", tensorboard=True))


def test_the_command_line_wins_over_the_file(tmp_path, capsys):
    config = tiny.config(tmp_path / "run", steps=2, warmup_steps=1)
    (tmp_path / "config.toml").write_text(config.to_toml())
    out = tmp_path / "other"
    options = ["--out", str(out), "--seed", "5", "--model.rope-theta", "None", "--compile", "False"]
    assert main(["train", str(tmp_path / "config.toml"), *options]) == 0
    assert capsys.readouterr().out == f"model in {out / 'model'}\n"
    saved = fastlm.training.load_config(out / "config.toml")
    assert (saved.seed, saved.steps, saved.model.rope_theta) == (5, 2, None)
    assert json.loads((out / "model" / "model.json").read_text())["config"] == saved.model.to_dict()
    assert main(["train", str(tmp_path / "config.toml"), "--warmup-steps", "9"]) == 1
    assert "--warmup-steps is 9; expected 0 to steps, 2" in capsys.readouterr().err


def test_describing_a_run_does_not_load_torch():
    done = python("-c", "import sys, fastlm.cli, fastlm.training; print('torch' in sys.modules)")
    assert done.stdout == "False\n"
