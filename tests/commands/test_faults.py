"""Every command with the faults that a user can cause: one line that names the cause, and exit code 1 or 2."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

import fastlm
from fastlm import cli
from fastlm._extras import PACKAGES, install_command
from fastlm.commands import faults
from fastlm.corpus import sources

NO_FOLDER = "is a file; give a folder"
# each command line with a part of its message. Paths are those that `place` makes
FAULTS = {
    # inputs that are missing or of another kind
    "count missing.txt --tokenizer tok": "missing.txt: no such file or directory",
    "count *.none --tokenizer tok": "no file matches '*.none'",
    "count empty --tokenizer tok": "no file in 'empty'",
    "count bytes --tokenizer tok": "bytes: byte 128 is not well-formed UTF-8",
    "count x.jsonl --tokenizer tok": "no field 'text'; found the fields 'x'; --field names the field",
    "count x.jsonl --tokenizer tok --field y": "no field 'y'; found the fields 'x'; --field names the field",
    "count bad.jsonl --tokenizer tok": "bad.jsonl: line 1: not JSON",
    "count text --tokenizer tok --kind jsonl": "text: line 1: not JSON: .*; --kind text reads it as text",
    "count bad.parquet --tokenizer tok": "bad.parquet: ",
    "count bad.txt.gz --tokenizer tok": "bad.txt.gz: decompressed byte 0: Not a gzipped file",
    "count bad.txt.xz --tokenizer tok": "bad.txt.xz: decompressed byte 0: ",
    "count none://x --tokenizer tok": "none://x: Protocol not known: none",
    "encode missing --tokenizer tok --out new": "missing: no such file or directory",
    "encode empty.txt --tokenizer tok --out new": "the input holds no text",
    "train-tokenizer missing --vocab-size 300 --out new": "missing: no such file or directory",
    "train-tokenizer bytes --vocab-size 300 --out new": "bytes: byte 128 is not well-formed UTF-8",
    "train-tokenizer empty.txt --vocab-size 300 --out new": "the input holds no text",
    "demo missing": "missing: no such file or directory",
    "demo bytes": "bytes: byte 128 is not UTF-8",
    "plan 1GB --text missing": "--text missing: no such file or directory",
    "plan 1GB --text text": "the text is too short to measure rates on",
    # tokenizers
    "count text --tokenizer missing": "--tokenizer missing: no such file or folder, and the Hub cache .* `hf download",
    "count text --tokenizer bad.json": "--tokenizer bad.json: line 1, column 7: Expecting value",
    "count text --tokenizer other.json": "--tokenizer other.json: unknown entry 'a'",
    "count text --tokenizer empty": "--tokenizer empty: holds none of tokenizer.fastlm, ",
    "count text --tokenizer bytes": "--tokenizer bytes, line 1: ",
    "decode ids.npy --tokenizer missing": "--tokenizer missing: no such file or folder",
    "encode text --tokenizer cl100k_base --out new": "cl100k_base: no such file or folder; for the encoding",
    "train-tokenizer text --vocab-size 300 --out new --base missing": "--base missing: no such file or folder",
    "tokenize text --tokenizer missing": "--tokenizer missing: no such file or folder",
    "tokenize bytes --tokenizer tok": "bytes: byte 128 is not well-formed UTF-8",
    "view missing": "missing: no such file or folder",
    "view tok missing": "missing: no such file or folder",
    "check missing text": "missing: no such file or folder",
    "check tok missing": "missing: no such file or directory",
    "check tok bytes": "bytes: byte 128 is not well-formed UTF-8",
    "check tok empty.txt": "the input holds no text",
    # folders to write
    "check tok text --out text/x.md": f"--out text {NO_FOLDER}",
    "check tok text --out empty": "--out empty: is a directory",
    "view tok --out text/x.html": f"--out text {NO_FOLDER}",
    "view tok --out empty": "--out empty: is a directory",
    "report --out text": f"--out text {NO_FOLDER}",
    "report --run empty --out new": "--run empty: no config.toml; expected the folder that a training run writes",
    "encode text --tokenizer tok --out text": f"--out text {NO_FOLDER}",
    "encode text --tokenizer tok --out text/below": "--out text/below is below text, which is a file; give a folder",
    "encode text --tokenizer tok --out ids": "--out ids: the folder holds 'manifest.json'",
    "train-tokenizer text --vocab-size 300 --out text": f"--out text {NO_FOLDER}",
    "train-tokenizer text --vocab-size 300 --out new --checkpoint text": f"--checkpoint text {NO_FOLDER}",
    "demo text --out text": f"--out text {NO_FOLDER}",
    "account gpt2 --plot text/x.svg": f"--plot text {NO_FOLDER}",
    "account gpt2 --plot x.none": "--plot x.none: Format 'none' is not supported",
    # folders and files to read
    "verify missing": "missing: no such folder; give a folder that `fastlm encode` wrote",
    "verify empty": "no manifest.json in empty: give a folder that `fastlm encode` wrote",
    "verify begun": "no manifest.json in begun: finish it with `fastlm encode --resume`",
    "verify text": "text: is a file; give a folder that `fastlm encode` wrote",
    "verify bad": "bad/manifest.json: line 1, column 2: ",
    "decode missing --tokenizer tok": "missing: no such file or directory",
    "decode empty --tokenizer tok": "no manifest.json in empty: give a folder that `fastlm encode` wrote",
    "decode text --tokenizer tok": "text: not a .npy file of integers",
    "decode floats.npy --tokenizer tok": "floats.npy: expected a one-dimensional array of integers, found float64",
    "decode ids --tokenizer tok --split none": "no split 'none'; there are train",
    # parts of ranks
    "merge missing --out new": "no part in missing: give the folders that --rank wrote",
    "merge ids --out text": f"--out text {NO_FOLDER}",
    # recipes and runs
    "run missing.toml": "missing.toml: no such file or directory",
    "run tiny": "'tiny' is not a recipe; expected a .toml file or one of embedded, laptop, tinystories",
    "run embedded --out text": "text",
    "run tinystories --out new": "the corpus is missing; this fetches it: mkdir -p data",
    "run embedded --set x": "--set is 'x'; expected NAME=VALUE",
    "replay missing --step 1": "missing",
    "replay empty --step 1": "config.toml: no such file or directory",
    "account missing.json": "missing.json: no such file or directory",
    "account bad.json": "bad.json: line 1, column 7: Expecting value",
    "account other.json": "other.json: unknown field 'a' of a model; expected some of ",
    "account bad.toml": "bad.toml: not TOML: ",
    "account kept": "no model.json in kept: give kept/model",
    "account empty": "no model.json in empty: give the folder model/ of a training run",
    "account gpt3": r"no model 'gpt3' \(did you mean 'gpt2'\?\): give one of gpt2, ",
    "plan 1GB --rates missing": "--rates missing: no such file or directory",
    "plan 1GB --rates bad.json": "--rates bad.json: not the rates of a plan",
    "plan 1GB --rates other.json": "--rates other.json: not the rates of a plan: .*'a'",
    "export missing --out new": "missing: no such folder; give the folder that holds model.json",
    "export kept --out new": "no model.json in kept: give kept/model",
    "export text --out new": "text: is a file; give the folder that holds model.json",
    "import missing --out new": "missing: no such file or folder; give a folder of transformers",
    "import empty --out new": "no config.json in empty: give a folder of transformers",
    "import text --out new": "text: .*; give a folder of transformers with a Llama or a relative, or a model file",
    "chat missing": "missing: no such folder; give a model's folder",
    "chat kept/model": "kept/model: has no chat template, neither chat_template.jinja nor in tokenizer_config.json",
    "generate missing": "missing: no such folder; give the folder that holds model.json",
    "generate kept": "no model.json in kept: give kept/model",
    "generate kept/model": "no tokenizer in kept/model: give --tokenizer",
    "generate kept/model --tokenizer tok": "kept/model/model.json: ",
    "train missing.toml": "missing.toml: no such file or directory",
    "train bad.toml": "bad.toml: not TOML: ",
    "train empty.toml --out new": "empty.toml: field 'batch_size' is missing",
    "train --data ids --out new": "--batch-size is missing",
    "train config.toml": "config.toml: steps is 0; expected a positive integer",
    "run bad.toml": "bad.toml: not TOML: ",
    "run other": "'other' is not a recipe; expected a .toml file or one of ",
    "check tok x.jsonl": "no field 'text'; found the fields 'x'; --field names the field",
    "merge ids --out new": "no part in ids: give the folders that --rank wrote",
    "merge --out new": "give at least one PART",
    # values of options
    "train config.toml --steps -1": "fastlm: --steps is -1; expected a positive integer",
    "train config.toml --model.d-model 7": "fastlm: --model.d-model is 7, which num_heads 2 does not divide",
    "train config.toml --steps 1 --seed=-1": "fastlm: --seed is -1; expected an integer from 0",
    "encode text --tokenizer tok --out new --shard-tokens 0": "--shard-tokens must be an integer of at least 1, got 0",
    "encode text --tokenizer tok --out new --end-of-text <no>": "--end-of-text must be a special token .*'<.endoftext",
    "encode text --tokenizer tok --out new --validation-fraction 2": "--validation-fraction must be from 0 to less",
    "encode text --tokenizer tok --out new --num-threads 0": "--num-threads must be at least 1",
    "encode text --tokenizer tok --out new --address x": "--address needs --engine ray",
    "train-tokenizer text --vocab-size 3 --out new": "--vocab-size must be at least 257, .* 1 special token, got 3",
    "train-tokenizer text --vocab-size 300 --out new --pattern gtp2": r"named 'gtp2' \(did you mean 'gpt2'",
    "train-tokenizer text --vocab-size 300 --out new --pattern (": "--pattern '\\(' is not a regular expression",
    "train-tokenizer text --vocab-size 300 --out new --max-memory lots": "--max-memory is 'lots'; expected a size",
    "train-tokenizer text --vocab-size 300 --out new --min-frequency 0": "--min-frequency must be at least 1, got 0",
    "train-tokenizer text --vocab-size 300 --out new --resume": "--resume needs --checkpoint",
    "train-tokenizer text --vocab-size 300 --out new --base tok --pattern gpt2": "--pattern cannot be given .* --base",
    "account gpt2 --device-memory lots": "--device-memory is 'lots'; expected a size such as 80GB",
    "account gpt2 --mfu 0": "--mfu is 0.0; expected more than 0 and at most 1",
    "account gpt2 --tokens -5": "--tokens is -5; expected at least 1",
    "account gpt2 --peak-flops x": "--peak-flops is 'x'; expected a number of FLOP/s or one of",
    "plan lots": "size is 'lots'; expected a size",
    "check tok text --limit-mb 0": "--limit-mb must be at least 1",
    "check tok text --train 3": "--train must be at least 257, got 3",
    "plan 1GB --cores 0": "--cores is 0; expected a positive number",
    "plan 1GB --memory x": "--memory is 'x'; expected a size",
}
# command lines that are refused before the command runs
USAGE = {
    "": "Usage: fastlm COMMAND",
    "encod": r"no command 'encod' \(did you mean 'encode'\?\); the commands: ",
    "qqqq": "no command 'qqqq'; the commands: ",
    "--nope": "no option '--nope'; the commands: ",
    "encode text --toknizer tok --out new": r"encode has no option --toknizer \(did you mean '--tokenizer'\?\)",
    "encode text --tokenizer tok --out new --qqqq": "encode has no option --qqqq\n",
    "encode text --tokenizer tok --out new --seperator=x": r"no option --seperator \(did you mean '--separator'\?\)",
    "encode text --tokenizer tok --out new --shard_tokenss 5": r"\(did you mean '--shard-tokens'\?\)",
    "encode text --out new": "Missing from fastlm encode:",
    "encode text --tokenizer tok --out new --format numpy": r"--format is 'numpy' \(did you mean 'npy'\?\)",
    "encode text --tokenizer tok --out new --format csv": "--format is 'csv'; expected one of bin, megatron, npy\n",
    "train-tokenizer text --vocab-size 300 --out new --tie-break hff": r"--tie-break is 'hff' \(did you mean 'hf'\?\)",
    "train config.toml --optimizer sgd": "--optimizer is 'sgd'; expected one of adamw, muon\n",
    "train config.toml --micro-batch-size many": "fastlm: --micro-batch-size is 'many'; expected INT or none\n",
    "train config.toml --end-of-text=5.5": "fastlm: --end-of-text is '5.5'; expected INT or {auto} or none\n",
    "plan 1GB --cores 1 few": "fastlm: --cores is '1'; expected one or more INT\n",
    "encode text --tokenizer tok --out new --threads few": "fastlm: --threads is 'few'; expected INT\n",
    "encode text --tokenizer tok --out new --shard-tokens many": "fastlm: --shard-tokens is 'many'; expected INT\n",
    "train-tokenizer text --out new": "Missing from fastlm train-tokenizer:",
    "account gpt2 --mfu much": "fastlm: --mfu is 'much'; expected FLOAT\n",
    "account gpt2 --tokens 5.5": "fastlm: --tokens is '5.5'; expected INT\n",
    "run": "Missing from fastlm run:",
    "replay kept": "Missing from fastlm replay:",
}


CONFIG = """out = "run"
train_data = ["ids"]
steps = 0
batch_size = 1
learning_rate = 0.1
[model]
vocab_size = 1000
context_length = 8
d_model = 8
num_layers = 1
num_heads = 2
d_ff = 8
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory, trained):
    """A folder with good and bad files."""
    folder = tmp_path_factory.mktemp("faults")
    trained.save(folder / "tok")
    (folder / "text").write_text("the cat sat on the mat. " * 20)
    (folder / "bytes").write_bytes(bytes(range(256)))
    for name in ("empty", "kept/model", "begun/unfinished", "bad"):
        (folder / name).mkdir(parents=True)
    for name, content in {
        "empty.txt": "",
        "x.jsonl": '{"x": "y"}\n',
        "bad.jsonl": '{"x":\n',
        "bad.json": '{"a": ',
        "other.json": '{"a": 1}',
        "bad.toml": "a = [",
        "empty.toml": "",
        "config.toml": CONFIG,
        "bad.parquet": "PAR1xxxxPAR1",
        "bad.txt.gz": "text",
        "bad.txt.xz": "text",
        "kept/model/model.json": "{}",
        "bad/manifest.json": "{",
    }.items():
        (folder / name).write_text(content)
    np.save(folder / "ids.npy", np.array([5, 6], np.uint16))
    np.save(folder / "floats.npy", np.ones(3))
    fastlm.encode_corpus(trained, folder / "text", folder / "ids")
    return folder


