"""Training runs in the report: comparisons of what their logs and configurations hold. No torch is needed."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("matplotlib")
pytest.importorskip("jinja2")

from fastlm import cli
from fastlm.model.config import ModelConfig
from fastlm.report.content import Figures, Plot, Sample, Table
from fastlm.report.runs import experiments, read_runs
from fastlm.training.config import TrainingConfig

MODEL = ModelConfig(vocab_size=10_000, context_length=8, d_model=16, num_layers=1, num_heads=2, d_ff=44)


def write_run(folder: Path, loss: float = 2.0, last: int = 10, model: ModelConfig = MODEL, **options) -> Path:
    """A folder as a run leaves it, without weights."""
    options = {"learning_rate": 1e-3} | options
    config = TrainingConfig(
        model=model, out=str(folder), train_data=("ids",), steps=10, batch_size=2, eval_every=5, **options
    )
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text(config.to_toml())
    lines = []
    for step in range(1, last + 1):
        lines.append({"step": step, "loss": loss + 1 / step, "seconds": step / 2, "tokens_per_second": 100.0 + step})
        if step % 5 == 0:
            lines.append({"step": step, "valid_loss": loss, "valid_bits_per_byte": loss / 3})
    (folder / "log.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return folder


def tables(section):
    return [part for part in section.parts if isinstance(part, Table)]


def test_a_run_alone(tmp_path):
    sections = experiments(read_runs([write_run(tmp_path / "run")]))
    assert [section.name for section in sections] == ["experiment_log", "generate"]
    row = dict(zip(tables(sections[0])[0].head, tables(sections[0])[0].rows[0], strict=True))
    assert row["tokens"] == 160
    assert row["seconds"] == 5.0
    assert row["tokens/s"] == 106
    assert row["validation loss"] == 2.0
    assert row["state"] == "finished"
    assert sum(isinstance(part, Plot) for part in sections[0].parts) == 4
    # the target of the assignment, because the vocabulary has its size
    figures = next(part for part in sections[0].parts if isinstance(part, Figures))
    assert [(figure.then.value, figure.now) for figure in figures.rows] == [(2.0, 2.0)]
    assert [part.text for part in sections[1].parts[1:]] == ["run: the run has no model yet."]


def test_learning_rates_are_compared(tmp_path):
    runs = [
        write_run(tmp_path / "high", 1.5, learning_rate=1e-2),
        write_run(tmp_path / "low", 2.5, learning_rate=1e-4),
        write_run(tmp_path / "diverged", 1.0, last=4, learning_rate=1.0),
        write_run(tmp_path / "other", 1.0, learning_rate=1e-3, seed=3),
    ]
    sections = {section.name: section for section in experiments(read_runs(runs), samples=False)}
    assert list(sections) == ["experiment_log", "learning_rate"]
    table = tables(sections["learning_rate"])[0]
    assert [row[0] for row in table.rows] == ["low", "high", "diverged"]
    assert table.rows[2][-1] == "ended at step 4"
    assert table.caption.startswith("The best is 0.01.")
    assert tables(sections["experiment_log"])[-1].head == ["run", "learning_rate", "seed"]


def test_ablations_are_compared_with_the_baseline(tmp_path):
    runs = [
        write_run(tmp_path / "plain", 2.0),
        write_run(tmp_path / "plain-fast", 1.9, learning_rate=1e-2),
        write_run(tmp_path / "none", 2.4, model=replace(MODEL, norm="none"), learning_rate=1e-2),
        write_run(tmp_path / "post", 2.2, model=replace(MODEL, norm="post")),
        write_run(tmp_path / "nope", 2.1, model=replace(MODEL, rope_theta=None)),
        write_run(tmp_path / "silu", 2.3, model=replace(MODEL, ffn="silu", d_ff=64)),
    ]
    section = experiments(read_runs(runs), samples=False)[-1]
    assert section.name == "ablations"
    rows = {row[0]: row[1:] for row in tables(section)[0].rows}
    assert {name: (row[0], row[3], row[4]) for name, row in rows.items()} == {
        "plain": ("none", None, None),
        "plain-fast": ("none", None, None),
        "none": ("no RMSNorm", pytest.approx(0.5), "plain-fast"),
        "post": ("post-norm", pytest.approx(0.2), "plain"),
        "nope": ("NoPE", pytest.approx(0.1), "plain"),
        "silu": ("SiLU", pytest.approx(0.3), "plain"),
    }


def test_runs_of_the_same_name_are_told_apart(tmp_path):
    runs = read_runs([write_run(tmp_path / "a" / "run"), write_run(tmp_path / "b" / "run")])
    assert [run.name for run in runs] == [str(tmp_path / "a" / "run"), str(tmp_path / "b" / "run")]
    named = read_runs({"first": tmp_path / "a" / "run", "second": tmp_path / "b" / "run"})
    assert [(run.name, run.folder.parent.name) for run in named] == [("first", "a"), ("second", "b")]


def test_samples_of_a_model(tmp_path):
    pytest.importorskip("torch")
    from fastlm import train_bpe
    from fastlm.model import TransformerLM
    from fastlm.model.files import save_model

    tokenizer = train_bpe(["the cat sat on the mat"], 262)
    folder = write_run(tmp_path / "run")
    model = TransformerLM.from_config(replace(MODEL, vocab_size=262, context_length=32))
    save_model(model, folder / "model", tokenizer)
    tokenizer.save(folder / "model")
    section = experiments(read_runs([folder]))[-1]
    samples = [part for part in section.parts if isinstance(part, Sample)]
    assert [sample.note.split(", ")[:2] for sample in samples] == [["run", "seed 0"], ["run", "seed 1"]]
    assert samples[0].text != samples[1].text


def test_a_folder_that_is_no_run(tmp_path, capsys):
    arguments = ["report", "--out", str(tmp_path / "out"), "--run", str(tmp_path)]
    assert cli.main(arguments) == 1
    assert f"{tmp_path}: no config.toml; expected the folder that a training run" in capsys.readouterr().err
    write_run(tmp_path / "run")
    (tmp_path / "run" / "log.jsonl").write_text("")
    with pytest.raises(ValueError, match=r"log\.jsonl: no step was logged"):
        read_runs([tmp_path / "run"])
    (tmp_path / "run" / "log.jsonl").write_text("{\n")
    with pytest.raises(ValueError, match=r"log\.jsonl: not a log: "):
        read_runs([tmp_path / "run"])
    (tmp_path / "run" / "log.jsonl").unlink()
    with pytest.raises(FileNotFoundError, match=r"no log\.jsonl"):
        read_runs([tmp_path / "run"])
