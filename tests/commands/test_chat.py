"""`fastlm chat`: messages on standard input, replies on standard output."""

import io
import os
import pty
import select
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("jinja2")

import fastlm  # noqa: E402
from fastlm import cli  # noqa: E402
from fastlm.generation import stream  # noqa: E402
from fastlm.generation.chat_template import ChatTemplate  # noqa: E402
from fastlm.generation.packed_files import decoding_model  # noqa: E402
from fastlm.model import SpecialTokenIds  # noqa: E402
from fastlm.model.files import load_model, save_model  # noqa: E402
from tests.model.variants import model_of  # noqa: E402

TEMPLATE = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{% endfor %}<|assistant|>"
ROOT = Path(fastlm.__file__).resolve().parents[1]


@pytest.fixture
def folder(tmp_path) -> Path:
    special = ["<|system|>", "<|user|>", "<|assistant|>", "<|end|>"]
    tokenizer = fastlm.Tokenizer({i: bytes([i]) for i in range(256)}, [], special)
    model = model_of("plain", vocab_size=260, context_length=4096)
    model.special_token_ids = SpecialTokenIds(eos=(259,))
    save_model(model, tmp_path / "model", tokenizer)
    tokenizer.save(tmp_path / "model")
    (tmp_path / "model" / "chat_template.jinja").write_text(TEMPLATE)
    return tmp_path / "model"


def test_replies_follow_the_whole_conversation(folder, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", io.StringIO("hello <|end|>\n\nagain\n"))
    arguments = ["--temperature", "0", "--max-new-tokens", "9", "--system", "short"]
    assert cli.main(["chat", str(folder), *arguments]) == 0
    found = capsys.readouterr()
    tokenizer, template = fastlm.load(folder), ChatTemplate.of_folder(folder)
    model, step = decoding_model(folder, tokenizer, kind="int8")
    messages, expected = [{"role": "system", "content": "short"}], ""
    for text in ("hello <|end|>", "again"):
        messages.append({"role": "user", "content": text})
        ids = template.encode(messages, tokenizer)
        assert ids.count(259) == 0  # the user's text is no end of a message
        reply = "".join(stream(model, ids, tokenizer, temperature=0, max_new_tokens=9, step=step))
        messages.append({"role": "assistant", "content": reply})
        expected += f"{reply}\n"
    assert found.out == expected
    assert found.err.count("tokens/s") == 2
    assert (folder / "fastlm.int8.safetensors").exists()


def _without_tokenizer(folder: Path) -> None:
    for name in ("tokenizer.fastlm", "tokenizer.json", "vocab.json", "merges.txt"):
        (folder / name).unlink(missing_ok=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: (folder / "chat_template.jinja").unlink(), "has no chat template"),
        (lambda folder: (folder / "chat_template.jinja").write_text("{% if %}"), "the chat template is not valid"),
        (_without_tokenizer, "tokenizer"),
        (lambda folder: folder.rename(folder.with_name("moved")), "no such folder"),
    ],
)
def test_folders_that_cannot_chat(folder, capsys, change, message):
    change(folder)
    assert cli.main(["chat", str(folder)]) == 1
    assert message in capsys.readouterr().err


def _read_until(terminal: int, text: bytes, seconds: float) -> bytes:
    found, end = b"", time.monotonic() + seconds
    while text not in found:
        ready, _, _ = select.select([terminal], [], [], max(0, end - time.monotonic()))
        assert ready, f"no {text!r} in {found!r}"
        found += os.read(terminal, 4096)
    return found


@pytest.mark.nightly  # starts a process
def test_an_interrupt_stops_a_reply_and_not_the_chat(folder):
    model = load_model(folder)
    with torch.no_grad():
        model.lm_head.weight[256:] = 0  # it never ends a reply
    save_model(model, folder)
    terminal, end = pty.openpty()
    command = [sys.executable, "-m", "fastlm", "chat", str(folder), "--max-new-tokens", "4000", "--min-p", "1"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        command,
        stdin=end,
        stdout=end,
        stderr=end,
        cwd=ROOT,
        env=environment,
        start_new_session=True,
        # a shell lets its background jobs ignore it, and so their children
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )
    try:
        for _ in range(2):
            _read_until(terminal, b"> ", 600)  # compiles the kernel, where nothing has yet
            os.write(terminal, b"hello\n")
            _read_until(terminal, b"hello\r\n", 60)
            time.sleep(0.5)
            process.send_signal(signal.SIGINT)
            assert b"the reply is stopped" in _read_until(terminal, b"tokens/s", 60)
        _read_until(terminal, b"> ", 60)
        os.write(terminal, b"\x04")
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait(60)
        os.close(terminal)
        os.close(end)
