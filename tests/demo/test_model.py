"""The whole road, on a small text: tokenizer, ids, model, what it writes."""

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from fastlm import load
from fastlm.cli import main
from fastlm.demo import model
from fastlm.model.files import load_model


def test_the_whole_road(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(model, "STEPS", 60)
    text = "\n\n".join(f"The cat number {number % 7} sat on the mat and looked at the rat." for number in range(900))
    (tmp_path / "text.txt").write_text(text)
    out = tmp_path / "out"
    assert main(["demo", str(tmp_path / "text.txt"), "--model", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "--- The cat number" in printed
    steps = [line.split(":")[0].split()[1] for line in printed.splitlines() if line.startswith("  step ")]
    assert steps == ["15", "30", "45", "60"]
    # of the checkpoints that wrote the samples the newest stays
    assert [path.name for path in (out / "checkpoints").iterdir()] == ["step-00000060.safetensors"]
    kept = (out / "report.txt").read_text()
    assert kept.strip() in printed
    assert "and in full:" in kept
    assert printed.splitlines()[-4:] == [
        "next:",
        f"  fastlm generate {out}/model --prompt 'The cat' --temperature 0.7",
        f"  fastlm report --run {out}",
        f"  fastlm export {out}/model --out {out}/llama",
    ]
    losses = [line["loss"] for line in map(json.loads, (out / "log.jsonl").read_text().splitlines()) if "loss" in line]
    assert len(losses) == 60
    # what it has to learn is one sentence and a digit of seven
    assert losses[0] > 4 > 0.5 > losses[-1]
    tokenizer = load(out)
    assert load_model(out / "model", tokenizer).config.vocab_size == tokenizer.vocab_size
    train, valid = np.load(out / "train.npy"), np.load(out / "valid.npy")
    end = tokenizer.special_tokens["<|endoftext|>"]
    assert (train == end).sum() == 855
    assert tokenizer.decode(valid).split("<|endoftext|>")[:2] == text.split("\n\n")[:40:20]


def test_a_file_of_few_documents_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "text.txt").write_text("one\n\ntwo")
    assert main(["demo", str(tmp_path / "text.txt"), "--model"]) == 1
    assert "text.txt: 2 documents or paragraphs; the demo needs 40" in capsys.readouterr().err
