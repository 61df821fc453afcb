"""The Transformer against its formulas and against transformers' LlamaForCausalLM."""

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from fastlm.model import ModelConfig, TransformerBlock, TransformerLM, cross_entropy, linear_cross_entropy  # noqa: E402
from fastlm.model.rope import RotaryPositionalEmbedding  # noqa: E402
from fastlm.model.state import to_layout, unwrapped  # noqa: E402
from tests.model.models import TINY, llama_of, llamas, made, some_ids  # noqa: E402
from tests.reference import transformer as reference  # noqa: E402


@st.composite
def any_models(draw) -> ModelConfig:
    """Shapes and variants of all kinds."""
    config = draw(llamas())
    window, some_layers = draw(st.none() | st.integers(1, 12)), st.lists(st.integers(0, config.num_layers - 1))
    return replace(
        config,
        rope_theta=draw(st.sampled_from([config.rope_theta, None])),
        norm=draw(st.sampled_from(["pre", "post", "none", "output"])),
        ffn=draw(st.sampled_from(["swiglu", "silu"])),
        qk_norm=draw(st.booleans()),
        qk_norm_width=draw(st.sampled_from(["head", "projection"])),
        attention_bias=draw(st.sampled_from(["none", "qkv", "all"])),
        layers_without_rope=tuple(sorted(set(draw(some_layers)))),
        sliding_window=window,
        sliding_layers=None if window is None else draw(st.none() | some_layers.map(lambda n: tuple(sorted(set(n))))),
    )


def arrays(model: TransformerLM) -> dict[str, np.ndarray]:
    return {name: weight.double().numpy() for name, weight in model.state_dict().items()}


@settings(max_examples=60)
@given(config=any_models(), kernel=st.sampled_from(["sdpa", "explicit"]), data=st.data())
def test_logits_are_those_of_the_formulas(config, kernel, data):
    model = made(config, torch.float64, kernel=kernel)
    length = data.draw(st.integers(1, config.context_length))
    ids = some_ids(config)[:, :length]
    documents = data.draw(st.none() | st.lists(st.integers(0, 2), min_size=length, max_size=length))
    positions = data.draw(st.none() | st.permutations(range(config.context_length)).map(lambda p: p[:length]))
    with torch.no_grad():
        found = model(
            ids,
            None if positions is None else torch.tensor(positions),
            None if documents is None else torch.tensor(documents).expand(2, -1),
        )
    for row, logits in zip(ids.tolist(), found.numpy(), strict=True):
        expected = reference.logits(arrays(model), config, row, positions, documents)
        assert np.allclose(logits, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("way", ["constructor", "default dtype", "double", "to", "half and back"])
@pytest.mark.parametrize("layout", ["half", "interleaved"])
def test_a_float64_model_has_float64_rotary_tables(way, layout):
    config = replace(TINY, rope_layout=layout, context_length=300)
    if way == "default dtype":
        torch.set_default_dtype(torch.float64)
    try:
        model = made(
            config, torch.float64 if way == "constructor" else None if way == "default dtype" else torch.float32
        )
    finally:
        torch.set_default_dtype(torch.float32)
    weights = {name: weight.double() for name, weight in model.state_dict().items()}
    if way == "half and back":
        model.half()
    if way in ("double", "to", "half and back"):
        model = model.to(torch.float64) if way == "to" else model.double()
        model.load_state_dict(weights, rope_layout=config.rope_layout)
    assert {buffer.dtype for buffer in model.buffers()} == {torch.float64}
    positions = [299, 0, 17, 250, 299]
    with torch.no_grad():
        found = model(torch.tensor([[5, 9, 200, 7, 5]]), torch.tensor(positions))[0]
    expected = reference.logits(arrays(model), config, [5, 9, 200, 7, 5], positions, None)
    assert np.abs(found.numpy() - expected).max() < 1e-12


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_other_models_keep_tables_that_are_computed_in_float32(dtype):
    made_so, converted = made(TINY, dtype), made(TINY).double().to(dtype)
    exact = made(TINY).layers[0].attn.rope
    assert exact.cos.dtype == torch.float32
    assert torch.equal(made_so.layers[0].attn.rope.cos.to(dtype), exact.cos.to(dtype))
    assert torch.equal(converted.layers[0].attn.rope.sin, exact.sin.to(dtype))


def without_casts(llama):
    """The same Llama, with norms and rotary positions that compute in float64.

    LlamaRMSNorm and LlamaRotaryEmbedding compute in float32, an error of 1e-7. Here are their formulas without casts.
    """
    from transformers.models.llama import modeling_llama

    class Norm(modeling_llama.LlamaRMSNorm):
        def forward(self, x):
            return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.variance_epsilon))

    class Rotary(modeling_llama.LlamaRotaryEmbedding):
        def forward(self, x, position_ids):
            width = self.config.head_dim
            base = self.config.rope_parameters["rope_theta"]
            frequencies = 1.0 / (base ** (torch.arange(0, width, 2, dtype=torch.float64) / width))
            angles = (position_ids[..., None] * frequencies).repeat(1, 1, 2)
            return angles.cos(), angles.sin()

    for module in llama.modules():
        if isinstance(module, modeling_llama.LlamaRMSNorm):
            module.__class__ = Norm
        if isinstance(module, modeling_llama.LlamaRotaryEmbedding):
            module.__class__ = Rotary
    return llama