def run(command: str, capsys) -> tuple[object, str]:
    try:
        status: object = cli.main(command.split())
    except SystemExit as error:
        status = error.code
    return status, capsys.readouterr().err


def needs_torch(command: str) -> None:
    if command.split()[0] in ("export", "import", "generate", "chat", "train", "report", "run", "replay"):
        pytest.importorskip("torch")


@pytest.mark.parametrize("command", FAULTS)
def test_a_fault_is_one_line(command, place, monkeypatch, capsys):
    needs_torch(command)
    monkeypatch.chdir(place)
    monkeypatch.setenv("HF_HUB_CACHE", str(place / "hub"))
    before = sorted(place.rglob("*"))
    status, printed = run(command, capsys)
    assert status == 1
    assert printed.startswith("fastlm: ")
    assert printed.count("\n") == 1, printed
    assert re.search(FAULTS[command].replace("*.none", r"\*\.none"), printed), printed
    assert sorted(place.rglob("*")) == before


@pytest.mark.parametrize("command", USAGE)
def test_a_wrong_command_line_has_exit_code_2(command, place, monkeypatch, capsys):
    monkeypatch.chdir(place)
    status, printed = run(command, capsys)
    assert status == 2
    assert re.search(USAGE[command], printed), printed
    assert "Traceback" not in printed


