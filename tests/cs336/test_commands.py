"""The commands of docs/cs336.md on files with the names and the forms of the assignment's."""

import gzip
import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from fastlm import cli, load
from tests import texts
from tests.texts import DOCUMENTS

# the files are small
pytestmark = pytest.mark.filterwarnings("ignore:the text has no more pairs to merge:UserWarning")

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "cs336.md"
STORIES = ("TinyStoriesV2-GPT4-train.txt", "TinyStoriesV2-GPT4-valid.txt")
SMALL = "--model.d-model 16 --model.num-layers 1 --model.num-heads 2 --model.context-length 16 --model.d-ff 24"


def commands(heading: str) -> list[list[str]]:
    """The commands of fastlm in the block of a heading, with its loops unrolled."""
    section = PAGE.read_text("utf-8").partition(f"\n## {heading}\n")[2]
    block = re.search(r"```sh\n(.*?)```", section, re.DOTALL)
    assert block
    found: list[list[str]] = []
    variable, values = "", [""]
    for line in block[1].replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        if words[:1] == ["for"]:
            variable, values = words[1], [word.rstrip(";") for word in words[3:-1]]
        elif words[:1] == ["done"]:
            variable, values = "", [""]
        elif words:
            found += [[word.replace(f"${variable}", value) if variable else word for word in words] for value in values]
    assert all(words[0] == "fastlm" for words in found)
    return [words[1:] for words in found]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder with small files under the names of the assignment's, after the commands for data."""
    folder = tmp_path_factory.mktemp("cs336")
    (folder / "data").mkdir()
    stories = "\n<|endoftext|>\n".join(["Once upon a time, there was a cat. " * 9, *DOCUMENTS] * 4)
    for name in STORIES:
        (folder / "data" / name).write_text(stories, "utf-8")
    for part in ("train", "valid"):
        with gzip.open(folder / "data" / f"owt_{part}.txt.gz", "wt", encoding="utf-8") as file:
            file.write("<|endoftext|>".join(texts.DOCUMENTS))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for words in commands("Data"):
            assert cli.main(words) == 0, words
    return folder


def test_data(folder):
    tokenizer = load(folder / "data" / "tinystories-tokenizer")
    ids = np.load(folder / "data" / "tinystories-train" / "train-00000.npy", mmap_mode="r")
    assert ids.dtype == np.uint16
    text = (folder / "data" / STORIES[0]).read_bytes().decode()
    decoded = tokenizer.decode(np.asarray(ids))
    # every document has an end, also the last, and none is empty
    assert decoded == "".join(f"{document}<|endoftext|>" for document in text.split("<|endoftext|>") if document)
    manifest = json.loads((folder / "data" / "owt-valid" / "manifest.json").read_text())
    assert manifest["documents"] == len(texts.DOCUMENTS)
    assert (folder / "data" / "tinystories-tokenizer" / "vocab.json").exists()


@pytest.mark.nightly
def test_experiments(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    (folder / "configs").mkdir()
    path = ROOT / "configs" / "tinystories-low-resource.toml"
    (folder / "configs" / path.name).write_text(path.read_text())
    small = [*SMALL.split(), "--steps", "2", "--batch-size", "2", "--warmup-steps", "1", "--eval-sequences", "2"]
    found = commands("Experiments")
    trained = [words for words in found if words[0] == "train"]
    assert len(trained) == 7
    # all of them are checked, and one of each kind is run
    for words in (trained[1], trained[4], trained[6]):
        own = [option for option in small if option != "--model.d-ff"] if "--model.d-ff" in words else small
        if "--model.d-ff" in words:
            own.remove("24")
        assert cli.main([*words, *own]) == 0, (words, capsys.readouterr().err)
    assert (folder / "runs" / "rate-3e-3" / "model" / "model.json").exists()
    generated = [words for words in found if words[0] == "generate"]
    assert cli.main([*generated[0], "--max-new-tokens", "3"]) == 0
    assert "Once upon a time" in capsys.readouterr().out


def test_the_page_names_what_exists():
    """Functions that the table names are there, and files too."""
    import fastlm
    from fastlm import training

    page = PAGE.read_text("utf-8")
    for name in re.findall(r"`fastlm\.training\.(\w+)`", page):
        assert hasattr(training, name), name
    for name in re.findall(r"\[`fastlm\.(\w+)`\]", page):
        assert hasattr(fastlm, name) or name == "model", name
    for name in re.findall(r"configs/[\w-]+\.toml", page):
        assert (ROOT / name).exists(), name
