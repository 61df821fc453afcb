"""`fastlm export` and `fastlm import`: from one folder to another, and nothing lost on the way."""

import io
import json
from dataclasses import replace

import pytest

pytest.importorskip("torch")

import fastlm
from fastlm import cli
from fastlm.model.files import load_model, save_model
from tests.model.models import TINY, made, same_weights


@pytest.fixture
def folder(tmp_path, trained):
    save_model(made(replace(TINY, vocab_size=1024)), tmp_path / "model", trained)
    trained.save(tmp_path / "model")
    return tmp_path


def run(capsys, *args) -> tuple[int, str]:
    status = cli.main([str(arg) for arg in args])
    captured = capsys.readouterr()
    return status, captured.err if status else captured.out + captured.err


def test_to_llama_and_back(folder, trained, capsys):
    assert run(capsys, "export", folder / "model", "--out", folder / "llama") == (
        0,
        f"17,512 parameters in {folder / 'llama'}\n",
    )
    assert run(capsys, "import", folder / "llama", "--out", folder / "back")[0] == 0
    back = load_model(folder / "back", fastlm.load(folder / "back"))
    assert same_weights(back, load_model(folder / "model"))
    assert back.tokenizer_fingerprint == trained.vocabulary.fingerprint


def test_to_llama2c_and_back(folder, trained, capsys):
    out = folder / "llama2c"
    assert run(capsys, "export", folder / "model", "--format", "llama2c", "--out", out)[0] == 0
    assert {file.name for file in out.iterdir()} == {"model.bin", "tokenizer.bin"}
    arguments = ["--tokenizer", folder / "model", "--out", folder / "back"]
    assert run(capsys, "import", out / "model.bin", *arguments)[0] == 0
    back = load_model(folder / "back", trained)
    assert back.config.rope_layout == "interleaved"
    assert run(capsys, "export", folder / "back", "--out", folder / "llama")[0] == 0
    assert run(capsys, "import", folder / "llama", "--out", folder / "again")[0] == 0
    assert same_weights(load_model(folder / "again"), load_model(folder / "model"))


def test_another_tokenizer_is_refused(folder, capsys):
    other = fastlm.train_bpe(["other text"], 262, ["<|endoftext|>"])
    other.save(folder / "other")
    status, message = run(
        capsys, "export", folder / "model", "--tokenizer", folder / "other", "--out", folder / "llama"
    )
    assert status == 1
    assert "was trained with the tokenizer of fingerprint" in message
    assert not (folder / "llama").exists()


def test_a_tokenizer_of_another_kind_is_left_out(folder, capsys):
    save_model(made(), folder / "plain")
    assert run(capsys, "export", folder / "plain", "--out", folder / "llama")[1].endswith("without a tokenizer\n")
    (folder / "llama" / "tokenizer.json").write_text(json.dumps({"model": {"type": "Unigram"}}))
    status, message = run(capsys, "import", folder / "llama", "--out", folder / "back")
    assert status == 0
    assert "the tokenizer is left out" in message
    assert {file.name for file in (folder / "back").iterdir()} == {"model.json", "model.safetensors"}
    (folder / "plain" / "tokenizer.fastlm").write_bytes(b"no")
    assert run(capsys, "export", folder / "plain", "--out", folder / "llama")[0] == 1


def test_a_model_without_tokenizer_is_not_written_next_to_another(folder, trained, capsys):
    """The files of a folder belong together: generation would take the tokenizer in it for the model's."""
    save_model(made(replace(TINY, vocab_size=1024)), folder / "plain")
    for name, formats in (("native", ["fastlm"]), ("json", ["tokenizer.json"])):
        trained.truncated(300).save(folder / name, formats=formats)
        before = {file.name: file.read_bytes() for file in (folder / name).iterdir()}
        for command in ("export", "import"):
            source = folder / ("plain" if command == "export" else "llama")
            status, message = run(capsys, command, source, "--out", folder / name)
            assert status == 1
            assert "the tokenizer of the model to write here is not known; give the tokenizer" in message
            assert run(capsys, "export", folder / "plain", "--out", folder / "llama")[0] == 0
        assert {file.name: file.read_bytes() for file in (folder / name).iterdir()} == before


def test_a_model_of_another_tokenizer_is_not_written_next_to_one(folder, trained, capsys):
    other = trained.truncated(300)
    other.save(folder / "other")
    known = load_model(folder / "model")
    with pytest.raises(
        ValueError, match=r"other/tokenizer\.fastlm: has the fingerprint \w+, and the tokenizer of the m"
    ):
        save_model(known, folder / "other")
    # next to its own tokenizer it is, and with a given one the caller replaces what was there
    trained.save(folder / "own")
    save_model(known, folder / "own")
    save_model(known, folder / "other", trained)


