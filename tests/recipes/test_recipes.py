"""Recipes: their fields, the stages that are skipped, and runs that are stopped."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

import fastlm  # noqa: E402
from fastlm.cli import main  # noqa: E402
from fastlm.corpus.manifest import read_manifest  # noqa: E402
from fastlm.model.files import load_model  # noqa: E402
from fastlm.recipes import run as running  # noqa: E402
from fastlm.recipes.recipe import builtin_recipes, load_recipe, parse_change  # noqa: E402
from fastlm.recipes.report_stage import bars  # noqa: E402
from fastlm.recipes.run import STAGES, run_recipe, unchanged_stages  # noqa: E402
from fastlm.recipes.stage_record import read_record  # noqa: E402
from fastlm.report.write import missing_package  # noqa: E402
from fastlm.training import load_config  # noqa: E402
from tests.recipe_kills import SMALL, result  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
NAMES = [stage.name for stage in STAGES]


pytestmark = pytest.mark.usefixtures("one_torch_thread")


TEXT = "<|endoftext|>".join(f"the cat {k} sat on mat {k * k} and ran" for k in range(400))


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "corpus.txt"
    path.write_text(TEXT)
    return path


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """What a run leaves that is not stopped."""
    directory = tmp_path_factory.mktemp("whole")
    (directory / "corpus.txt").write_text(TEXT)
    torch.set_num_threads(1)
    run_recipe(recipe_of(directory / "corpus.txt", directory / "run"))
    return result(directory / "run")


def recipe_of(text, out, **changes):
    own = {
        "corpus.embedded": False,
        "corpus.inputs": [str(text)],
        "corpus.separator": "<|endoftext|>",
        "out": str(out),
        "training.steps": 6,
        "export.formats": ["llama"],
    }
    return load_recipe("embedded", {**SMALL, **own, **{name.replace("__", "."): v for name, v in changes.items()}})


def ran(recipe):
    """The stages that ran, and not those that were skipped."""
    lines = []
    run_recipe(recipe, lines.append)
    assert [line.partition(":")[0] for line in lines] == NAMES
    return [line.partition(":")[0] for line in lines if not line.endswith(": unchanged")]


# --- fields ---


@pytest.mark.parametrize("name", ["embedded", "laptop", "tinystories"])
def test_recipes_that_are_shipped_are_right(name):
    recipe = load_recipe(name)
    assert name in builtin_recipes()
    config = recipe.training_config(recipe.tokenizer.vocab_size, Path(recipe.out))
    assert config.train_data == (f"runs/{name}/shards/train",)
    assert recipe.description
    assert recipe.out == f"runs/{name}"


def test_tinystories_is_the_low_resource_setting():
    recipe = load_recipe("tinystories")
    config = recipe.training_config(10_000, Path("run"))
    model = config.model
    assert (model.vocab_size, model.context_length, model.d_model) == (10_000, 256, 512)
    assert (model.num_layers, model.num_heads, model.d_ff) == (4, 16, 1344)
    assert config.steps * config.batch_size * model.context_length == 40_960_000
    assert config.validation_data == ("run/shards/validation",)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tokenizer.vocab": 3}, r"embedded.toml: tokenizer.vocab: unknown field; expected some of max_token_length,"),
        ({"tokenizer.vocab_size": "x"}, r"tokenizer.vocab_size: expected an integer, found 'x'"),
        ({"tokenizer.vocab_size": 3}, r"tokenizer.vocab_size: expected an integer from 257 to 2147483647, found 3"),
        ({"stages": 3}, r"stages: unknown field; expected some of corpus, description,"),
        ({"corpus": 3}, r"corpus: expected an object, found 3"),
        ({"corpus.inputs": ["a"]}, r"corpus: expected either embedded = true or inputs, found both"),
        ({"corpus.embedded": False}, r"corpus: expected either embedded = true or inputs, found neither"),
        ({"corpus.separator": ""}, r"corpus: separator must not be empty"),
        ({"corpus.separator": "x"}, r"corpus: expected text_field, separator, .* only with inputs, found one with"),
        ({"shards.format": "zip"}, r"shards.format: expected 'bin' or 'npy' or 'megatron', found 'zip'"),
        ({"shards.end_of_text": "x"}, r"shards.end_of_text: expected one of tokenizer.special_tokens .* found 'x'"),
        ({"training.stps": 3}, r"training: unknown field 'stps'; expected some of allow_tf32"),
        ({"training.out": "x"}, r"training.out: the recipe determines this field"),
        ({"training.learning_rate": "a"}, r"training: learning_rate is 'a'; expected a number"),
        ({"model.depth": 0}, r"training: model: depth is 0; expected an integer from 1"),
        ({"export.formats": ["gguf"]}, r"export.formats\[0\]: expected 'llama' or 'llama2c', found 'gguf'"),
        ({"evaluation.top_p": 2.0}, r"evaluation.top_p: expected a number from 0 to 1, found 2.0"),
        ({"name.first": 2}, r"name: expected a table, found 'embedded'"),
    ],
)
def test_wrong_fields_are_named_with_file_value_and_what_is_expected(changes, message):
    with pytest.raises(ValueError, match=message):
        load_recipe("embedded", changes)


def test_a_recipe_that_does_not_exist(tmp_path):
    with pytest.raises(ValueError, match=r"'tiny' is not a recipe; expected a .toml file or one of embedded, laptop"):
        load_recipe("tiny")
    with pytest.raises(FileNotFoundError):
        load_recipe(str(tmp_path / "none.toml"))
    (tmp_path / "bad.toml").write_text("a = '" + "x" * (1 << 20) + "'")
    with pytest.raises(ValueError, match=r"bad.toml: not TOML: more than 1048576 bytes"):
        load_recipe(str(tmp_path / "bad.toml"))
    (tmp_path / "bad.toml").write_text(".".join(["a"] * 40) + " = 1")
    with pytest.raises(ValueError, match=r"bad.toml: not TOML: a key of more than 32 parts"):
        load_recipe(str(tmp_path / "bad.toml"))
    (tmp_path / "bad.toml").write_text("[corpus")
    with pytest.raises(ValueError, match=r"bad.toml: not TOML"):
        load_recipe(str(tmp_path / "bad.toml"))


@pytest.mark.parametrize(
    ("text", "change"),
    [
        ("a.b=3", ("a.b", 3)),
        ("a=[1, 2]", ("a", [1, 2])),
        ("a=x/y", ("a", "x/y")),
        ("a=b=c", ("a", "b=c")),
        ('a="3"', ("a", "3")),
        ("a=", ("a", "")),
    ],
)
def test_changes_on_the_command_line(text, change):
    assert parse_change(text) == change


@pytest.mark.parametrize("text", ["a", "=3", "a..b=3", "a b=3"])
def test_changes_that_are_none(text):
    with pytest.raises(ValueError, match="expected NAME=VALUE"):
        parse_change(text)


# --- stages ---


def test_a_run_makes_everything_and_a_second_one_nothing(text, tmp_path):
    recipe = recipe_of(text, tmp_path / "run")
    assert unchanged_stages(recipe) == []
    assert ran(recipe) == NAMES
    first = result(tmp_path / "run")
    assert unchanged_stages(recipe) == NAMES
    assert ran(recipe) == []
    assert result(tmp_path / "run") == first
    run = tmp_path / "run"
    tokenizer = fastlm.load(run / "tokenizer")
    model = load_model(run / "training" / "model", tokenizer)
    assert model.config.vocab_size == tokenizer.vocab_size
    assert load_config(run / "training" / "config.toml").out == str(run / "training")
    figures = json.loads((run / "report" / "report.json").read_text())
    assert list(figures["stages"]) == NAMES[:-1]
    losses = json.loads((run / "evaluation" / "losses.json").read_text())
    assert figures["stages"]["evaluation"]["validation"] == losses
    if missing_package() is None:
        page = (run / "report" / "page" / "report.html").read_text()
        assert page.count("<svg") == 4
        assert f"{figures['name']}, seed 0" in page
    report = (run / "report" / "report.md").read_text()
    assert f"loss {losses['loss']:.4f} nats per token" in report
    assert f"{losses['bits_per_byte']:.4f} bits per byte" in report
    assert (run / "export" / "llama" / "config.json").exists()
    assert not list((run / "unfinished").iterdir())


def test_only_stages_that_depend_on_a_change_run_again(text, tmp_path):
    out = tmp_path / "run"
    ran(recipe_of(text, out))
    assert ran(recipe_of(text, out, evaluation__seed=1)) == ["evaluation", "report"]
    assert ran(recipe_of(text, out, evaluation__seed=1, description="x")) == ["report"]
    assert ran(recipe_of(text, out, export__formats=[])) == ["evaluation", "export", "report"]
    assert ran(recipe_of(text, out, training__steps=7)) == ["training", "evaluation", "export", "report"]
    # the same bytes with another time of modification are the same corpus
    os.utime(text, (1, 1))
    assert ran(recipe_of(text, out, training__steps=7)) == ["corpus", "report"]
    text.write_text(text.read_text() + "<|endoftext|>one more about a dog and a rat")
    assert ran(recipe_of(text, out, training__steps=7)) == NAMES


def test_outputs_that_were_changed_or_removed_are_made_again(text, tmp_path):
    out = tmp_path / "run"
    recipe = recipe_of(text, out)
    ran(recipe)
    first = result(out)
    shard = out / "shards" / "train" / "train-00000.npy"
    shard.write_bytes(shard.read_bytes()[:-1] + b"\x07")
    assert ran(recipe) == ["shards", "report"]
    shutil.rmtree(out / "training")
    assert ran(recipe) == ["training", "report"]
    (out / "tokenizer" / "stage.json").write_text("{}")
    assert ran(recipe) == ["tokenizer", "report"]
    assert result(out) == first


def test_a_corpus_for_evaluation(text, tmp_path):
    other = tmp_path / "valid.txt"
    other.write_text("<|endoftext|>".join(f"the dog {k} ran on mat and sat" for k in range(50)))
    recipe = recipe_of(text, tmp_path / "run", corpus__validation_inputs=[str(other)], shards__validation_fraction=0.0)
    assert ran(recipe) == NAMES
    assert read_manifest(tmp_path / "run" / "shards" / "validation").documents == 50
    figures = read_record(tmp_path / "run" / "shards").figures
    assert figures["validation_documents"] == 50
    assert json.loads((tmp_path / "run" / "evaluation" / "losses.json").read_text())["loss"] > 0
    without = recipe_of(text, tmp_path / "without", shards__validation_fraction=0.0)
    ran(without)
    assert json.loads((tmp_path / "without" / "evaluation" / "losses.json").read_text()) is None


@pytest.mark.parametrize(
    ("stage", "moment"),
    [*((name, "within") for name in NAMES), ("tokenizer", "record"), ("shards", "moved"), ("training", "record")],
)
def test_a_stage_that_is_stopped_is_continued(text, whole, tmp_path, monkeypatch, stage, moment):
    recipe = recipe_of(text, tmp_path / "run")

    class Stopped(BaseException):
        pass

    outputs_of, replace = running.outputs_of, os.replace

    def stopping(folder, names):
        if folder.name.rpartition("-")[0] == stage:
            raise Stopped
        return outputs_of(folder, names)

    if moment == "within":
        monkeypatch.setattr(running, "outputs_of", stopping)
    else:

        def replacing(source, target):
            if Path(target).name == stage and Path(source).parent.name == running.UNFINISHED:
                if moment == "moved":
                    replace(source, target)
                raise Stopped
            replace(source, target)

        monkeypatch.setattr(running.os, "replace", replacing)
    with pytest.raises(Stopped):
        run_recipe(recipe)
    monkeypatch.undo()
    run_recipe(recipe)
    found = result(tmp_path / "run")
    # the record of the corpus has the names of its files
    assert {**found, "corpus": None} == {**whole, "corpus": None}


def test_unfinished_work_of_an_older_corpus_is_not_continued(text, tmp_path, monkeypatch):
    recipe = recipe_of(text, tmp_path / "run")
    monkeypatch.setattr(running, "outputs_of", lambda folder, names: 1 / 0 if "shards" in folder.name else {})
    with pytest.raises(ZeroDivisionError):
        run_recipe(recipe)
    monkeypatch.undo()
    os.utime(text, (1, 1))
    assert ran(recipe)[:3] == ["corpus", "tokenizer", "shards"]


def test_two_processes_do_not_share_a_directory(text, tmp_path):
    recipe = recipe_of(text, tmp_path / "run")
    (tmp_path / "run").mkdir()
    with running._locked(tmp_path / "run"), pytest.raises(FileExistsError, match="another process runs a recipe"):
        run_recipe(recipe)


@pytest.mark.nightly
def test_runs_that_are_killed_end_as_if_they_were_not():
    done = subprocess.run(
        [sys.executable, "-m", "tests.recipe_kills", "--kills", "3"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "0 of which differ" in done.stdout


# --- the command ---


def test_the_command_runs_prints_and_plans(text, tmp_path, capsys):
    out = tmp_path / "run"
    options = ["run", "embedded", "--out", str(out), "--corpus", str(text)]
    for name, value in {**SMALL, "training.steps": 4, "corpus.separator": "<|endoftext|>"}.items():
        if name != "model":
            options += ["--set", f"{name}={json.dumps(value)}"]
    for name, value in SMALL["model"].items():
        options += ["--set", f"model.{name}={value}"]
    assert main([*options, "--dry-run"]) == 0
    printed = capsys.readouterr().out
    assert "corpus: would run" in printed
    assert "256 tokens in 4 steps of 64" in printed
    assert not out.exists()
    assert main([*options, "--until", "shards"]) == 0
    assert [line.partition(":")[0] for line in capsys.readouterr().out.splitlines()] == NAMES[:3]
    assert main(options) == 0
    printed = capsys.readouterr().out
    assert "shards: unchanged" in printed
    assert f"report in {out / 'report' / 'report.md'}, model in {out / 'training' / 'model'}" in printed
    assert main([*options, "--until", "all"]) == 1
    assert "no stage 'all'; expected one of corpus" in capsys.readouterr().err
    assert main([*options, "--set", "nothing"]) == 1
    assert "expected NAME=VALUE" in capsys.readouterr().err


def test_a_missing_corpus_says_how_to_fetch_it(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["run", "tinystories"]) == 1
    message = capsys.readouterr().err
    assert "TinyStoriesV2-GPT4-train.txt: the corpus is missing; this fetches it: mkdir -p data" in message


def test_bars():
    assert bars([3.0]) == "▁"
    assert bars([0.0, 1.0]) == "▁█"
    assert len(bars([float(k) for k in range(1000)])) == 60
