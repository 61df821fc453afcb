"""Names of files and options with characters on which terminals act: every command shows them as escapes."""

import json
import logging

import numpy as np
import pytest

from fastlm import cli
from fastlm.text.escapes import escaped

# a colour, a title of the window, an override of direction, and a separator of lines
NAME = "n\x1b[31m\x1b]0;t\x07\u202e\u2028e"
SHOWN = r"n\x1b[31m\x1b]0;t\x07\u202e\u2028e"


@pytest.fixture
def folder(tmp_path, monkeypatch, trained):
    monkeypatch.chdir(tmp_path)
    trained.save(f"{NAME}-tokenizer")
    trained.truncated(300).save(f"{NAME}-small")
    (tmp_path / f"{NAME}.txt").write_text("the cat sat<|endoftext|>on the mat" * 20)
    (tmp_path / f"{NAME}.bad").write_bytes(b"a\xff")
    (tmp_path / f"{NAME}.jsonl").write_text('{"x": 1}\n')
    (tmp_path / f"{NAME}.json").write_text("{")
    np.save(f"{NAME}.npy", np.array([5, 6, 60_000], np.uint16))
    (tmp_path / f"{NAME}-folder").mkdir()
    (tmp_path / f"{NAME}-folder" / "vocab.json").write_text("mine")
    return tmp_path


# N is the name; each command with the exit status
COMMANDS = [
    (0, ["encode", "N.txt", "--tokenizer", "N-tokenizer", "--out", "N-ids"]),
    (1, ["encode", "N.bad", "--tokenizer", "N-tokenizer", "--out", "N-ids"]),
    (1, ["encode", "N.jsonl", "--tokenizer", "N-tokenizer", "--out", "N-ids"]),
    (1, ["encode", "N.none", "--tokenizer", "N-tokenizer", "--out", "N-ids"]),
    (1, ["encode", "N.txt", "--tokenizer", "N-none", "--out", "N-ids"]),
    (1, ["encode", "N.txt", "--tokenizer", "N-tokenizer", "--out", "N-folder"]),
    (1, ["encode", "N.txt", "--tokenizer", "N-tokenizer", "--out", "N-ids", "--end-of-text", "N"]),
    (2, ["encode", "N.txt", "--tokenizer", "N-tokenizer", "--out", "N-ids", "--format", "N"]),
    (2, ["encode", "N.txt", "--tokenizer", "N-tokenizer", "--out", "N-ids", "--N"]),
    (2, ["encode", "N.txt", "--tokenizer", "N-tokenizer", "--out", "N-ids", "--shard-tokens", "N"]),
    (2, ["N"]),
    (1, ["verify", "N-none"]),
    (1, ["verify", "N-tokenizer"]),
    (0, ["count", "N.txt", "--tokenizer", "N-tokenizer"]),
    (1, ["count", "N.bad", "--tokenizer", "N-tokenizer"]),
    (1, ["count", "N.txt", "--tokenizer", "N.json"]),
    (1, ["count", "N.txt", "--tokenizer", "N.txt"]),
    (1, ["decode", "N.npy", "--tokenizer", "N-tokenizer"]),
    (1, ["decode", "N.txt", "--tokenizer", "N-tokenizer"]),
    (0, ["train-tokenizer", "N.txt", "--vocab-size", "262", "--out", "N-new", "--special-token", "<N>"]),
    (1, ["train-tokenizer", "N.txt", "--vocab-size", "262", "--out", "N-folder"]),
    (1, ["train-tokenizer", "N.txt", "--vocab-size", "262", "--out", "N-new", "--pattern", "(N"]),
    (1, ["train-tokenizer", "N.bad", "--vocab-size", "262", "--out", "N-new"]),
    (1, ["plan", "N"]),
    (1, ["plan", "1GB", "--rates", "N.json"]),
    (1, ["plan", "1GB", "--text", "N.none"]),
    (2, ["plan", "1GB", "--growth", "N"]),
    (1, ["account", "N.json"]),
    (0, ["demo", "N.txt", "--out", "N-demo"]),
    (1, ["demo", "N.bad"]),
    (1, ["train", "N.none"]),
    (1, ["export", "N-none", "--out", "N-llama"]),
    (1, ["import", "N-none", "--out", "N-model"]),
    (1, ["generate", "N-none", "--prompt", "a"]),
]


def run(arguments, capsys) -> tuple[int, str]:
    try:
        status = cli.main(arguments)
    except SystemExit as error:
        status = error.code
    captured = capsys.readouterr()
    return status, captured.out + captured.err


@pytest.mark.parametrize(
    ("status", "command"), COMMANDS, ids=lambda value: value if isinstance(value, int) else " ".join(value)
)
def test_commands_show_escapes(folder, capsys, status, command):
    if command[0] in ("train", "export", "import", "generate"):
        pytest.importorskip("torch")
    found, printed = run([argument.replace("N", NAME) for argument in command], capsys)
    assert found == status, printed
    assert escaped(printed, keep="\n") == printed
    if status == 1:
        assert printed.count("\n") == 1, printed
        assert r"\x1b[31m" in printed


def test_a_run_of_training_shows_escapes(folder, capsys):
    pytest.importorskip("torch")
    tokenizer = f"{NAME}-tokenizer"
    assert run(["encode", f"{NAME}.txt", "--tokenizer", tokenizer, "--out", f"{NAME}-ids"], capsys)[0] == 0
    fields = {"out": f"{NAME}-run", "train_data": [f"{NAME}-ids"], "tokenizer": tokenizer, "steps": 1, "batch_size": 1}
    fields |= {"learning_rate": 1e-3, "precision": "float32", "log_every": 1}
    model = {"vocab_size": 1000, "context_length": 8, "d_model": 8, "num_layers": 1, "num_heads": 2, "d_ff": 8}
    lines = [f"{name} = {json.dumps(value)}" for name, value in fields.items()]
    lines += ["[model]", *[f"{name} = {value}" for name, value in model.items()]]
    (folder / "config.toml").write_text("\n".join(lines))
    status, printed = run(["train", "config.toml"], capsys)
    assert (status, escaped(printed, keep="\n")) == (0, printed)
    assert f"\nfastlm: {SHOWN}-run: " in printed
    for command in (
        ["generate", f"{NAME}-run/model", "--prompt", "the", "--tokenizer", f"{NAME}-small"],
        ["train", "config.toml", "--tokenizer", f"{NAME}-small"],
        ["export", f"{NAME}-run/model", "--out", "llama", "--tokenizer", f"{NAME}-small"],
    ):
        status, printed = run(command, capsys)
        assert (status, escaped(printed, keep="\n")) == (1, printed)
        assert printed.count("\n") == 1


def test_what_is_logged_is_a_note(folder, capsys, trained):
    """A save that removes files of another tokenizer logs their folder."""
    assert run(["train-tokenizer", f"{NAME}.txt", "--vocab-size", "262", "--out", f"{NAME}-new"], capsys)[0] == 0
    (folder / f"{NAME}-new" / "tokenizer.json").write_bytes((folder / f"{NAME}-small" / "tokenizer.json").read_bytes())
    (folder / f"{NAME}-new" / "tokenizer.tiktoken").write_text("YQ== 0\n")
    status, printed = run(["train-tokenizer", f"{NAME}.txt", "--vocab-size", "263", "--out", f"{NAME}-new"], capsys)
    assert status == 0
    assert f"fastlm: {SHOWN}-new: removed tokenizer.tiktoken, which held another tokenizer\n" in printed
    assert not logging.getLogger("fastlm").handlers
