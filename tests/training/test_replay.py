"""Past steps of runs, computed again."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import fastlm  # noqa: E402
from fastlm.cli import main  # noqa: E402
from fastlm.corpus.document_table import write_document_tables  # noqa: E402
from fastlm.corpus.encode_corpus import encode_corpus  # noqa: E402
from fastlm.corpus.read import Corpus  # noqa: E402
from fastlm.model.config import ModelConfig  # noqa: E402
from fastlm.training import TrainingConfig, train  # noqa: E402
from fastlm.training.data import TokenFiles, window_starts  # noqa: E402
from fastlm.training.log import read_log  # noqa: E402
from fastlm.training.replay import replay  # noqa: E402
from tests.model import tiny  # noqa: E402

TEXTS = [f"the cat sat on mat {number} and the dog ran" for number in range(120)]
END = "<|endoftext|>"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run over two folders of several shards, with all of its checkpoints."""
    directory = tmp_path_factory.mktemp("run")
    tokenizer = fastlm.train_bpe([" ".join(TEXTS)], 300, [END])
    tokenizer.save(directory / "tokenizer")
    for number, texts in enumerate((TEXTS[:70], TEXTS[70:])):
        path = directory / f"{number}.txt"
        path.write_text(END.join(texts))
        corpus = Corpus([str(path)], separator=END)
        encode_corpus(tokenizer, corpus, directory / f"ids-{number}", end_of_text=END, shard_tokens=150)
        write_document_tables(directory / f"ids-{number}", tokenizer)
    config = TrainingConfig(
        model=ModelConfig(vocab_size=300, context_length=24, d_model=16, num_layers=1, num_heads=2, d_ff=24),
        out=str(directory / "run"),
        train_data=(str(directory / "ids-0"), str(directory / "ids-1")),
        tokenizer=str(directory / "tokenizer"),
        steps=6,
        batch_size=8,
        micro_batch_size=4,
        learning_rate=1e-2,
        precision="float32",
        device="cpu",
        log_every=1,
        checkpoint_every=1,
        keep_checkpoints=4,
        peak_flops=1e11,
    )
    train(config)
    return config


@pytest.mark.parametrize("step", [1, 4, 5, 6])
def test_a_step_with_its_checkpoint_has_the_losses_of_the_step(run, step):
    found = replay(run.out, step)
    assert found.is_exact
    logged = [line["loss"] for line in read_log(Path(run.out) / "log.jsonl")]
    assert found.logged_loss == logged[step - 1]
    assert found.loss == pytest.approx(logged[step - 1], rel=1e-5)


def test_other_steps_have_the_weights_of_the_nearest_checkpoint(run):
    found = replay(run.out, 2)
    assert (found.is_exact, found.weights, found.weights_step) == (False, "step-00000003.safetensors", 3)
    assert found.logged_loss != pytest.approx(found.loss, rel=1e-5)


def test_windows_are_those_of_the_step_with_their_text_and_documents(run):
    tokenizer = fastlm.load(run.tokenizer)
    data = TokenFiles(run.train_data, 300, 24)
    starts = window_starts(run.seed, 3, 8, data.num_starts)
    found = replay(run.out, 3)
    assert [window.start for window in found.windows] == starts.tolist()
    sources = {f"{number}.txt": (Path(run.tokenizer).parent / f"{number}.txt").read_bytes() for number in (0, 1)}
    split = 0
    for window, ids in zip(found.windows, data.windows(starts).tolist(), strict=True):
        assert window.ids == ids
        assert window.text == tokenizer.decode(ids)
        assert "".join(window.tokens) == window.text
        assert len(window.losses) == 24
        assert [one.first_token for one in window.documents] == np.cumsum(
            [0, *(one.tokens for one in window.documents[:-1])]
        ).tolist()
        assert sum(one.tokens for one in window.documents) == 25
        for one in window.documents:
            text = sources[Path(one.source).name][one.position :].split(END.encode())[0].decode()
            whole = [*tokenizer.encode(text), tokenizer.special_tokens[END]]
            part = whole[one.skipped_tokens : one.skipped_tokens + one.tokens]
            assert ids[one.first_token : one.first_token + one.tokens] == part
            split += one.skipped_tokens > 0
    assert split > 0


def test_losses_of_documents_do_not_see_each_other(run):
    window = replay(run.out, 1).windows[0]
    later = window.documents[1]
    assert later.first_token > 0
    # a token is predicted from its own document only, so another text before it changes nothing
    config = dataclasses.replace(run, end_of_text=None)
    Path(run.out, "config.toml").write_text(config.to_toml())
    try:
        other = replay(run.out, 1).windows[0]
    finally:
        Path(run.out, "config.toml").write_text(run.to_toml())
    # the separator before a document begins it, and predicts its first token
    first = later.first_token - 1
    assert window.losses[:first] == pytest.approx(other.losses[:first], rel=1e-4)
    assert window.losses[first:] != pytest.approx(other.losses[first:], rel=1e-4)


def test_the_command_prints_text_and_json(run, capsys):
    assert main(["replay", run.out, "--step", "6", "--json", "--windows", "2"]) == 0
    printed = json.loads(capsys.readouterr().out)
    found = replay(run.out, 6)
    assert printed["exact"] is True
    assert printed["loss"] == pytest.approx(found.loss)
    assert [window["ids"] for window in printed["windows"]] == [window.ids for window in found.windows[:2]]
    assert main(["replay", run.out, "--step", "2", "--windows", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("step 2: 8 windows, learning rate ")
    assert lines[1] == "weights: step-00000003.safetensors, after 3 steps, not the step's weights, which had done 1"
    assert lines[3].startswith("window 1: ids ")
    assert ".txt at " in lines[4]
    assert main(["replay", run.out, "--step", "7"]) == 1
    assert "step is 7; expected 1 to 6, the steps of" in capsys.readouterr().err
    assert main(["replay", run.out, "--step", "1", "--windows", "0"]) == 1
    assert "windows must be at least 1" in capsys.readouterr().err


def test_bare_files_have_windows_without_text_and_documents(tmp_path):
    config = tiny.config(tmp_path / "runs", end_of_text=0)
    train(config)
    found = replay(config.out, 12)
    assert found.weights == "step-00000012.safetensors"
    first = replay(config.out, 1)
    assert first.loss == pytest.approx(first.logged_loss, rel=1e-5)
    window = first.windows[0]
    assert (window.text, window.tokens, window.documents) == (None, None, None)
    assert main(["replay", config.out, "--step", "1"]) == 0
    ids = np.load(config.train_data[0])
    ids[5] = (ids[5] + 1) % 40
    np.save(config.train_data[0], ids)
    with pytest.raises(ValueError, match=r"step-00000012.safetensors: made with data_sha256"):
        replay(config.out, 1)
