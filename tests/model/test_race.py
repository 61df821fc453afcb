"""The training race: nanoGPT from a checkout, the checks before the clock runs, and the targets."""

import math

import pytest

torch = pytest.importorskip("torch")

from benchmarks import model_targets, nanogpt, train_lm  # noqa: E402
from fastlm.model import ModelConfig  # noqa: E402
from fastlm.model.flops import forward_flops, matrix_products  # noqa: E402

CONFIG = ModelConfig(vocab_size=50, context_length=8, d_model=12, num_layers=2, num_heads=3, d_ff=20)
# what a checkout must offer, and no more: it guesses
CHECKOUT = """
from __future__ import annotations
import torch
from dataclasses import dataclass

@dataclass
class GPTConfig:
    block_size: int
    vocab_size: int
    n_layer: int
    n_head: int
    n_embd: int
    dropout: float
    bias: bool

class GPT(torch.nn.Module):
    def __init__(self, config):
        super().__init__()
        print("prints its size")
        self.config = config
        self.logits = torch.nn.Parameter(torch.zeros(config.vocab_size))

    def forward(self, idx, targets):
        logits = self.logits.expand(*idx.shape, -1)
        return logits, torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())
"""


def test_nanogpt_gets_the_shape_of_the_others(tmp_path, capsys):
    (tmp_path / "model.py").write_text(CHECKOUT)
    for path in (tmp_path, tmp_path / "model.py"):
        model, loss = nanogpt.load(path, CONFIG)
        assert vars(model.config) == {
            "block_size": 8, "vocab_size": 50, "n_layer": 2, "n_head": 3, "n_embd": 12, "dropout": 0.0, "bias": False
        }  # fmt: skip
        ids = torch.zeros(2, 8, dtype=torch.int64)
        assert loss(ids, ids).item() == pytest.approx(math.log(50))
    assert capsys.readouterr().out == ""


def test_what_is_no_checkout_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"model\.py"):
        nanogpt.load(tmp_path, CONFIG)
    (tmp_path / "model.py").write_text("GPT = 1")
    with pytest.raises(ValueError, match="no GPT and GPTConfig"):
        nanogpt.load(tmp_path, CONFIG)


def test_its_products_are_counted_as_its_own():
    products = {product.name: product for product in matrix_products(nanogpt.same_products(CONFIG))}
    assert "feed-forward w3" not in products
    assert (products["feed-forward w1"].k, products["feed-forward w1"].n) == (12, 48)
    by_hand = 2 * 8 * (2 * (4 * 12 * 12 + 2 * 8 * 12 + 2 * 12 * 48) + 12 * 50)
    assert forward_flops(nanogpt.same_products(CONFIG)) == by_hand


def test_a_race_names_all_and_a_wrong_start_stops_it(tmp_path):
    pytest.importorskip("transformers")
    (tmp_path / "model.py").write_text(CHECKOUT)
    race = train_lm.race(CONFIG, 2, torch.device("cpu"), torch.float32, 1, False, tmp_path)
    assert [row["name"] for row in race["contenders"]] == ["fastlm", "transformers", "nanoGPT"]
    assert "not present" not in train_lm.report([{"size": "tiny", **race}])
    (tmp_path / "model.py").write_text(CHECKOUT.replace("torch.zeros", "20 * torch.rand"))
    with pytest.raises(RuntimeError, match="near the loss of a guess"):
        train_lm.race(CONFIG, 2, torch.device("cpu"), torch.float32, 1, False, tmp_path)