@settings(max_examples=60)
@given(config=llamas(), kernel=st.sampled_from(["sdpa", "explicit"]))
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
def test_logits_and_gradients_are_those_of_transformers(config, kernel, dtype, bound):
    model, ids = made(config, dtype, kernel=kernel), some_ids(config)
    llama = llama_of(model) if dtype == torch.float32 else without_casts(llama_of(model))
    found, expected = model(ids), llama(ids).logits
    assert (found - expected).abs().max() <= bound
    targets = ids.flip(1)
    torch.nn.functional.cross_entropy(expected.flatten(0, 1), targets.flatten()).backward()
    cross_entropy(found, targets).backward()
    assert (model.ln_final.weight.grad - llama.model.norm.weight.grad).abs().max() <= bound
    embedding = llama.model.embed_tokens.weight.grad
    assert (model.token_embeddings.weight.grad - embedding).abs().max() <= 10 * bound


def test_causality():
    model, ids = made(), some_ids(TINY)
    changed = ids.clone()
    changed[:, 9] = (ids[:, 9] + 1) % TINY.vocab_size
    with torch.no_grad():
        before, after = model(ids), model(changed)
    assert torch.equal(before[:, :9], after[:, :9])
    assert not torch.isclose(before[:, 9:], after[:, 9:]).all(-1).any()


@pytest.mark.parametrize("kernel", ["sdpa", "explicit"])
@pytest.mark.parametrize("kv_heads", [2, 1])
def test_packed_documents_are_as_if_each_stood_alone(kernel, kv_heads):
    model, ids = made(replace(TINY, num_kv_heads=kv_heads), kernel=kernel), some_ids(TINY)
    documents = torch.tensor([[0] * 5 + [1] * 1 + [2] * 10, [7] * 16])
    positions = torch.tensor([[*range(5), 0, *range(10)], [*range(16)]])
    with torch.no_grad():
        packed = model(ids, positions, documents)
        alone = torch.cat([model(ids[:1, :5]), model(ids[:1, 5:6]), model(ids[:1, 6:])], 1)
        assert torch.allclose(packed[:1], alone, atol=1e-6)
        assert torch.allclose(packed[1:], model(ids[1:]), atol=1e-6)


@pytest.mark.parametrize("kv_heads", [2, 1])
@pytest.mark.parametrize("length", [1, 2, 15, 16])
def test_any_length_and_one_sequence_without_a_batch(kv_heads, length):
    model, ids = made(replace(TINY, num_kv_heads=kv_heads)), some_ids(TINY)[:, :length]
    with torch.no_grad():
        logits = model(ids)
        assert logits.shape == (2, length, 300)
        assert torch.allclose(model(ids[0]), logits[0], atol=1e-6)
        assert torch.allclose(model(ids.int()), logits)
        assert torch.allclose(model(ids[0], None, torch.zeros(length)), logits[0], atol=1e-6)


def test_positions_count_only_by_their_differences():
    model, ids = made(dtype=torch.float64), some_ids(TINY)[:, :8]
    with torch.no_grad():
        assert torch.allclose(model(ids, torch.arange(8)), model(ids, torch.arange(8) + 8), atol=1e-6)
        assert not torch.allclose(model(ids, torch.arange(8)), model(ids, 2 * torch.arange(8)), atol=1e-3)


@settings(max_examples=25)
@given(config=llamas(), qk_norm=st.booleans())
def test_layouts_are_converted_both_ways(config, qk_norm):
    config = replace(config, qk_norm=qk_norm)
    other = replace(config, rope_layout="half" if config.rope_layout == "interleaved" else "interleaved")
    model, ids = made(config), some_ids(config)
    converted = to_layout(model.state_dict(), config, config.rope_layout, other.rope_layout)
    twin = TransformerLM.from_config(other)
    twin.load_state_dict(converted)
    with torch.no_grad():
        assert torch.allclose(twin(ids), model(ids), atol=1e-5)
    back = to_layout(converted, config, other.rope_layout, config.rope_layout)
    assert all(torch.equal(back[name], weight) for name, weight in model.state_dict().items())