def test_an_import_replaces_the_tokenizer_together_with_the_model(folder, trained, capsys):
    trained.truncated(300).save(folder / "back")
    assert run(capsys, "export", folder / "model", "--out", folder / "llama")[0] == 0
    assert run(capsys, "import", folder / "llama", "--out", folder / "back")[0] == 0
    assert fastlm.load(folder / "back").vocabulary.fingerprint == trained.vocabulary.fingerprint
    assert load_model(folder / "back", trained).tokenizer_fingerprint == trained.vocabulary.fingerprint


def test_llama2c_without_tokenizer_is_not_written_next_to_one(folder, capsys):
    out = folder / "llama2c"
    assert run(capsys, "export", folder / "model", "--format", "llama2c", "--out", out)[0] == 0
    save_model(made(replace(TINY, vocab_size=1024)), folder / "plain")
    status, message = run(capsys, "export", folder / "plain", "--format", "llama2c", "--out", out)
    assert status == 1
    assert "tokenizer.bin: is in the folder of a model to write without a tokenizer" in message


@pytest.mark.parametrize("device", ["", "abc", "-1", "cpu:x", "é", "cuda:99", "mps:5"])
def test_a_wrong_device_is_named(folder, trained, capsys, device):
    status, message = run(capsys, "generate", folder / "model", "--prompt", "the", "--device", device)
    assert (status, message.count("\n")) == (1, 1)
    assert message.startswith(f"fastlm: --device is {device!r}: ")
    with pytest.raises(ValueError, match=f"^device is {device!r}: "):
        load_model(folder / "model", device=device)


TEMPLATE = "{{ bos_token }}{% for m in messages %}[{{ m.role }}]{{ m.content }}{{ eos_token }}{% endfor %}é"
TOKENS = {"bos_token": "<|endoftext|>", "eos_token": {"content": "<|user|>", "special": True}}


@pytest.mark.parametrize("form", ["file", "field", "list"])
def test_the_chat_template_comes_along(folder, capsys, form):
    pytest.importorskip("jinja2")
    from fastlm.generation.chat_template import ChatTemplate

    assert run(capsys, "export", folder / "model", "--out", folder / "llama")[0] == 0
    path = folder / "llama" / "tokenizer_config.json"
    fields = json.loads(path.read_text()) | TOKENS
    if form == "file":
        (folder / "llama" / "chat_template.jinja").write_text(TEMPLATE, encoding="utf-8")
    elif form == "field":
        fields["chat_template"] = TEMPLATE
    else:
        fields["chat_template"] = [{"name": "tools", "template": "no"}, {"name": "default", "template": TEMPLATE}]
    path.write_text(json.dumps(fields))
    messages = [{"role": "user", "content": "hello"}]
    expected = ChatTemplate.of_folder(folder / "llama").parts(messages)
    assert "".join(text for text, _ in expected) == "<|endoftext|>[user]hello<|user|>é"
    assert run(capsys, "import", folder / "llama", "--out", folder / "back")[0] == 0
    assert ChatTemplate.of_folder(folder / "back").parts(messages) == expected
    # the exported folder has it too
    assert run(capsys, "export", folder / "back", "--out", folder / "again")[0] == 0
    assert (folder / "again" / "chat_template.jinja").read_text(encoding="utf-8") == TEMPLATE
    assert run(capsys, "export", folder / "back", "--format", "gguf", "--out", folder / "gguf")[0] == 0
    assert TEMPLATE.encode() in (folder / "gguf" / "model.gguf").read_bytes()


def test_a_folder_that_was_imported_can_chat(folder, capsys, monkeypatch):
    pytest.importorskip("jinja2")
    assert run(capsys, "export", folder / "model", "--out", folder / "llama")[0] == 0
    (folder / "llama" / "chat_template.jinja").write_text("{{ messages[-1].content }}")
    assert run(capsys, "import", folder / "llama", "--out", folder / "back")[0] == 0
    monkeypatch.setattr("sys.stdin", io.StringIO("the\n"))
    assert run(capsys, "chat", folder / "back", "--max-new-tokens", "2", "--temperature", "0")[0] == 0


def test_a_chat_template_that_cannot_be_read_is_left_out(folder, capsys):
    assert run(capsys, "export", folder / "model", "--out", folder / "llama")[0] == 0
    (folder / "llama" / "chat_template.jinja").write_bytes(b"\xff")
    status, message = run(capsys, "import", folder / "llama", "--out", folder / "back")
    assert status == 0
    assert "the chat template is left out: " in message
    assert "chat_template.jinja: is not UTF-8" in message
    assert not (folder / "back" / "chat_template.jinja").exists()
