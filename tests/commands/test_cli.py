"""The command line, as a shell would use it."""

import os
import subprocess
import sys

import numpy as np
import pytest

import fastlm
from fastlm import cli
from fastlm.corpus import text_blocks
from tests import texts

TEXT = "<|endoftext|>".join(texts.DOCUMENTS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, trained):
    folder = tmp_path_factory.mktemp("cli")
    (folder / "text").write_text(TEXT, "utf-8", newline="")
    (folder / "more").write_text("more text<|user|>", "utf-8")
    trained.save(folder / "tokenizer")
    return folder


def run(*args, **options):
    command = [sys.executable, "-m", "fastlm.cli", *map(str, args)]
    return subprocess.run(command, capture_output=True, timeout=120, check=False, **options)


def test_train_tokenizer(folder, trained, capsys):
    args = ["train-tokenizer", str(folder / "text"), "--vocab-size", "1000", "--out", str(folder / "new")]
    args += ["--special", "<|endoftext|>", "--special", "<|user|>", "--threads", "2"]
    assert cli.main(args) == 0
    assert "1000 tokens in" in capsys.readouterr().out
    expected = fastlm.train_bpe(folder / "text", 1000, ["<|endoftext|>", "<|user|>"])
    assert fastlm.load(folder / "new").vocabulary.fingerprint == expected.vocabulary.fingerprint


def test_train_tokenizer_has_one_special_token_unless_told(folder):
    args = ["train-tokenizer", str(folder / "text"), "--vocab-size", "300", "--out", str(folder / "default")]
    assert cli.main(args) == 0
    assert fastlm.load(folder / "default").special_tokens == {"<|endoftext|>": 0}


@pytest.mark.parametrize("threads", [1, 3])
def test_encode_and_decode(folder, trained, monkeypatch, threads, capfdbinary):
    monkeypatch.setattr(text_blocks, "BLOCK_BYTES", 3000)
    out = folder / f"ids-{threads}"
    inputs = [str(folder / "text"), str(folder / "more")]
    tokenizer = ["--tokenizer", str(folder / "tokenizer")]
    assert cli.main(["encode", *inputs, *tokenizer, "--out", str(out), "--threads", str(threads)]) == 0
    ids = np.load(out / "train-00000.npy", mmap_mode="r")
    assert ids.dtype == np.uint16
    assert ids.tolist() == trained.encode(TEXT) + trained.encode("more text<|user|>")
    capfdbinary.readouterr()
    assert cli.main(["decode", str(out), *tokenizer]) == 0
    assert capfdbinary.readouterr().out == (TEXT + "more text<|user|>").encode()
    assert cli.main(["decode", str(out / "train-00000.npy"), *tokenizer]) == 0
    assert capfdbinary.readouterr().out == (TEXT + "more text<|user|>").encode()
    assert cli.main(["verify", str(out)]) == 0
    expected = f"{len(ids)} ids of 2 documents in 1 shards are as the manifest says\n"
    assert capfdbinary.readouterr().out.decode() == expected


def test_count(folder, trained, capsys):
    assert (
        cli.main(["count", str(folder / "text"), str(folder / "more"), "--tokenizer", str(folder / "tokenizer")]) == 0
    )
    counts = [int(line.split()[0].replace(",", "")) for line in capsys.readouterr().out.splitlines()]
    expected = [len(trained.encode(TEXT)), len(trained.encode("more text<|user|>"))]
    assert counts == [*expected, sum(expected)]


def test_demo_on_a_file(folder, capsys):
    assert cli.main(["demo", str(folder / "text"), "--out", str(folder / "demo")]) == 0
    printed = capsys.readouterr().out
    for row in ("text", "vocabulary", "train", "encode, first time", "encode, again", "decode", "bytes per token"):
        assert any(line.startswith(row) for line in printed.splitlines()), row
    assert "round trip" in printed
    assert "\x1b[" not in printed  # colours are for terminals
    kept = fastlm.load(folder / "demo")
    corpus = (folder / "demo" / "corpus.txt").read_bytes()
    assert corpus.decode() == TEXT
    assert kept.decode_bytes(np.load(folder / "demo" / "ids" / "train-00000.npy")) == corpus
    assert (folder / "demo" / "report.txt").read_text().strip() in printed