def test_state_dicts_of_wrapped_models():
    model = made()
    wrapped = {f"module._orig_mod.{name}": weight for name, weight in model.state_dict().items()}
    assert unwrapped(wrapped).keys() == model.state_dict().keys()
    assert unwrapped(torch.compile(model, backend="eager").state_dict()).keys() == model.state_dict().keys()


# torch's own tracing of an autograd.Function makes an instance of it
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
@pytest.mark.parametrize(
    ("variant", "packed"),
    [
        ({"num_kv_heads": 1, "qk_norm": True, "tie_embeddings": True}, True),
        pytest.param({}, True, marks=pytest.mark.nightly),
        pytest.param({}, False, marks=pytest.mark.nightly),
        pytest.param({"num_kv_heads": 1, "qk_norm": True, "tie_embeddings": True}, False, marks=pytest.mark.nightly),
    ],
)
def test_compiled_without_a_graph_break(variant, packed):
    torch.compiler.reset()
    model, ids = made(replace(TINY, **variant)), some_ids(TINY)
    documents = torch.tensor([[0] * 8 + [1] * 8] * 2) if packed else None

    def loss_of(ids, targets):
        return linear_cross_entropy(model.hidden(ids, None, documents), model.lm_head.weight, targets, chunk_tokens=10)

    expected = loss_of(ids, ids.flip(1))
    expected.backward()
    gradients = [parameter.grad.clone() for parameter in model.parameters()]
    model.zero_grad()
    loss = torch.compile(loss_of, fullgraph=True, backend="aot_eager")(ids, ids.flip(1))
    loss.backward()
    assert torch.allclose(loss, expected)
    for parameter, gradient in zip(model.parameters(), gradients, strict=True):
        assert torch.allclose(parameter.grad, gradient, atol=1e-6)