@pytest.mark.nightly
def test_a_race_of_bfloat16_says_which_products_it_is_measured_against(monkeypatch):
    pytest.importorskip("transformers")
    for able in (False, True):
        monkeypatch.setattr(train_lm, "multiplies_bfloat16", lambda device, able=able: able)
        race = train_lm.race(CONFIG, 2, torch.device("cpu"), torch.bfloat16, 1, False)
        products = race["gemm_flops_per_s"]
        assert list(products) == ["torch.bfloat16", "torch.float32"]
        for row in race["contenders"]:
            assert row["of_product_full"] == pytest.approx(row["flops_per_s"] / max(products.values()))
        text = train_lm.report([{"size": "tiny", **race}])
        assert all(f"{name} {products['torch.' + name] / 1e12:.3f} TFLOP/s" in text for name in ("bfloat16", "float32"))
        assert ("no instructions for bfloat16" in text) != able


def found(multiplied, rates, dtype="torch.bfloat16"):
    rows = [{"name": name, "tokens_per_s": rate, "of_product_causal": 0.66} for name, rate in rates.items()]
    return {
        "bfloat16": {"multiplied": multiplied, "device": "processor"},
        "train": [{"size": "tinystories", "dtype": dtype, "contenders": rows}],
        "decode": {"contenders": [{"name": "kernel, int8, packed before", "ratio": 5.9}]},
    }


RATES = {"fastlm": 126, "transformers": 100, "fastlm, compiled (default)": 130, "transformers, compiled (default)": 125}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_targets_of_training_steps_are_of_each_dtype(dtype):
    at = 0 if dtype == "float32" else 4
    targets = model_targets.targets(found(True, RATES, f"torch.{dtype}"))
    measured, others = targets[at : at + 4], [*targets[:at], *targets[at + 4 : 8]]
    assert [target.met for target in measured] == [True, False, None, True]
    assert measured[2].measured == "not measured: nanoGPT is not present"
    assert all(f"TinyStories shape, {dtype}" in target.what for target in measured)
    missing = ("not measured: another shape or dtype was asked for", None)
    assert [(target.measured, target.met) for target in others] == [missing] * 4
    assert [target.met for target in targets[8:]] == [None, False]
    with_nanogpt = model_targets.targets(found(True, {**RATES, "nanoGPT": 100}, f"torch.{dtype}"))
    assert with_nanogpt[at + 2].met is True


def test_a_peer_that_emulates_meets_no_target():
    targets = model_targets.targets(found(False, RATES))
    assert all("float32" in target.what for target in targets[:4])
    for target, number in zip(targets[4:8], ("1.26x", "1.04x", "not measured: nanoGPT", "66%"), strict=True):
        assert target.measured.startswith(number)
        assert target.met is None
        assert ("not counted" in target.measured) == (not target.measured.startswith("not measured"))
    assert ["the peer emulates bfloat16" in target.measured for target in targets[4:8]] == [True, True, False, False]
    assert "no instructions for bfloat16" in targets[7].measured
    missing = "not measured: this processor has no bfloat16 products, and --dtype bfloat16 was not given"
    for target in model_targets.targets(found(False, RATES, "torch.float32"))[4:8]:
        assert (target.measured, target.met) == (missing, None)


def test_the_report_begins_with_float32_and_marks_peers_that_emulate():
    def race_of(dtype, multiplied):
        row = {"tokens_per_s": 1.0, "flops_per_token": 1, "flops_per_s": 1.0, "of_product_full": 1.0, "rounds": 1}
        row |= {"of_product_causal": 1.0, "peak_mb": 1.0, "compile_seconds": None}
        rows = [{"name": name, **row} for name in ("fastlm", "transformers")]
        gemm = {f"torch.{dtype}": 1e12}
        race = {"size": "tiny", "batch": 1, "length": 2, "dtype": f"torch.{dtype}", "multiplied": multiplied}
        return race | {"gemm_flops_per_s": gemm, "contenders": rows}

    text = train_lm.report([race_of("bfloat16", False), race_of("float32", True)])
    float32, bfloat16 = text.split("### ")[1:]
    assert float32.startswith("tiny: 1 x 2 tokens, float32")
    assert "| transformers |" in float32
    assert "emulates" not in float32
    assert "| transformers (emulates) |" in bfloat16
    assert "meet no target" in bfloat16
