"""A SentencePiece model, and other files that are no tokenizer files, are named by every reader."""

import struct
from pathlib import Path

import pytest

import fastlm
from fastlm import cli
from fastlm.compat import tiktoken as tiktoken_layer
from fastlm.compat import tokenizers as tokenizers_layer
from fastlm.formats import llama2c, minbpe, native, tekken, tiktoken, tokenizer_json
from fastlm.pretokenize.patterns import find_pattern


def field(number: int, content: bytes) -> bytes:
    """A field of a protobuf message with a length below 2^14."""
    size = len(content)
    length = bytes([size]) if size < 128 else bytes([size & 127 | 128, size >> 7])
    return bytes([number << 3 | 2]) + length + content


def piece(text: str, score: float, kind: int | None = None) -> bytes:
    body = field(1, text.encode()) + b"\x15" + struct.pack("<f", score)
    return field(1, body if kind is None else body + bytes([0x18, kind]))


def model_proto(first: list[bytes]) -> bytes:
    """The content of a SentencePiece model as its protobuf definition orders it: pieces, then the trainer's options."""
    return b"".join([*first, *[piece(f"\u2581w{k}", -k) for k in range(300)]]) + field(2, b"\x0a\x03abc")


MODELS = {
    "llama": model_proto([piece("<unk>", 0, 2), piece("<s>", 0, 3), piece("</s>", 0, 3)]),
    "t5": model_proto([piece("<pad>", 0, 3), piece("</s>", 0, 3), piece("<unk>", 0, 2)]),
    "long first piece": model_proto([piece("\u2581" * 60, -1.5)]),
}
NAMED = "the file is a SentencePiece model: fastlm reads byte-level BPE only"


@pytest.fixture(params=MODELS)
def folder(tmp_path, monkeypatch, request) -> Path:
    """A folder with the model under the names of all formats."""
    names = ["tokenizer.model", "tokenizer.json", "vocab.json", "merges.txt", "tekken.json", "tokenizer.fastlm"]
    for name in [*names, "ranks.tiktoken", "tokenizer.bin", "alone/tokenizer.model", "hub/tokenizer.json"]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(MODELS[request.param])
    (tmp_path / "text").write_text("some text")
    monkeypatch.chdir(tmp_path)
    return tmp_path


READERS = {
    "load": lambda: fastlm.load("tokenizer.model"),
    "load a folder": lambda: fastlm.load("alone"),
    "load tokenizer.json": lambda: fastlm.load("tokenizer.json"),
    "load vocab.json": lambda: fastlm.load("vocab.json", pattern="gpt2"),
    "load tekken.json": lambda: fastlm.load("tekken.json"),
    "load tokenizer.fastlm": lambda: fastlm.load("tokenizer.fastlm"),
    "load ranks": lambda: fastlm.load("ranks.tiktoken", pattern="gpt2"),
    "from_files": lambda: fastlm.Tokenizer.from_files("vocab.json", "merges.txt"),
    "native.read": lambda: native.read(Path("tokenizer.model")),
    "tokenizer_json.read": lambda: tokenizer_json.read("tokenizer.model"),
    "tiktoken.read": lambda: tiktoken.read("tokenizer.model"),
    "minbpe.read": lambda: minbpe.read("tokenizer.model"),
    "tekken.read": lambda: tekken.read(Path("tokenizer.model")),
    "llama2c.read": lambda: llama2c.read("tokenizer.bin", find_pattern("gpt2")),
    "Tokenizer.from_file": lambda: tokenizers_layer.Tokenizer.from_file("tokenizer.model"),
    "Tokenizer.from_buffer": lambda: tokenizers_layer.Tokenizer.from_buffer(Path("tokenizer.model").read_bytes()),
    "Tokenizer.from_pretrained": lambda: tokenizers_layer.Tokenizer.from_pretrained("hub"),
    "BPE.from_file": lambda: tokenizers_layer.models.BPE.from_file("vocab.json", "merges.txt"),
    "ByteLevelBPETokenizer": lambda: tokenizers_layer.ByteLevelBPETokenizer("vocab.json", "merges.txt"),
    "load_tiktoken_bpe": lambda: tiktoken_layer.load.load_tiktoken_bpe("tokenizer.model"),
    "data_gym": lambda: tiktoken_layer.load.data_gym_to_mergeable_bpe_ranks("merges.txt", "vocab.json"),
}


@pytest.mark.parametrize("reader", READERS)
def test_readers_name_the_model(folder, reader):
    with pytest.raises(ValueError, match=NAMED):
        READERS[reader]()


def test_the_transformers_layer_names_the_model(folder):
    pytest.importorskip("transformers")
    from fastlm.compat.transformers import FastLMTokenizer

    for call in (lambda: FastLMTokenizer("tokenizer.model"), lambda: FastLMTokenizer.from_pretrained("hub")):
        with pytest.raises(ValueError, match=NAMED):
            call()
    with pytest.raises(OSError, match=rf"holds no tokenizer\.json; alone/tokenizer\.model: {NAMED}"):
        FastLMTokenizer.from_pretrained("alone")


COMMANDS = [
    ["count", "text", "--tokenizer", "tokenizer.model"],
    ["count", "text", "--tokenizer", "alone"],
    ["encode", "text", "--tokenizer", "alone", "--out", "ids"],
    ["train-tokenizer", "text", "--base", "tokenizer.model", "--vocab-size", "300", "--out", "new"],
    ["plan", "1GB", "--tokenizer", "tokenizer.model"],
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_commands_name_the_model(folder, capsys, command):
    assert cli.main(command) == 1
    error = capsys.readouterr().err
    assert NAMED in error
    assert error.count("\n") == 1


def test_commands_of_models_name_the_model(folder, capsys):
    pytest.importorskip("torch")
    from fastlm.model.files import save_model
    from fastlm.model.hf import export_llama
    from tests.model.models import made

    save_model(made(), folder / "alone")
    assert cli.main(["generate", "alone", "--prompt", "a"]) == 1
    assert NAMED in capsys.readouterr().err
    export_llama(made(), folder / "llama")
    (folder / "llama" / "tokenizer.model").write_bytes((folder / "tokenizer.model").read_bytes())
    assert cli.main(["import", "llama", "--out", "own"]) == 0
    assert f"the tokenizer is left out: llama/tokenizer.model: {NAMED}" in capsys.readouterr().err
    assert cli.main(["import", "llama", "--out", "own", "--tokenizer", "tokenizer.model"]) == 1
    assert NAMED in capsys.readouterr().err
