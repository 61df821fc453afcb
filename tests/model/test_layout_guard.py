"""Weights of the other layout of rotary positions: converted where they say it, and a warning where they do not."""

import copy
import io
import pickle
import warnings
from dataclasses import replace

import pytest

torch = pytest.importorskip("torch")

from fastlm.model import MultiHeadSelfAttention, TransformerBlock, TransformerLM  # noqa: E402
from fastlm.model.state import to_layout  # noqa: E402
from tests.model.tiny import MODEL as TINY  # noqa: E402

INTERLEAVED = replace(TINY, rope_layout="interleaved")
IDS = torch.tensor([[3, 1, 4, 1, 5]])
WARNING = "the weights do not say for which layout of rotary positions they were made"


def of_cs336():
    """A model with CS336's layout, and its weights as a plain dict, as the course's files hold them."""
    torch.manual_seed(1)
    model = TransformerLM.from_config(INTERLEAVED)
    return model, {name: weight.clone() for name, weight in model.state_dict().items()}


def close(model, other):
    with torch.no_grad():
        return torch.allclose(model(IDS), other(IDS), atol=1e-5)


def test_weights_that_say_nothing_warn():
    source, weights = of_cs336()
    model = TransformerLM.from_config(TINY)
    with pytest.warns(UserWarning, match=WARNING) as found:
        model.load_state_dict(weights)
    assert found[0].filename == __file__
    # the trap: no error, and other logits
    assert not close(model, source)


def test_the_flag_converts_them():
    source, weights = of_cs336()
    model = TransformerLM.from_config(TINY)
    before = {name: weight.clone() for name, weight in weights.items()}
    assert model.load_state_dict(weights, rope_layout="interleaved").missing_keys == []
    assert close(model, source)
    assert all(torch.equal(weights[name], before[name]) for name in weights)
    as_they_are = TransformerLM.from_config(TINY)
    as_they_are.load_state_dict(weights, rope_layout="half")
    assert not close(as_they_are, source)
    with pytest.raises(ValueError, match="rope_layout is 'split'; expected one of half, interleaved"):
        model.load_state_dict(weights, rope_layout="split")


@pytest.mark.parametrize("layout", ["half", "interleaved"])
def test_state_dicts_of_fastlm_are_converted(layout):
    torch.manual_seed(2)
    source = TransformerLM.from_config(replace(TINY, rope_layout=layout, num_kv_heads=1, num_heads=2, qk_norm=True))
    for parameter in source.parameters():
        torch.nn.init.normal_(parameter)
    for other in ("half", "interleaved"):
        model = TransformerLM.from_config(replace(source.config, rope_layout=other))
        model.load_state_dict(source.state_dict())
        assert close(model, source)
        # also through a file
        file = io.BytesIO()
        torch.save(source.state_dict(), file)
        file.seek(0)
        again = TransformerLM.from_config(replace(source.config, rope_layout=other))
        again.load_state_dict(torch.load(file, weights_only=True))
        assert close(again, source)


def test_a_model_with_cs336s_layout_takes_weights_that_say_nothing():
    source, weights = of_cs336()
    model = TransformerLM.from_config(INTERLEAVED)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.load_state_dict(weights)
        TransformerLM.from_config(replace(TINY, rope_theta=None)).load_state_dict(weights)
    assert close(model, source)


def test_converted_weights_say_their_layout():
    source, weights = of_cs336()
    model = TransformerLM.from_config(TINY)
    model.load_state_dict(to_layout(weights, TINY, "interleaved", "half"))
    assert close(model, source)
    same = TransformerLM.from_config(INTERLEAVED)
    same.load_state_dict(to_layout(weights, TINY, "interleaved", "half"))
    assert close(same, source)


def test_parts_of_a_model_are_guarded():
    attention = MultiHeadSelfAttention(8, 2, rope_theta=1e4, max_seq_len=8, rope_layout="interleaved")
    half = MultiHeadSelfAttention(8, 2, rope_theta=1e4, max_seq_len=8)
    half.load_state_dict(attention.state_dict())
    x = torch.randn(1, 4, 8)
    with torch.no_grad():
        assert torch.allclose(attention(x), half(x), atol=1e-6)
    block = TransformerBlock(8, 2, 16, max_seq_len=8, rope_theta=1e4)
    with pytest.warns(UserWarning, match=WARNING):
        block.load_state_dict(dict(block.state_dict()))
    # without positions there is nothing to mistake
    plain = MultiHeadSelfAttention(8, 2)
    plain.load_state_dict(dict(plain.state_dict()))


def test_a_guarded_model_is_copied_and_pickled():
    model = TransformerLM.from_config(INTERLEAVED)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        half = TransformerLM.from_config(TINY)
        half.load_state_dict(other.state_dict())
        assert close(half, model)


def test_names_and_order_of_the_weights_stay():
    model = TransformerLM.from_config(TINY)
    assert list(model.state_dict()) == [name for name, _ in model.named_parameters()]
