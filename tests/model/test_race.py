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


def test_bars_hold_in_bfloat16_only():
    rates = {"fastlm": 126, "transformers": 100, "fastlm, compiled (default)": 130}
    rates["transformers, compiled (default)"] = 125
    targets = model_targets.targets(found(True, rates))
    assert [target.met for target in targets] == [True, False, None, True, None, False]
    assert targets[2].measured == "not measured: nanoGPT is not present"
    assert [target.met for target in model_targets.targets(found(True, {**rates, "nanoGPT": 100}))][2] is True
    for target in model_targets.targets(found(False, rates, "torch.float32"))[:4]:
        missing = "not measured: this processor has no bfloat16 products, and --dtype bfloat16 was not given"
        assert (target.measured, target.met) == (missing, None)
    # the table of a race that was run says what was multiplied
    emulated = model_targets.targets(found(False, rates))
    # a peer that emulates bfloat16 is no measure; torch's fastest product of any dtype is
    assert [target.met for target in emulated] == [None, None, None, True, None, False]
    for target, number in zip(emulated, ("1.26x", "1.04x", "not measured: nanoGPT", "66%"), strict=False):
        assert target.measured.startswith(number)
        is_measured = not target.measured.startswith("not measured")
        assert ("no instructions for bfloat16: fastlm multiplies" in target.measured) == is_measured
    assert ["but the peer emulates bfloat16" in target.measured for target in emulated[:4]] == [
        True,
        True,
        False,
        False,
    ]
    for target in model_targets.targets(found(True, rates, "torch.float32"))[:4]:
        assert (target.measured, target.met) == ("not measured: another shape or type was asked for", None)
