"""The command line, as a shell would use it."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import fastlm
from fastlm import cli
from fastlm._extras import install_command
from fastlm.corpus import text_blocks
from fastlm.corpus.manifest import read_manifest
from tests import texts
from tests.children import LIMIT, ended

TEXT = "<|endoftext|>".join(texts.DOCUMENTS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, trained):
    folder = tmp_path_factory.mktemp("cli")
    (folder / "text").write_text(TEXT, "utf-8", newline="")
    (folder / "more").write_text("more text<|user|>", "utf-8")
    trained.save(folder / "tokenizer")
    return folder


def run(*args, **options):
    command = [sys.executable, "-m", "fastlm", *map(str, args)]
    return subprocess.run(command, capture_output=True, timeout=LIMIT, check=False, **options)


def test_train_tokenizer(folder, trained, capsys):
    args = ["train-tokenizer", str(folder / "text"), "--vocab-size", "1000", "--out", str(folder / "new")]
    args += ["--special-token", "<|endoftext|>", "--special-token", "<|user|>", "--num-threads", "2"]
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
    assert cli.main(["encode", *inputs, *tokenizer, "--out", str(out), "--num-threads", str(threads)]) == 0
    ids = np.load(out / "train-00000.npy", mmap_mode="r")
    assert ids.dtype == np.uint16
    assert ids.tolist() == trained.encode(TEXT) + trained.encode("more text<|user|>")
    capfdbinary.readouterr()
    assert cli.main(["decode", str(out), *tokenizer]) == 0
    assert capfdbinary.readouterr().out == (TEXT + "more text<|user|>").encode()
    assert cli.main(["decode", str(out / "train-00000.npy"), *tokenizer]) == 0
    assert capfdbinary.readouterr().out == (TEXT + "more text<|user|>").encode()
    assert cli.main(["verify", str(out)]) == 0
    expected = f"{len(ids)} ids of 2 documents in 1 shard match the manifest\n"
    assert capfdbinary.readouterr().out.decode() == expected


def test_count(folder, trained, capsys):
    assert (
        cli.main(["count", str(folder / "text"), str(folder / "more"), "--tokenizer", str(folder / "tokenizer")]) == 0
    )
    counts = [int(line.split()[0].replace(",", "")) for line in capsys.readouterr().out.splitlines()]
    expected = [len(trained.encode(TEXT)), len(trained.encode("more text<|user|>"))]
    assert counts == [*expected, sum(expected)]


def counted(capsys) -> dict[str, int]:
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    return {name: int(number.replace(",", "")) for number, name in lines}


@pytest.mark.parametrize("inputs", [[], ["-"]])
def test_count_reads_standard_input(folder, trained, inputs):
    result = run("count", *inputs, "--tokenizer", folder / "tokenizer", input=TEXT.encode())
    assert (result.returncode, result.stderr) == (0, b"")
    assert int(result.stdout.split()[0].replace(b",", b"")) == len(trained.encode(TEXT))


def test_count_on_a_terminal_asks_for_an_input(folder, monkeypatch, capsys):
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    assert cli.main(["count", "--tokenizer", str(folder / "tokenizer")]) == 1
    assert capsys.readouterr().err == "fastlm: give at least one INPUT, or - for standard input\n"


def test_count_reads_globs_folders_and_fields(folder, trained, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    tokenizer = ["--tokenizer", str(folder / "tokenizer")]
    (tmp_path / "data").mkdir()
    for name, text in {"b.txt": "the cat", "a.txt": "sat", "x[1].txt": "on a mat"}.items():
        (tmp_path / "data" / name).write_text(text)
    expected = {f"data/{name}": len(trained.encode(text)) for name, text in (("a.txt", "sat"), ("b.txt", "the cat"))}
    assert cli.main(["count", "data/[ab].txt", *tokenizer]) == 0
    assert counted(capsys) == expected | {"total": sum(expected.values())}
    assert cli.main(["count", "data", *tokenizer]) == 0
    assert list(counted(capsys)) == ["data/a.txt", "data/b.txt", "data/x[1].txt", "total"]
    assert cli.main(["count", "data/x[1].txt", *tokenizer]) == 0, "a file whose name is a glob"
    assert counted(capsys) == {"data/x[1].txt": len(trained.encode("on a mat"))}
    (tmp_path / "rows.jsonl").write_text('{"body": "the cat"}\n{"body": "sat"}\n')
    assert cli.main(["count", "rows.jsonl", "--field", "body", *tokenizer]) == 0
    assert counted(capsys) == {"rows.jsonl": sum(expected.values())}
    (tmp_path / "bad.txt").write_bytes(b"the \xff cat")
    assert cli.main(["count", "bad.txt", "--on-error", "skip", *tokenizer]) == 0
    assert counted(capsys)["bad.txt"] > 0


def test_a_tokenizer_in_the_cache_of_the_hub(folder, trained, capsys, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(folder / "cache"))
    monkeypatch.chdir(folder)
    trained.save(folder / "cache" / "models--org--name" / "snapshots" / "abc")
    (folder / "cache" / "models--org--name" / "refs").mkdir()
    (folder / "cache" / "models--org--name" / "refs" / "main").write_text("abc")
    assert cli.main(["count", "text", "--tokenizer", "org/name"]) == 0
    assert int(capsys.readouterr().out.split()[0].replace(",", "")) == len(trained.encode(TEXT))
    assert cli.main(["count", "text", "--tokenizer", "org/other"]) == 1
    assert capsys.readouterr().err.startswith(
        "fastlm: --tokenizer org/other: no such file or folder, and the Hub cache "
    )


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
    options = ["--separator", "<|endoftext|>", "--end-of-text", "<|endoftext|>"]
    result = run("encode", folder / "text", "--tokenizer", folder / "tokenizer", "--out", folder / "quiet", *options)
    assert result.returncode == 0
    assert result.stderr == b""
    size = np.load(folder / "quiet" / "train-00000.npy").size
    expected = f"{size} ids of {len(texts.DOCUMENTS)} documents in 1 shard in {folder / 'quiet'}\n"
    assert result.stdout.decode() == expected


def test_aliases_of_options(folder, trained, capsys):
    tokenizer = ["--tokenizer", str(folder / "tokenizer")]
    options = ["--separator", "<|endoftext|>", "--eot", "<|endoftext|>", "--validation", "0.2", "--threads", "1"]
    assert cli.main(["encode", str(folder / "text"), *tokenizer, "--out", str(folder / "aliases"), *options]) == 0
    job = read_manifest(folder / "aliases").job
    assert job.end_of_text_id == trained.special_tokens["<|endoftext|>"]
    assert job.validation_fraction == 0.2
    args = ["train-tokenizer", str(folder / "text"), "--vocab-size", "300", "--out", str(folder / "special")]
    assert cli.main([*args, "--special", "<|a|>", "--special", "<|b|>", "--threads", "1"]) == 0
    assert list(fastlm.load(folder / "special").special_tokens) == ["<|a|>", "<|b|>"]
    capsys.readouterr()
    old = ["--context", "2048", "--batch", "2", "--compute", "float32", "--checkpointing", "--memory", "24GB"]
    new = ["--context-length", "2048", "--batch-size", "2", "--compute-dtype", "float32", "--checkpoint-activations"]
    found = []
    for options in ([*old, "--peak", "1e15"], [*new, "--device-memory", "24GB", "--peak-flops", "1e15"]):
        assert cli.main(["account", "gpt2", *options]) == 0
        found.append(capsys.readouterr().out)
    assert found[0] == found[1]


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_every_command_has_help_without_line_breaks_of_the_source(command, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "1000")
    with pytest.raises(SystemExit) as done:
        cli.main([command, "--help"])
    assert done.value.code == 0
    helps = capsys.readouterr().out
    assert "(default: None)" not in helps.partition("reading options")[0]
    assert "from CONFIG" not in helps
    assert re.search("^ +-h, --help +show", helps, re.MULTILINE)
    assert not re.search(r"^ {8,}[a-z(]\w* [\w, ]+ *$", helps, re.MULTILINE), "help goes on in a second line"


def test_version_and_module():
    for module in ("fastlm", "fastlm.cli"):
        command = [sys.executable, "-m", module, "--version"]
        result = subprocess.run(command, capture_output=True, check=True, text=True)
        assert result.stdout == f"fastlm {fastlm.__version__}\n"


def test_a_note_says_that_nothing_separates_the_documents(folder, tmp_path, capsys):
    (tmp_path / "a.jsonl").write_text('{"text": "one"}\n{"text": "two"}\n')
    tokenizer = ["--tokenizer", str(folder / "tokenizer")]
    for name, options in ((folder / "text", ["--separator", "<|endoftext|>"]), (tmp_path / "a.jsonl", [])):
        out = tmp_path / name.name.partition(".")[0]
        assert cli.main(["encode", str(name), *tokenizer, "--out", str(out), *options]) == 0
        captured = capsys.readouterr()
        assert captured.err == (
            "fastlm: note: no token separates the documents in the shards; --end-of-text TOKEN puts one after each "
            "(special tokens: '<|endoftext|>', '<|user|>')\n"
        )
        shutil.rmtree(out)
        options += ["--end-of-text", "<|endoftext|>"]
        assert cli.main(["encode", str(name), *tokenizer, "--out", str(out), *options]) == 0
        assert not capsys.readouterr().err


def test_a_note_says_that_the_text_has_separators(folder, tmp_path, capsys):
    (tmp_path / "a.txt").write_text("story<|endoftext|>" * 1999 + "story")
    command = [
        "encode",
        str(tmp_path / "a.txt"),
        "--tokenizer",
        str(folder / "tokenizer"),
        "--out",
        str(tmp_path / "a"),
    ]
    for options in ([], ["--end-of-text", "<|endoftext|>"]):
        assert cli.main([*command, *options]) == 0
        captured = capsys.readouterr()
        assert "ids of 1 document in 1 shard" in captured.out
        assert captured.err == (
            "fastlm: note: the text contains '<|endoftext|>' 1999 times, but without --separator the input is one "
            "document\n"
        )
        shutil.rmtree(tmp_path / "a")
    (tmp_path / "a.txt").write_text("a story")
    assert cli.main(command) == 0
    assert not capsys.readouterr().err


def test_control_characters_are_printed_as_escapes(folder, tmp_path, capsys):
    name = "\x1b[31mred\n\u202e"
    (tmp_path / name).write_text("text")
    tokenizer = ["--tokenizer", str(folder / "tokenizer")]
    assert cli.main(["count", str(tmp_path / name), *tokenizer]) == 0
    assert capsys.readouterr().out.endswith("/\\x1b[31mred\\n\\u202e\n")
    assert cli.main(["encode", str(tmp_path / name), *tokenizer, "--out", str(tmp_path / "out \x9b2J")]) == 0
    assert capsys.readouterr().out.endswith("/out \\x9b2J\n")
    for command in (["count", "no \x1b]0;title\x07"], ["verify", "\x1b[2J"], ["decode", "\x1b[2J"]):
        assert cli.main([*command, *(tokenizer if command[0] != "verify" else [])]) == 1
        error = capsys.readouterr().err
        assert "\\x1b" in error
        assert "\x1b" not in error
        assert error.count("\n") == 1
    manifest = tmp_path / "out \x9b2J" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"skipped"', '"\\u001b[31mskipped"'))
    assert cli.main(["verify", str(manifest.parent)]) == 1
    assert "\x1b" not in capsys.readouterr().err
    not_utf8 = os.fsdecode(bytes(tmp_path) + b"/\xff")
    (tmp_path / not_utf8).write_text("text")
    result = run("count", not_utf8, *tokenizer, env=os.environ | {"PYTHONIOENCODING": "ascii"})
    assert result.returncode == 0
    assert result.stdout.endswith(b"/\\xff\n")


def test_files_that_are_not_ours_are_not_overwritten(folder, tmp_path, capsys):
    train = ["train-tokenizer", str(folder / "text"), "--vocab-size", "300", "--out", str(tmp_path)]
    demo = ["demo", str(folder / "text"), "--out", str(tmp_path)]
    for name in ("vocab.json", "tokenizer.json"):
        (tmp_path / name).write_text("mine")
        for command in (train, demo):
            assert cli.main(command) == 1
            error = capsys.readouterr().err
            assert (
                error
                == f"fastlm: {tmp_path / name} exists and was not written by this command; --force overwrites it\n"
            )
            assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {name: "mine"}
        (tmp_path / name).unlink()
    (tmp_path / "other").write_text("mine")
    (tmp_path / "tokenizer.json").write_text("mine")
    (tmp_path / "tokenizer.json").chmod(0o640)
    assert cli.main([*train, "--force"]) == 0
    assert (tmp_path / "tokenizer.json").stat().st_mode & 0o777 == 0o640
    assert cli.main(train) == 0, "a tokenizer of fastlm is replaced"
    assert (tmp_path / "other").read_text() == "mine"
    sizes = ["train-tokenizer", str(folder / "text"), "--vocab-size", "300", "310", "--out", str(tmp_path / "sizes")]
    (tmp_path / "sizes" / "310").mkdir(parents=True)
    (tmp_path / "sizes" / "310" / "merges.txt").write_text("mine")
    assert cli.main(sizes) == 1
    assert "310/merges.txt exists" in capsys.readouterr().err
    assert not (tmp_path / "sizes" / "300").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="needs closed pipes")
@pytest.mark.parametrize("command", ["account", "decode", "--help"])
def test_a_closed_pipe_ends_the_command_quietly(folder, tmp_path, command):
    arguments = {"account": ["account", "gpt2"], "--help": ["encode", "--help"]}.get(command, [])
    if command == "decode":
        np.save(tmp_path / "ids.npy", np.full(300_000, 5, np.uint16))
        arguments = ["decode", str(tmp_path / "ids.npy"), "--tokenizer", str(folder / "tokenizer")]
    reader, writer = os.pipe()
    os.close(reader)
    try:
        process = [sys.executable, "-m", "fastlm", *arguments]
        result = subprocess.run(process, stdout=writer, stderr=subprocess.PIPE, text=True, check=False, timeout=LIMIT)
    finally:
        os.close(writer)
    assert (result.returncode, result.stderr) == (141, "")


@pytest.mark.skipif(sys.platform == "win32", reason="needs signals")
def test_ctrl_c_is_one_line_that_says_how_to_resume(folder, tmp_path):
    """The command is interrupted while it waits for more input, after a checkpoint."""
    program = (
        "import sys\nfrom fastlm import cli\nfrom fastlm.corpus import job_folder, text_blocks\n"
        "job_folder.CHECKPOINT_SECONDS, text_blocks.BLOCK_BYTES = 0.0, 1000\nsys.exit(cli.main(sys.argv[1:]))"
    )
    out = tmp_path / "out"
    command = [
        sys.executable,
        "-c",
        program,
        "encode",
        "-",
        "--tokenizer",
        str(folder / "tokenizer"),
        "--out",
        str(out),
    ]
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)

    def hear_signals():
        # a shell starts commands in the background with SIGINT ignored, and children inherit that
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    process = subprocess.Popen(command, **pipes, text=True, preexec_fn=hear_signals)
    with ended(process):
        process.stdin.write("some text " * 2000)
        process.stdin.flush()
        while not list(out.glob("unfinished/train-*")) and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        # the input ends after the signal was handled, or the command could finish first
        time.sleep(2)
        process.stdin.close()
        assert process.wait(LIMIT) == 130
        assert process.stderr.read() == f"fastlm: interrupted: --resume continues from the last checkpoint in {out}\n"


def test_errors_that_a_user_can_cause_are_one_line(folder, monkeypatch, capsys):
    for raised, status, message in (
        (MemoryError(), 1, "fastlm: out of memory\n"),
        (MemoryError("Unable to allocate 9 TiB"), 1, "fastlm: out of memory: Unable to allocate 9 TiB\n"),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory\nmore"),
            1,
            "fastlm: out of memory: Default.*memory\n",
        ),
        (KeyboardInterrupt(), 130, "fastlm: interrupted: nothing to resume; the same command starts again\n"),
        (OSError(28, "No space left on device", "out/x"), 1, "fastlm: out/x: no space left on device\n"),
    ):

        def fail(*arguments, error=raised):
            raise error

        monkeypatch.setattr("fastlm.corpus.block_encoder.count_tokens", fail)
        command = ["count", str(folder / "text"), "--tokenizer", str(folder / "tokenizer")]
        assert cli.main(command) == status
        assert re.fullmatch(message, capsys.readouterr().err)
    monkeypatch.setattr("fastlm.corpus.block_encoder.count_tokens", lambda *_: fail(error=RuntimeError("a bug")))
    with pytest.raises(RuntimeError, match="a bug"):
        cli.main(command)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["count", "missing", "--tokenizer", "tokenizer"], "missing: no such file or directory"),
        (["count", "text", "--tokenizer", "missing"], "--tokenizer missing: no such file or folder, and the Hub cache"),
        (["encode", "bad", "--tokenizer", "tokenizer", "--out", "x"], "bad: byte 3 is not well-formed UTF-8"),
        (["encode", "text", "--tokenizer", "tokenizer", "--out", "empty"], "--out empty is a file; give a folder"),
        (
            ["encode", "text", "--tokenizer", "tokenizer", "--out", "x", "--eot", "<|no|>"],
            "--end-of-text must be a special token",
        ),
        (["encode", "empty", "--tokenizer", "tokenizer", "--out", "x"], "the input holds no text"),
        (["verify", "tokenizer"], "no manifest.json in tokenizer: give a folder that `fastlm encode` wrote"),
        (["encode", "--tokenizer", "tokenizer", "--out", "x"], "give at least one INPUT"),
        (["train-tokenizer", "text", "--vocab-size", "7", "--out", "x"], "--vocab-size must be at least 257"),
        (["train-tokenizer", "--vocab-size", "700", "--out", "x"], "give at least one INPUT"),
        (["decode", "floats.npy", "--tokenizer", "tokenizer"], "expected a one-dimensional array of integers"),
        (["decode", "large.npy", "--tokenizer", "tokenizer"], "large.npy: id 5000 at position 1048577 is not in the"),
        (["decode", "objects.npy", "--tokenizer", "tokenizer"], "objects.npy: not a .npy file of integers"),
        (["decode", "empty", "--tokenizer", "tokenizer"], "empty: not a .npy file of integers"),
        (["decode", "bad", "--tokenizer", "tokenizer"], "bad: not a .npy file of integers"),
        (["encode", "text", "--tokenizer", "tokenizer", "--out", "."], ".: the folder holds"),
        (["demo", "bad"], "bad: byte 3 is not UTF-8"),
        (["demo", "empty"], "the input holds no text"),
        (["plan", "1GB", "--cores"], "cores: expected at least one number"),
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
    assert install_command(extra) in capsys.readouterr().err
