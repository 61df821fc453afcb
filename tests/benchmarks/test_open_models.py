"""The page of open models, from runs that are made up."""

import argparse

import pytest

pytest.importorskip("torch")
pytest.importorskip("numba")

from benchmarks import decode_lm, decoders, open_models


def run_of(token: float, ids: list[int]) -> dict:
    """A run whose wall time is twice the CPU time."""
    return {
        "load": [1.5, 1.0],
        "prompt": [0.5, 0.25],
        "token": [2 * token, token],
        "ids": ids,
        "peak_bytes": 155_000_000,
        "process_bytes": 500_000_000,
    }


def test_the_page(monkeypatch):
    monkeypatch.setattr(decode_lm, "read_seconds", lambda size: size / 32e9)
    options = argparse.Namespace(prompt=256, tokens=32)
    results = {
        "int8, 1": [run_of(0.010, [3, 4]), run_of(0.008, [3, 4])],
        "transformers float32, 1": [run_of(0.040, [3, 4])],
        "llama.cpp q8_0, 1": [run_of(0.010, [])],
        "int8, 2": [run_of(0.005, [3, 5])],
    }
    read = open_models.bounds(open_models.SHAPES["SmolLM2-135M"])
    found = open_models.figures("SmolLM2-135M", results, read, options)
    page = open_models.report([found], None, options)
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in page.splitlines() if line.startswith("|")]
    columns, table = rows[0], {(row[0], row[1]): row for row in rows[2:]}
    int8 = dict(zip(columns, table["int8", "1"], strict=True))
    # 134,515,008 weights of 1.0625 bytes at 32 GB/s take 4.47 ms
    assert (int8["tokens/s"], int8["tokens/CPU s"], int8["x transformers"], int8["% of the bound"]) == (
        "62.5", "125", "5.00", "56",
    )  # fmt: skip
    assert (int8["prompt tokens/s"], int8["prompt tokens/CPU s"], int8["load s"]) == ("512", "1,024", "1.50")
    # 288 tokens of 30 layers with keys and values of 3 heads of 64 in float32
    assert (int8["weights MB"], int8["cache MB"], int8["% of both"]) == ("143", "13", "99")
    assert dict(zip(columns, table["int8", "2"], strict=True))["x transformers"] == ""
    assert "The same tokens as transformers in float32: int8." in page
    assert "Rounds: 2. Memory is read at 32.0 GB/s." in page


def test_all_contenders_have_a_size_of_weights():
    assert decoders.BYTES.keys() == {*decoders.OURS, *decoders.THEIRS}
