"""`fastlm tokenize`, with and without a terminal, and the summary of a tokenizer for notebooks."""

import json
import os
import pty
import re
import subprocess
import sys
from html.parser import HTMLParser

import pytest

import fastlm
from fastlm import cli
from fastlm.text.shown import shown
from fastlm.vocabulary.summary import SAMPLE
from tests import texts
from tests.children import LIMIT, ended

TEXT = "the don't\n\x1b[31mred\x07 é😀<|end|>"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenize")
    fastlm.train_bpe(texts.DOCUMENTS, 600, ["<|end|>"]).save(folder / "tokenizer")
    return folder


@pytest.fixture(scope="module")
def tokenizer(folder):
    return fastlm.load(folder / "tokenizer")


def run_on_terminal(*args, **environment):
    """The output of the command on a pseudo-terminal."""
    leader, follower = pty.openpty()
    command = [sys.executable, "-m", "fastlm", *map(str, args)]
    env = {name: value for name, value in os.environ.items() if name != "NO_COLOR"} | {"TERM": "xterm"} | environment
    process = subprocess.Popen(command, stdout=follower, stderr=subprocess.PIPE, env=env)
    os.close(follower)
    with ended(process):
        output = b""
        while True:
            try:
                part = os.read(leader, 65536)
            except OSError:  # Linux ends a terminal with EIO
                part = b""
            if not part:
                break
            output += part
        os.close(leader)
        _, errors = process.communicate(timeout=LIMIT)
    assert process.returncode == 0, errors
    return output.decode().replace("\r\n", "\n")


def test_tokens_ids_and_counts_without_a_terminal(folder, tokenizer, capsys):
    assert cli.main(["tokenize", TEXT, "--tokenizer", str(folder / "tokenizer")]) == 0
    ids = tokenizer.encode(TEXT)
    *lines, second, third = capsys.readouterr().out.splitlines()
    tokens = [shown(tokenizer.vocab[token_id]) for token_id in ids]
    cut = 1 + next(k for k, token_id in enumerate(ids) if tokenizer.vocab[token_id].endswith(b"\n"))
    assert lines == ["|".join(tokens[:cut]), "|".join(tokens[cut:])]
    assert second == f"ids: {' '.join(map(str, ids))}"
    size = len(TEXT.encode())
    assert third == f"{len(ids)} tokens, {size} bytes, {size / len(ids):.2f} bytes per token"


def test_a_terminal_gets_colours_and_no_escapes_of_the_text(folder, tokenizer):
    output = run_on_terminal("tokenize", TEXT, "--tokenizer", folder / "tokenizer")
    colours = re.findall(r"\x1b\[30;48;5;\d+m(.*?)\x1b\[0m", output)
    assert colours == [shown(tokenizer.vocab[token_id]) for token_id in tokenizer.encode(TEXT)]
    rest = re.sub(r"\x1b\[(30;48;5;\d+|0)m", "", output)
    assert "\x1b" not in rest
    assert "\x07" not in rest
    assert "\\u{1b}[31mred" in rest.replace("|", "")


@pytest.mark.parametrize("environment", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_no_colours_where_they_are_unwanted(folder, environment):
    output = run_on_terminal("tokenize", "the text", "--tokenizer", folder / "tokenizer", **environment)
    assert "\x1b" not in output
    assert "|" in output


def test_json_has_ids_bytes_and_places(folder, tokenizer, capsys):
    assert cli.main(["tokenize", TEXT, "--tokenizer", str(folder / "tokenizer"), "--json"]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    found = json.loads(out)
    ids, spans = tokenizer.encode_with_offsets(TEXT)
    assert found["ids"] == [token["id"] for token in found["tokens"]] == ids.tolist()
    assert [[token["start"], token["end"]] for token in found["tokens"]] == spans.tolist()
    assert b"".join(bytes.fromhex(token["bytes"]) for token in found["tokens"]) == TEXT.encode()
    assert found["bytes"] == len(TEXT.encode())


def test_files_and_standard_input(folder, tokenizer, capsys):
    path = folder / "text.txt"
    path.write_text(TEXT, "utf-8", newline="")
    arguments = ["--tokenizer", str(folder / "tokenizer"), "--json", "--on-special", "text"]
    assert cli.main(["tokenize", str(path), *arguments]) == 0
    from_file = capsys.readouterr().out
    command = [sys.executable, "-m", "fastlm", "tokenize", "-", *arguments]
    from_input = subprocess.run(command, input=TEXT.encode(), capture_output=True, check=True).stdout.decode()
    assert from_file == from_input
    assert json.loads(from_file)["ids"] == tokenizer.encode(TEXT, on_special="text")


def test_a_missing_file_is_said_to_be_text(folder, capsys):
    assert cli.main(["tokenize", "missing.txt", "--tokenizer", str(folder / "tokenizer")]) == 0
    assert capsys.readouterr().err == "fastlm: no file is named missing.txt; its name is the text\n"


def test_bad_input_is_one_line(folder, capsys):
    (folder / "broken").write_bytes(b"ok\xff")
    assert cli.main(["tokenize", str(folder / "broken"), "--tokenizer", str(folder / "tokenizer")]) == 1
    assert re.fullmatch(f"fastlm: {folder}/broken: .*byte 2.*\n", capsys.readouterr().err)
    arguments = ["tokenize", TEXT, "--tokenizer", str(folder / "tokenizer"), "--on-special", "raise"]
    assert cli.main(arguments) == 1
    assert "the text has the special token '<|end|>' at byte 26" in capsys.readouterr().err


def test_an_empty_text(folder, capsys):
    assert cli.main(["tokenize", "", "--tokenizer", str(folder / "tokenizer")]) == 0
    assert capsys.readouterr().out == "ids: \n0 tokens, 0 bytes\n"


def test_notebooks_show_a_summary(tokenizer):
    page = tokenizer._repr_html_()
    cells, text = [], []

    class Reader(HTMLParser):
        def handle_starttag(self, tag, attrs):
            cells.append((tag, dict(attrs)))

        def handle_data(self, data):
            text.append(data)

    Reader().feed(page)
    assert {tag for tag, _ in cells} <= {"table", "caption", "b", "tbody", "tr", "th", "td", "span"}
    titles = [attributes["title"] for tag, attributes in cells if tag == "span"]
    ids = [int(re.match(r"id (\d+), bytes", title)[1]) for title in titles]
    assert ids[: len(ids) - 12] == tokenizer.encode(SAMPLE)
    words = [
        token for token in tokenizer.vocab.values() if token.decode("utf-8", "replace").removeprefix(" ").isalpha()
    ]
    assert [tokenizer.vocab[token_id] for token_id in ids[-12:]] == sorted(words, key=len, reverse=True)[:12]
    assert "600 tokens, 343 merges" in text
    assert "<|end|>" in text
    assert len(page) < 20_000


def test_the_summary_of_a_vocabulary_without_all_bytes():
    from fastlm.pretokenize.patterns import PATTERNS
    from fastlm.vocabulary.vocabulary import AddedToken, Rules, vocabulary_from_ids

    added = (AddedToken("<b>", 1),)
    vocabulary = vocabulary_from_ids({0: b"a", 1: b"<b>"}, [], [], [], added, PATTERNS["gpt2"], Rules())
    page = fastlm.Tokenizer.from_vocabulary(vocabulary)._repr_html_()
    assert ">&lt;b&gt;<" in page
    assert ">a</span>" in page
    assert "2 tokens, 0 merges" in page