def test_exported_with_any_batch_and_any_length_below_the_context():
    model = made().eval()
    # torch.export takes the slice of a whole table, at a length of 16, for a program of its own
    batch, length = torch.export.Dim("batch", min=1, max=64), torch.export.Dim("length", min=2, max=15)
    shapes = {"token_ids": {0: batch, 1: length}}
    program = torch.export.export(model, (some_ids(TINY)[:, :7],), dynamic_shapes=shapes)
    for shape in [(1, 2), (3, 15), (2, 7)]:
        ids = torch.randint(300, shape)
        with torch.no_grad():
            assert torch.allclose(program.module()(ids), model(ids), atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("autocast", [False, True])
def test_half_precision_is_near(dtype, autocast):
    exact, ids = made(dtype=torch.float64), some_ids(TINY)
    model = made(dtype=torch.float32 if autocast else dtype)
    model.load_state_dict(exact.state_dict())
    with torch.no_grad(), torch.autocast("cpu", dtype, enabled=autocast):
        logits, hidden = model(ids), model.hidden(ids)
        loss = linear_cross_entropy(hidden, model.lm_head.weight, ids.flip(1))
    assert logits.dtype == dtype
    assert loss.dtype == torch.float32
    rounding = torch.finfo(dtype).eps
    with torch.no_grad():
        expected = exact(ids)
        assert (logits - expected).abs().max() <= 10 * rounding * expected.abs().max()
        assert torch.allclose(loss.double(), cross_entropy(expected, ids.flip(1)), rtol=10 * rounding)


def test_initial_weights():
    torch.manual_seed(1)
    model = TransformerLM(500, 8, 200, 1, 4, 300, 10_000.0)
    for name, weight in model.state_dict().items():
        if weight.dim() == 1:
            assert torch.equal(weight, torch.ones_like(weight))
        else:
            std = 1.0 if name == "token_embeddings.weight" else (2 / sum(weight.shape)) ** 0.5
            # cut at three deviations, a normal distribution deviates by 0.9866
            assert weight.std().item() == pytest.approx(0.9866 * std, rel=0.02), name
            assert abs(weight.mean().item()) < 0.02 * std, name
            assert 2.9 * std < weight.abs().max() <= 3 * std * (1 + 1e-6), name
    tied = TransformerLM(500, 8, 200, 1, 4, 300, 10_000.0, tie_embeddings=True)
    assert tied.token_embeddings.weight is tied.lm_head.weight
    assert tied.lm_head.weight.std().item() == pytest.approx(0.9866 * (2 / 700) ** 0.5, rel=0.02)
    torch.manual_seed(1)
    assert torch.equal(TransformerLM(500, 8, 200, 1, 4, 300, 10_000.0).lm_head.weight, model.lm_head.weight)


def test_one_pair_of_tables_serves_all_layers_and_is_not_saved():
    model = made()
    assert len({id(module) for module in model.modules() if isinstance(module, RotaryPositionalEmbedding)}) == 1
    assert not any("rope" in name for name in model.state_dict())


@pytest.mark.parametrize(
    ("ids", "error", "message"),
    [
        (torch.zeros(1, 17, dtype=torch.int64), ValueError, r"shape \(1, 17\); expected .* a sequence of 1 to 16"),
        (torch.zeros(1, 0, dtype=torch.int64), ValueError, r"shape \(1, 0\)"),
        (torch.zeros(1, 1, 4, dtype=torch.int64), ValueError, r"shape \(1, 1, 4\)"),
        (torch.tensor(3), ValueError, r"shape \(\)"),
        (torch.zeros(1, 4), TypeError, "token ids are of torch.float32"),
        (torch.zeros(1, 4, dtype=torch.bool), TypeError, "token ids are of torch.bool"),
        (torch.tensor([[0, 300]]), IndexError, "token id 300 is out of range; expected 0 to 299"),
        (torch.tensor([[-1, 5]]), IndexError, "token id -1 is out of range"),
    ],
)
def test_ids_that_no_model_takes(ids, error, message):
    with pytest.raises(error, match=message):
        made()(ids)


def test_positions_and_documents_that_do_not_fit():
    model, ids = made(), some_ids(TINY)
    with pytest.raises(ValueError, match=r"document ids have the shape \(2, 15\), token ids \(2, 16\)"):
        model(ids, None, torch.zeros(2, 15))
    for positions in (torch.arange(15), torch.zeros(3, 16, dtype=torch.int64), torch.tensor(1)):
        with pytest.raises(ValueError, match="token positions have the shape"):
            model(ids, positions)
    for wrong in (-1, 16):
        with pytest.raises(IndexError, match=f"position {wrong} is out of range; expected 0 to 15"):
            model(ids[:, :2], torch.tensor([0, wrong]))
    with pytest.raises(TypeError, match=r"positions are of torch\.float32"):
        model(ids, torch.arange(16.0))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"vocab_size": 0}, "vocab_size is 0; expected an integer from 1"),
        ({"d_model": 8.0}, "d_model is 8.0"),
        ({"num_layers": True}, "num_layers is True"),
        ({"context_length": 1 << 31}, "context_length is 2147483648"),
        ({"d_model": 9}, "d_model is 9, which num_heads 2 does not divide"),
        ({"num_kv_heads": 3}, "num_kv_heads is 3, which does not divide num_heads 2"),
        ({"d_head": 3}, "the width of a head is 3; rotary positions need an even one"),
        ({"rope_theta": 0.0}, "rope_theta is 0.0; expected a positive number"),
        ({"rope_theta": float("nan")}, "rope_theta is nan"),
        ({"norm_eps": -1e-5}, "norm_eps is -1e-05"),
        ({"norm": "rms"}, "norm is 'rms'; expected one of pre, post, none"),
        ({"ffn": "gelu"}, "ffn is 'gelu'; expected one of swiglu, silu"),
        ({"rope_layout": "full"}, "rope_layout is 'full'; expected one of half, interleaved"),
        ({"tie_embeddings": 1}, "tie_embeddings is 1; expected true or false"),
    ],
)
def test_shapes_that_no_model_has(change, message):
    with pytest.raises(ValueError, match=message):
        TransformerLM(**(TINY.to_dict() | change))


def test_a_configuration_is_its_fields():
    config = replace(TINY, num_kv_heads=1, rope_theta=None)
    assert ModelConfig.from_dict(config.to_dict()) == config
    with pytest.raises(ValueError, match="unknown field 'depth'"):
        ModelConfig.from_dict({**config.to_dict(), "depth": 3})
    with pytest.raises(ValueError, match=r"incomplete model: missing .*'d_ff'"):
        ModelConfig.from_dict({name: value for name, value in config.to_dict().items() if name != "d_ff"})


@pytest.mark.parametrize(("option", "value"), [("norm", "last"), ("ffn", "relu"), ("kernel", "flash")])
def test_variants_that_no_block_has(option, value):
    with pytest.raises(ValueError, match=f"{option} is '{value}'; expected one of"):
        TransformerBlock(8, 2, 12, max_seq_len=16, rope_theta=None, **{option: value})