def test_every_command_has_faults_in_the_table():
    tried = {command.split()[0] for command in (*FAULTS, *USAGE) if command}
    assert set(cli.COMMANDS) - tried == set()


@pytest.mark.parametrize("raised", [ConnectionError("refused"), TimeoutError("slow"), Exception("[Errno -2] no name")])
def test_addresses_without_network_are_one_line(raised, place, monkeypatch, capsys):
    """fsspec's systems raise errors of many libraries, which have no class in common."""
    monkeypatch.chdir(place)

    class System:
        def isdir(self, path):
            raise raised

    class Fsspec:
        class core:  # noqa: N801 - the name in fsspec
            url_to_fs = staticmethod(lambda address: (System(), address))

    monkeypatch.setattr(sources, "needed", lambda *_: Fsspec)
    for command in ("count hf://a/b --tokenizer tok", "encode hf://a/b --tokenizer tok --out new"):
        expected = f"fastlm: hf://a/b: cannot be read ({type(raised).__name__}: {raised})\n"
        assert run(command, capsys) == (1, expected)
    with pytest.raises(OSError, match="hf://a/b: cannot be read"):
        fastlm.train_bpe("hf://a/b", 300)


def test_real_addresses_without_network(place, monkeypatch, capsys):
    pytest.importorskip("fsspec")
    pytest.importorskip("aiohttp")
    monkeypatch.chdir(place)
    status, printed = run("count http://localhost:1/text --tokenizer tok", capsys)
    assert (status, printed.count("\n")) == (1, 1)
    assert printed.startswith("fastlm: http://localhost:1/text: cannot be read (")


