"""from_pretrained of the compatibility layers on a cache of the Hub, compared with the libraries in offline mode."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import fastlm
from fastlm.compat import tokenizers as layer

pytest.importorskip("huggingface_hub")

COMMITS = ("1" * 40, "2" * 40)
CALLS = [
    ["gpt2"],
    ["org/name"],
    ["org/name", "small"],
    ["org/name", COMMITS[1]],
    ["org/name", "main", "hf_token"],
    ["org/name", "gone"],
    ["org/name", "3" * 40],
    ["org/empty"],
    ["org/other"],
    ["not a name"],
    ["a/b/c"],
    ["a..b"],
    [""],
    [5],
    ["gpt2", 5],
    ["gpt2", None],
    ["gpt2", "main", 5],
    ["gpt2", "main", None],
]

# what a call gives: the ids of a text, or the builtin type of the exception
PROGRAM = """
import json, sys
library = __import__(sys.argv[1], fromlist=["Tokenizer"])
results = []
for arguments in json.loads(sys.argv[2]):
    try:
        results.append(library.Tokenizer.from_pretrained(*arguments).encode("the cat<|user|>").ids)
    except Exception as error:
        results.append(next(kind.__name__ for kind in type(error).__mro__ if kind.__module__ == "builtins"))
print(json.dumps(results))
"""


@pytest.fixture
def home(tmp_path, trained):
    """A folder for HF_HOME: two models, of which one has two revisions, and a model without files."""
    models = {
        ("gpt2", COMMITS[0], "main"): trained,
        ("org/name", COMMITS[0], "main"): trained,
        ("org/name", COMMITS[1], "small"): trained.truncated(300),
        ("org/empty", COMMITS[0], "main"): None,
    }
    for (name, commit, revision), tokenizer in models.items():
        model = tmp_path / "hub" / f"models--{name.replace('/', '--')}"
        (model / "snapshots" / commit).mkdir(parents=True)
        (model / "refs").mkdir(exist_ok=True)
        (model / "refs" / revision).write_text(commit)
        if tokenizer:
            tokenizer.save(model / "snapshots" / commit, formats=["tokenizer.json"])
            (model / "snapshots" / commit / "config.json").write_text(json.dumps({"model_type": "gpt2"}))
    return tmp_path


def offline(home: Path) -> dict[str, str]:
    """The environment of a process that may use the cache only."""
    settings = {"HF_HOME": str(home), "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(Path(fastlm.__file__).parents[1])}
    return {**os.environ, **settings}


def test_the_same_results_as_tokenizers_in_offline_mode(home):
    def results(library: str) -> list[object]:
        command = [sys.executable, "-c", PROGRAM, library, json.dumps(CALLS)]
        run = subprocess.run(command, env=offline(home), cwd=home, capture_output=True, text=True, check=True)
        return json.loads(run.stdout)

    expected, found = results("tokenizers"), results("fastlm.compat.tokenizers")
    assert dict(zip(map(str, CALLS), found, strict=True)) == dict(zip(map(str, CALLS), expected, strict=True))
    assert sum(isinstance(result, list) for result in found) == 6


def test_a_directory_comes_first(home, trained, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(home))
    monkeypatch.chdir(tmp_path)
    trained.truncated(400).save("gpt2")
    assert layer.Tokenizer.from_pretrained("gpt2").get_vocab_size() == 400


def test_a_model_that_the_cache_lacks_is_named(home, monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HOME", str(home))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"^org/other: .* the Hub cache .* has no tokenizer.json of"):
        layer.Tokenizer.from_pretrained("org/other")
    with pytest.raises(FileNotFoundError, match=r"has no tokenizer.json of this model at revision 'main'; fetch it"):
        layer.Tokenizer.from_pretrained("org/empty")
    with pytest.raises(ValueError, match="'not a name' cannot be the name of a model on the Hub"):
        layer.Tokenizer.from_pretrained("not a name")


TRANSFORMERS_PROGRAM = """
from transformers import AutoTokenizer
from fastlm.compat.transformers import FastLMTokenizer
for revision in ("main", "small"):
    ids = [kind.from_pretrained("org/name", revision=revision)("the cat<|user|>")["input_ids"]
           for kind in (AutoTokenizer, FastLMTokenizer)]
    assert ids[0] == ids[1], ids
    print(len(ids[0]))
try:
    FastLMTokenizer.from_pretrained("org/other")
except OSError as error:
    assert "org/other" in str(error)
    print("missing")
"""


def test_transformers_reads_the_cache(home):
    pytest.importorskip("transformers")
    command = [sys.executable, "-c", TRANSFORMERS_PROGRAM]
    run = subprocess.run(command, env=offline(home), cwd=home, capture_output=True, text=True)
    assert (run.returncode, run.stdout.split()[-1:]) == (0, ["missing"]), run.stderr