def test_the_command_is_quiet_without_a_terminal(folder):
    result = run("encode", folder / "text", "--tokenizer", folder / "tokenizer", "--out", folder / "quiet")
    assert result.returncode == 0
    assert result.stderr == b""
    size = np.load(folder / "quiet" / "train-00000.npy").size
    assert result.stdout.decode() == f"{size} ids of 1 documents in 1 shards in {folder / 'quiet'}\n"


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["count", "missing", "--tokenizer", "tokenizer"], "No such file or directory: 'missing'"),
        (["count", "text", "--tokenizer", "missing"], "No such file or directory: 'missing'"),
        (["encode", "bad", "--tokenizer", "tokenizer", "--out", "x"], "bad: byte 3 is not well-formed UTF-8"),
        (["encode", "text", "--tokenizer", "tokenizer", "--out", "empty"], "Not a directory: 'empty'"),
        (
            ["encode", "text", "--tokenizer", "tokenizer", "--out", "x", "--eot", "<|no|>"],
            "end_of_text must be a special token",
        ),
        (["encode", "empty", "--tokenizer", "tokenizer", "--out", "x"], "the input holds no text"),
        (["verify", "tokenizer"], "No such file or directory: 'tokenizer/manifest.json'"),
        (["encode", "--tokenizer", "tokenizer", "--out", "x"], "give at least one INPUT"),
        (["train-tokenizer", "text", "--vocab-size", "7", "--out", "x"], "vocab_size must be at least 257"),
        (["train-tokenizer", "--vocab-size", "700", "--out", "x"], "give at least one INPUT"),
        (["decode", "floats.npy", "--tokenizer", "tokenizer"], "expected a one-dimensional array of integers"),
        (["decode", "large.npy", "--tokenizer", "tokenizer"], "large.npy: id 5000 at position 1048577 is not in the"),
        (["decode", "objects.npy", "--tokenizer", "tokenizer"], "objects.npy: not a .npy file of integers"),
        (["decode", "empty", "--tokenizer", "tokenizer"], "empty: not a .npy file of integers"),
        (["decode", "bad", "--tokenizer", "tokenizer"], "bad: not a .npy file of integers"),
        (["encode", "text", "--tokenizer", "tokenizer", "--out", "."], "The folder holds"),
        (["demo", "bad"], "bad: byte 3 is not UTF-8"),
        (["demo", "empty"], "the input holds no text"),
    ],
)
def test_bad_input_is_one_line_and_exit_status_1(folder, monkeypatch, capsys, args, message):
    monkeypatch.chdir(folder)
    (folder / "bad").write_bytes(b"abc\xff")
    (folder / "empty").write_bytes(b"")
    np.save(folder / "floats.npy", np.ones(3))
    np.save(folder / "large.npy", np.append(np.ones(2**20 + 1, np.uint16), np.uint16(5000)))
    np.save(folder / "objects.npy", np.array([{}], dtype=object))
    assert cli.main(args) == 1
    error = capsys.readouterr().err
    assert error.startswith("fastlm: ")
    assert message in error
    assert error.count("\n") == 1
    assert not (folder / "x").exists()
    assert not [name for name in os.listdir(folder) if name.endswith(".tmp")]


@pytest.mark.parametrize(("package", "extra"), [("torch", "model"), ("matplotlib", "report")])
def test_a_missing_package_is_named_with_its_extra(package, extra, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, package, None)
    if package == "matplotlib":
        monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
        arguments = ["account", "gpt2", "--plot", str(tmp_path / "shares.svg")]
    else:
        arguments = ["generate", str(tmp_path)]
    assert cli.main(arguments) == 1
    assert f"pip install 'fastlm[{extra}]'" in capsys.readouterr().err