@pytest.mark.parametrize(
    ("package", "command"),
    [
        ("orjson", "count x.jsonl --tokenizer tok"),
        ("pyarrow", "count bad.parquet --tokenizer tok"),
        ("fsspec", "count s3://a/b --tokenizer tok"),
        ("ray", "encode text --tokenizer tok --out new --engine ray"),
        ("ray", "train-tokenizer text --vocab-size 300 --out new --engine ray"),
        ("torch", "generate kept/model --tokenizer tok"),
        ("torch", "export kept/model --out new"),
        ("torch", "import empty --out new"),
        ("matplotlib", "account gpt2 --plot x.svg"),
    ],
)
def test_a_missing_extra_is_named(package, command, place, monkeypatch, capsys):
    monkeypatch.chdir(place)
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, package, None)
    for name in [name for name in sys.modules if name.startswith(("fastlm.model.shares_plot", "fastlm.model.files"))]:
        monkeypatch.delitem(sys.modules, name)
    status, printed = run(command, capsys)
    assert (status, printed.count("\n")) == (1, 1), printed
    assert install_command(faults.EXTRAS[package]) in printed


def test_the_extras_are_those_of_the_project():
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    brought = {
        extra: {re.split(r"[^\w-]", requirement)[0].replace("-", "_") for requirement in requirements}
        for extra, requirements in project["optional-dependencies"].items()
    }
    assert all(brought[extra] == set(packages) for extra, packages in PACKAGES.items())
    assert set(brought) - set(PACKAGES) == {"docs", "dev", "bench"}
    # transformers requires tokenizers, and numba llvmlite
    indirect = {"tokenizers", "llvmlite"}
    assert [name for name, extra in faults.EXTRAS.items() if name not in brought[extra] | indirect] == []


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize(
    "command", ["--help", "--version", "account gpt2", "count text --tokenizer tok", "plan --help"]
)
def test_a_full_disk_is_one_line(command, place):
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "fastlm", *command.split()],
            cwd=place,
            env=os.environ | {"PYTHONPATH": str(Path(fastlm.__file__).parents[1])},
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert (done.returncode, done.stderr) == (1, "fastlm: [Errno 28] No space left on device\n")


def test_an_unwritable_folder_is_named(place, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(place)
    monkeypatch.setattr(os, "access", lambda path, mode: os.fspath(path) != str(tmp_path))
    for command in ("encode text --tokenizer tok", "train-tokenizer text --vocab-size 300", "demo text"):
        status, printed = run(f"{command} --out {tmp_path}/new", capsys)
        assert status == 1
        assert printed == f"fastlm: --out {tmp_path}/new cannot be written: permission denied for {tmp_path}\n"
