"""Sizes from one number or a name."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastlm.model.config import ModelConfig
from fastlm.model.parameters import num_parameters
from fastlm.model.presets import PRESETS
from fastlm.model.sizing import MOST_DEPTH, parse_parameters, size_of_depth, with_size


@pytest.mark.parametrize("depth", [1, 2, 7, 12, 40])
def test_a_depth_is_a_model_with_heads_of_64(depth):
    config = ModelConfig.from_dict(with_size({"depth": depth, "vocab_size": 300}))
    assert (config.num_layers, config.head_width, config.d_model) == (depth, 64, 64 * depth)
    assert config.d_ff % 64 == 0
    assert 8 / 3 * config.d_model <= config.d_ff < 8 / 3 * config.d_model + 64


@given(st.integers(1, 3 * 10**9), st.integers(2, 200_000), st.booleans())
def test_a_number_of_parameters_gives_the_nearest_depth(count, vocab_size, tied):
    others = {"vocab_size": vocab_size, "context_length": 128, "tie_embeddings": tied}
    found = ModelConfig.from_dict(with_size({"params": count, **others}))
    distances = {
        depth: abs(num_parameters(ModelConfig.from_dict({**size_of_depth(depth), **others})) - count)
        for depth in range(1, 45)
    }
    assert distances[found.num_layers] == min(distances.values())


def test_presets_and_fields_that_override():
    for name, config in PRESETS.items():
        assert ModelConfig.from_dict(with_size({"preset": name})) == config
    changed = ModelConfig.from_dict(with_size({"preset": "gpt2", "vocab_size": 300, "d_ff": 2048}))
    assert (changed.vocab_size, changed.d_ff, changed.d_model) == (300, 2048, 768)
    assert with_size({"d_model": 3}) == {"d_model": 3}


@pytest.mark.parametrize(("text", "count"), [("50M", 50_000_000), ("1.5B", 1_500_000_000), (7, 7), ("20 k", 20_000)])
def test_numbers_of_parameters(text, count):
    assert parse_parameters(text) == count


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"depth": 0}, f"depth is 0; expected an integer from 1 to {MOST_DEPTH}"),
        ({"depth": True}, "depth is True; expected"),
        ({"depth": "3"}, "depth is '3'; expected"),
        ({"params": "many", "vocab_size": 3}, "params is 'many'; expected a number of parameters"),
        ({"params": 0, "vocab_size": 3}, "params is 0; expected"),
        ({"params": True, "vocab_size": 3}, "params is True; expected"),
        ({"params": "5M"}, "params needs vocab_size"),
        ({"preset": "gpt3"}, "preset is 'gpt3'; expected one of gpt2, "),
        ({"preset": 3}, "preset is 3; expected one of gpt2, "),
        ({"preset": "gpt2", "depth": 3}, "preset and depth are given; expected only one of preset, depth, params"),
    ],
)
def test_wrong_sizes_are_named(values, message):
    with pytest.raises(ValueError, match=message):
        with_size(values)
