"""Layers and functions against what torch has of them, their formulas, and CS336's adapters and fixtures."""

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402, N812

from fastlm.cs336 import adapters  # noqa: E402
from fastlm.model import (  # noqa: E402
    Embedding,
    Linear,
    MultiHeadSelfAttention,
    RMSNorm,
    RotaryPositionalEmbedding,
    SwiGLU,
    TransformerLM,
    cross_entropy,
    linear_cross_entropy,
    scaled_dot_product_attention,
    softmax,
)
from tests.reference import transformer as reference  # noqa: E402

HALVES = (torch.bfloat16, torch.float16)


def drawn(*shape, seed=1, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def cs336_weights(layers=2, width=8, inner=12, vocab=20):
    shapes = {
        "attn.q_proj": (width, width), "attn.k_proj": (width, width), "attn.v_proj": (width, width),
        "attn.output_proj": (width, width), "ln1": (width,), "ln2": (width,),
        "ffn.w1": (inner, width), "ffn.w2": (width, inner), "ffn.w3": (inner, width),
    }  # fmt: skip
    names = {f"layers.{layer}.{name}.weight": shape for layer in range(layers) for name, shape in shapes.items()}
    names |= {"token_embeddings.weight": (vocab, width), "ln_final.weight": (width,), "lm_head.weight": (vocab, width)}
    return {name: drawn(*shape, seed=seed) for seed, (name, shape) in enumerate(names.items())}


def test_adapters_of_whole_models():
    weights, ids = cs336_weights(), torch.tensor([[3, 1, 4, 1, 5], [9, 2, 6, 5, 3]])
    found = adapters.run_transformer_lm(20, 16, 8, 2, 2, 12, 10_000.0, weights, ids)
    model = TransformerLM(20, 16, 8, 2, 2, 12, 10_000.0, rope_layout="interleaved")
    assert set(model.state_dict()) == set(weights)
    as_arrays = {name: weight.numpy() for name, weight in weights.items()}
    for row, logits in zip(ids.tolist(), found.detach().numpy(), strict=True):
        assert np.allclose(logits, reference.logits(as_arrays, model.config, row), rtol=1e-5, atol=1e-5)
    # inputs shorter than the context are the beginnings of longer ones
    shorter = adapters.run_transformer_lm(20, 16, 8, 2, 2, 12, 10_000.0, weights, ids[:, :3])
    assert torch.allclose(shorter, found[:, :3])
    block = {name.removeprefix("layers.0."): weight for name, weight in weights.items() if name.startswith("layers.0.")}
    x = drawn(2, 5, 8)
    y = x + attended(block, F.rms_norm(x, (8,), block["ln1.weight"], 1e-5))
    normed = F.rms_norm(y, (8,), block["ln2.weight"], 1e-5)
    w1, w2, w3 = (block[f"ffn.{name}.weight"] for name in ("w1", "w2", "w3"))
    expected = y + F.silu(normed @ w1.T) * (normed @ w3.T) @ w2.T
    assert torch.allclose(adapters.run_transformer_block(8, 2, 12, 16, 10_000.0, block, x), expected)


def attended(block, x):
    projections = [block[f"attn.{name}_proj.weight"] for name in ("q", "k", "v", "output")]
    return adapters.run_multihead_self_attention_with_rope(8, 2, 16, 10_000.0, *projections, x)


def test_adapters_of_attention():
    q, k, v, o = (drawn(8, 8, seed=seed) for seed in range(4))
    x, positions = drawn(2, 5, 8), torch.tensor([[4, 0, 3, 9, 1], [0, 1, 2, 3, 4]])
    queries, keys, values = ((x @ w.T).view(2, 5, 2, 4).transpose(1, 2) for w in (q, k, v))

    def joined(queries, keys):
        heads = F.scaled_dot_product_attention(queries, keys, values, is_causal=True)
        return heads.transpose(1, 2).flatten(-2) @ o.T

    assert torch.allclose(adapters.run_multihead_self_attention(8, 2, q, k, v, o, x), joined(queries, keys))
    turn = RotaryPositionalEmbedding(10_000.0, 4, 16)
    turned = joined(turn(queries, positions[:, None]), turn(keys, positions[:, None]))
    found = adapters.run_multihead_self_attention_with_rope(8, 2, 16, 10_000.0, q, k, v, o, x, positions)
    assert torch.allclose(found, turned)
    in_order = adapters.run_multihead_self_attention_with_rope(8, 2, 16, 10_000.0, q, k, v, o, x)
    assert torch.allclose(in_order[1], found[1])


def test_adapters_of_layers():
    x = drawn(2, 5, 8)
    w1, w2, w3 = drawn(12, 8, seed=2), drawn(8, 12, seed=3), drawn(12, 8, seed=4)
    assert torch.equal(adapters.run_linear(8, 12, w1, x), F.linear(x, w1))
    ids = torch.tensor([[3, 0], [11, 3]])
    assert torch.equal(adapters.run_embedding(12, 8, w1, ids), w1[ids])
    assert torch.allclose(adapters.run_swiglu(8, 12, w1, w2, w3, x), (F.silu(x @ w1.T) * (x @ w3.T)) @ w2.T)
    assert torch.allclose(adapters.run_rmsnorm(8, 1e-3, w2[:, 0], x), F.rms_norm(x, (8,), w2[:, 0], 1e-3))
    assert torch.allclose(adapters.run_silu(x), F.silu(x))
    for shift in (0, 100):
        assert torch.allclose(adapters.run_softmax(x + shift, 1), F.softmax(x, 1))
    for scale in (1, 1000):
        expected = F.cross_entropy((scale * x).flatten(0, 1), torch.arange(10) % 8)
        assert torch.allclose(adapters.run_cross_entropy(scale * x, (torch.arange(10) % 8).view(2, 5)), expected)
    mask = torch.ones(5, 5, dtype=torch.bool).tril()
    expected = F.scaled_dot_product_attention(x[:, None], x[:, None], x[:, None], mask)
    assert torch.allclose(adapters.run_scaled_dot_product_attention(x[:, None], x[:, None], x[:, None], mask), expected)


def test_fixtures_of_the_course(data):
    path = data / "checkpoints" / "cs336_2024_fixtures.npz"
    if not path.exists():
        pytest.skip(f"no file {path}")
    with np.load(path) as fixtures:
        fixture = {name: torch.from_numpy(array) for name, array in fixtures.items()}
    found = adapters.run_rmsnorm(64, 1e-5, fixture["rmsnorm_weights/weight"], fixture["in_features"])
    assert torch.allclose(found, fixture["rmsnorm_expected_output"], atol=1e-6)
    # the fixture's mask is True where a key is hidden
    q, k, v = (fixture[f"scaled_dot_product_attention_{name}"] for name in "QKV")
    found = adapters.run_scaled_dot_product_attention(q, k, v, ~fixture["scaled_dot_product_attention_mask"])
    assert torch.allclose(found, fixture["scaled_dot_product_attention_expected_output"], atol=1e-6)
    prefix = "unbatched_multihead_self_attention"
    weights = [
        torch.cat([fixture[f"{prefix}_weights/{name}_heads.{head}.weight"] for head in (0, 1)]) for name in "qkv"
    ]
    weights.append(fixture[f"{prefix}_weights/output_proj.weight"])
    found = adapters.run_multihead_self_attention(64, 2, *weights, fixture["in_features"])
    assert torch.allclose(found, fixture[f"{prefix}_expected_output"], atol=1e-6)


@settings(max_examples=50)
@given(
    half=st.integers(1, 6),
    theta=st.sampled_from([10_000.0, 2.0, 5e5]),
    layout=st.sampled_from(["half", "interleaved"]),
    positions=st.lists(st.integers(0, 99), min_size=1, max_size=5),
    exact=st.sampled_from([(torch.float64, np.float64, 1e-13), (torch.float32, np.float32, 3e-5)]),
)
def test_rotary_positions(half, theta, layout, positions, exact):
    dtype, kind, bound = exact
    x = drawn(3, len(positions), 2 * half)
    found = RotaryPositionalEmbedding(theta, 2 * half, 100, layout=layout, dtype=dtype)(x, torch.tensor(positions))
    for sequence, result in zip(x.numpy(), found.numpy(), strict=True):
        for vector, position, turned in zip(sequence, positions, result, strict=True):
            expected = reference.turned(vector, position, theta, layout, kind)
            # float32 has an angle of 100 to some 4e-6
            assert np.allclose(turned, expected, rtol=0, atol=bound)
    assert torch.allclose(found.norm(dim=-1), x.norm(dim=-1))


@pytest.mark.parametrize("dtype", HALVES)
def test_half_precision_norm_is_computed_in_float32(dtype):
    norm = RMSNorm(64, dtype=dtype)
    x = 300 * drawn(4, 64, dtype=dtype)  # its squares have no place in float16
    found = norm(x)
    assert found.dtype == dtype
    assert torch.equal(found, F.rms_norm(x.float(), (64,), eps=1e-5).to(dtype))


@pytest.mark.parametrize("dtype", [*HALVES, torch.float32])
def test_extreme_logits(dtype):
    big = torch.tensor([[1e4, -1e4, 0.0], [-math.inf, 3e4, 3e4]], dtype=dtype)
    assert torch.equal(softmax(big, -1).float(), torch.tensor([[1.0, 0, 0], [0, 0.5, 0.5]]))
    targets = torch.tensor([0, 2])
    expected = math.log(2) / 2
    assert cross_entropy(big, targets).item() == pytest.approx(expected)
    finite = big.nan_to_num(neginf=-3e4)
    assert linear_cross_entropy(torch.eye(2, dtype=dtype), finite.T, targets).item() == pytest.approx(expected)
    assert cross_entropy(big, torch.tensor([1, 2])).item() == pytest.approx((2e4 + math.log(2)) / 2, rel=1e-2)


@settings(max_examples=40)
@given(
    shape=st.lists(st.integers(1, 4), min_size=0, max_size=3),
    vocab=st.integers(1, 9),
    width=st.integers(1, 5),
    chunk=st.integers(1, 70),
    seed=st.integers(0, 99),
)
def test_the_chunked_loss_is_the_loss(shape, vocab, width, chunk, seed):
    hidden, weight = 3 * drawn(*shape, width, seed=seed), drawn(vocab, width, seed=seed + 1)
    targets = torch.randint(vocab, shape, generator=torch.Generator().manual_seed(seed))
    hidden.requires_grad_()
    weight.requires_grad_()
    found = linear_cross_entropy(hidden, weight, targets, chunk_tokens=chunk)
    gradients = torch.autograd.grad(5 * found, (hidden, weight))
    plain = cross_entropy(hidden @ weight.T, targets)
    assert torch.allclose(found, plain)
    rows = (hidden @ weight.T).reshape(-1, vocab).detach().numpy()
    assert plain.item() == pytest.approx(reference.cross_entropy(rows, targets.flatten().tolist()))
    for gradient, expected in zip(gradients, torch.autograd.grad(5 * plain, (hidden, weight)), strict=True):
        assert torch.allclose(gradient, expected)


def test_gradients_by_differences():
    hidden, weight = drawn(2, 3, 4).requires_grad_(), drawn(7, 4, seed=2).requires_grad_()
    targets = torch.tensor([[0, 6, 3], [3, 3, 1]])
    assert torch.autograd.gradcheck(lambda h, w: linear_cross_entropy(h, w, targets, chunk_tokens=4), (hidden, weight))
    assert torch.autograd.gradcheck(lambda h, w: cross_entropy(h @ w.T, targets), (hidden, weight))
    x = drawn(2, 3, 8).requires_grad_()
    for layer in (
        RMSNorm(8, dtype=torch.float64),
        SwiGLU(8, 5, dtype=torch.float64),
        MultiHeadSelfAttention(8, 4, rope_theta=10.0, max_seq_len=3, num_kv_heads=2, qk_norm=True, dtype=torch.float64),
    ):
        assert torch.autograd.gradcheck(layer, (x,))


def test_only_what_wants_a_gradient_gets_one():
    hidden, weight, targets = drawn(3, 4), drawn(7, 4, seed=2), torch.tensor([0, 6, 3])
    assert not linear_cross_entropy(hidden, weight, targets).requires_grad
    hidden.requires_grad_()
    linear_cross_entropy(hidden, weight, targets).backward()
    assert hidden.grad is not None
    # the gradient is computed beside the loss: one of it would be wrong
    loss = linear_cross_entropy(hidden, weight, targets)
    (gradient,) = torch.autograd.grad(loss, hidden, create_graph=True)
    with pytest.raises(RuntimeError, match="does not require grad"):
        gradient.sum().backward()


@pytest.mark.parametrize("dtype", HALVES)
def test_half_precision_gradients_of_many_tokens(dtype):
    # most of what a token adds to the mean is below the least number of float16
    hidden, weight = drawn(20_000, 8, dtype=torch.float32), drawn(200, 8, seed=2, dtype=torch.float32)
    targets = torch.randint(200, (20_000,), generator=torch.Generator().manual_seed(3))
    exact = [tensor.double().requires_grad_() for tensor in (hidden, weight)]
    (2**14 * cross_entropy(exact[0] @ exact[1].T, targets)).backward()
    hidden.requires_grad_()
    weight.requires_grad_()
    with torch.autocast("cpu", dtype):
        loss = linear_cross_entropy(hidden, weight, targets)
    (2**14 * loss).backward()
    for found, expected in ((hidden.grad, exact[0].grad), (weight.grad, exact[1].grad)):
        assert found.dtype == torch.float32
        assert (found - expected).norm() <= 4 * torch.finfo(dtype).eps * expected.norm()


def test_a_mask_that_is_not_boolean_and_widths_that_differ():
    x = drawn(2, 5, 8)
    with pytest.raises(TypeError, match=r"mask is of torch\.float64; expected torch\.bool"):
        scaled_dot_product_attention(x, x, x, torch.zeros(5, 5, dtype=torch.float64))
    for kernel in ("sdpa", "explicit"):
        with pytest.raises(TypeError, match=r"mask is of torch\.int64"):
            MultiHeadSelfAttention(8, 2, kernel=kernel, dtype=x.dtype)(x, None, torch.zeros(5, 5, dtype=torch.int64))
    with pytest.raises(ValueError, match="queries have a width of 8, keys of 4"):
        scaled_dot_product_attention(x, x[..., :4], x)


@pytest.mark.parametrize("kernel", ["sdpa", "explicit"])
def test_a_mask_takes_the_place_of_causality(kernel):
    layer, x = MultiHeadSelfAttention(8, 2, kernel=kernel, dtype=torch.float64), drawn(2, 5, 8)
    everything = torch.ones(5, 5, dtype=torch.bool)
    assert torch.allclose(layer(x, None, everything.tril()), layer(x))
    assert torch.allclose(layer(x, None, everything).flip(1), layer(x.flip(1), None, everything))


@pytest.mark.parametrize(
    ("targets", "error", "message"),
    [
        (torch.zeros(3, dtype=torch.int64), ValueError, r"targets of shape \(2,\), not \(3,\)"),
        (torch.tensor([0, 7]), IndexError, "target 7 is out of range; expected 0 to 6"),
        (torch.tensor([0, -100]), IndexError, "target -100 is out of range"),
        (torch.zeros(2), TypeError, r"targets are of torch\.float32"),
    ],
)
def test_targets_that_are_none(targets, error, message):
    with pytest.raises(error, match=message):
        cross_entropy(drawn(2, 7), targets)
    with pytest.raises(error, match=message):
        linear_cross_entropy(drawn(2, 4), drawn(7, 4), targets)


def test_losses_of_other_shapes():
    nothing = torch.zeros(0, dtype=torch.int64)
    with pytest.raises(ValueError, match="there are no targets"):
        cross_entropy(drawn(0, 7), nothing)
    with pytest.raises(ValueError, match="there are no targets"):
        linear_cross_entropy(drawn(0, 4), drawn(7, 4), nothing)
    with pytest.raises(ValueError, match="hidden has a width of 4, the output layer of 5"):
        linear_cross_entropy(drawn(2, 4), drawn(7, 5), torch.tensor([0, 1]))
    with pytest.raises(ValueError, match="chunk_tokens is 0; expected at least 1"):
        linear_cross_entropy(drawn(2, 4), drawn(7, 4), torch.tensor([0, 1]), chunk_tokens=0)
    short = torch.tensor([0, 1], dtype=torch.int32)
    assert torch.equal(cross_entropy(drawn(2, 7), short), cross_entropy(drawn(2, 7), short.long()))
    assert torch.equal(linear_cross_entropy(drawn(2, 4), drawn(7, 4), short).isfinite(), torch.tensor(True))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MultiHeadSelfAttention(9, 2), "d_model is 9, which num_heads 2 does not divide"),
        (lambda: MultiHeadSelfAttention(8, 0), "num_heads is 0"),
        (lambda: MultiHeadSelfAttention(8, 4, num_kv_heads=0), "num_kv_heads 0; expected at least 1"),
        (lambda: MultiHeadSelfAttention(8, 4, num_kv_heads=3), "num_kv_heads is 3, which does not divide num_heads 4"),
        (lambda: MultiHeadSelfAttention(8, 2, rope_theta=1e4), "rope_theta needs max_seq_len"),
        (lambda: MultiHeadSelfAttention(6, 2, rope_theta=1e4, max_seq_len=4), "d_k is 3; rotary positions need"),
        (lambda: RotaryPositionalEmbedding(0.0, 4, 8), "theta is 0.0; expected a positive number"),
        (lambda: RotaryPositionalEmbedding(1e4, 4, 8, layout="both"), "layout is 'both'; expected one of half"),
        (lambda: RotaryPositionalEmbedding(1e4, 4, 8)(drawn(9, 4)), "a sequence of 9 tokens; rotary positions reach 8"),
    ],
)
def test_layers_that_cannot_be(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_layers_take_device_and_type():
    for layer in (
        Linear(3, 4, "meta", torch.bfloat16),
        Embedding(3, 4, "meta", torch.float16),
        RMSNorm(3, device="meta"),
    ):
        assert isinstance(layer.weight, nn.Parameter)
        assert layer.weight.device.type == "meta"
    assert layer.weight.dtype == torch.float32
