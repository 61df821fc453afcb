"""Parameters, FLOPs and memory as counted without torch, against what torch counts."""

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastlm.cli import main
from fastlm.commands.account import read_model
from fastlm.commands.sizes import parse_size
from fastlm.model.account import account, table
from fastlm.model.config import ModelConfig
from fastlm.model.flops import flops_by_part, forward_flops, matrix_products, train_flops_per_token
from fastlm.model.memory import activation_bytes, cache_bytes, disk_bytes, largest_batch, training_memory
from fastlm.model.parameters import num_parameters, parameter_shapes
from fastlm.model.presets import PRESETS
from fastlm.model.writeup import claims

torch = pytest.importorskip("torch")

from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

from fastlm.model import TransformerLM, linear_cross_entropy  # noqa: E402
from fastlm.model.attention import window_mask  # noqa: E402
from fastlm.model.bfloat16 import LEFT_TO_TORCH  # noqa: E402
from fastlm.model.files import save_model  # noqa: E402


@st.composite
def shapes(draw: st.DrawFn) -> ModelConfig:
    groups, repeats, head = draw(st.sampled_from([(1, 1, 4), (2, 1, 6), (2, 2, 4), (1, 3, 2), (3, 1, 8)]))
    own_width = draw(st.booleans())
    return ModelConfig(
        vocab_size=draw(st.integers(5, 50)),
        context_length=draw(st.integers(2, 24)),
        d_model=20 if own_width else groups * repeats * head,
        d_head=head if own_width else None,
        num_layers=draw(st.integers(1, 3)),
        num_heads=groups * repeats,
        num_kv_heads=draw(st.sampled_from([groups, None])),
        d_ff=draw(st.integers(1, 40)),
        rope_theta=draw(st.sampled_from([None, 1e4])),
        norm=draw(st.sampled_from(["pre", "post", "none", "output"])),
        ffn=draw(st.sampled_from(["swiglu", "silu"])),
        tie_embeddings=draw(st.booleans()),
        qk_norm=draw(st.booleans()),
        qk_norm_width=draw(st.sampled_from(["head", "projection"])),
        attention_bias=draw(st.sampled_from(["none", "qkv", "all"])),
        sliding_window=draw(st.sampled_from([None, 1, 3, 30])),
    )


def counted_flops(config: ModelConfig, batch: int, kernel: str, backward: bool) -> int:
    model = TransformerLM.from_config(config, kernel=kernel, device="meta")
    ids = torch.zeros(batch, config.context_length, dtype=torch.int64, device="meta")
    with FlopCounterMode(display=False) as counter:
        logits = model(ids)
        if backward:
            logits.sum().backward()
    return counter.get_total_flops()


@pytest.mark.parametrize("name", PRESETS)
def test_flops_of_presets_are_those_that_torch_counts(name: str) -> None:
    config = PRESETS[name]
    assert counted_flops(config, 1, "sdpa", backward=False) == forward_flops(config)


@given(config=shapes(), batch=st.integers(1, 3), kernel=st.sampled_from(["sdpa", "explicit"]))
@settings(deadline=None, max_examples=20)
def test_flops_of_any_shape_are_those_that_torch_counts(config: ModelConfig, batch: int, kernel: str) -> None:
    forward = batch * forward_flops(config)
    assert counted_flops(config, batch, kernel, backward=False) == forward
    assert counted_flops(config, batch, kernel, backward=True) == 3 * forward
    assert sum(product.flops + product.backward_flops for product in matrix_products(config)) == 3 * forward // batch


@given(config=shapes())
@settings(deadline=None)
def test_causal_flops_count_keys_up_to_the_query(config: ModelConfig) -> None:
    length, head = config.context_length, config.head_width
    full, causal = flops_by_part(config), flops_by_part(config, convention="causal")
    pairs = 0
    for layer in range(config.num_layers):
        seen = torch.ones(length, length, dtype=torch.bool).tril()
        window = config.window_of(layer)
        pairs += int((seen if window is None else seen & window_mask(length, window, seen.device)).sum())
    assert causal.pop("attention scores") == 4 * config.num_heads * head * pairs
    assert full.pop("attention scores") == 4 * config.num_layers * config.num_heads * head * length**2
    assert causal == full


@given(config=shapes())
@settings(deadline=None)
def test_parameters_are_those_of_the_model(config: ModelConfig) -> None:
    model = TransformerLM.from_config(config, device="meta")
    state = {name: tuple(weight.shape) for name, weight in model.state_dict().items()}
    if config.tie_embeddings:
        del state["lm_head.weight"]
    assert parameter_shapes(config) == state
    assert num_parameters(config) == sum(weight.numel() for weight in model.parameters())
    assert disk_bytes(config, 2) == 2 * num_parameters(config)


@pytest.mark.parametrize("name", PRESETS)
def test_parameters_of_presets(name: str) -> None:
    model = TransformerLM.from_config(PRESETS[name], device="meta")
    assert num_parameters(PRESETS[name]) == sum(weight.numel() for weight in model.parameters())


def kept_bytes(config: ModelConfig, batch: int, kernel: str, compute: str) -> int:
    """Bytes of the distinct storages that autograd keeps, parameters and tables aside."""
    model = TransformerLM.from_config(config, kernel=kernel)
    own = {tensor.untyped_storage().data_ptr() for tensor in [*model.parameters(), *model.buffers()]}
    ids = torch.randint(config.vocab_size, (batch, config.context_length))
    kept = []
    hooks = torch.autograd.graph.saved_tensors_hooks(lambda tensor: (kept.append(tensor), tensor)[1], lambda x: x)
    with hooks, torch.autocast("cpu", torch.bfloat16, enabled=compute == "bfloat16"):
        linear_cross_entropy(model.hidden(ids), model.lm_head.weight, ids)
    storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in kept}
    return sum(size for address, size in storages.items() if address not in own)


SMALL: dict[str, Any] = {
    "vocab_size": 30,
    "context_length": 10,
    "d_model": 24,
    "num_layers": 2,
    "num_heads": 4,
    "d_head": 8,
    "d_ff": 20,
}


@pytest.mark.parametrize("norm", ["pre", "post", "none"])
@pytest.mark.parametrize("ffn", ["swiglu", "silu"])
@pytest.mark.parametrize("kernel", ["sdpa", "explicit"])
@pytest.mark.parametrize("compute", ["float32", "bfloat16"])
def test_activations_are_what_autograd_keeps(norm: str, ffn: str, kernel: str, compute: str) -> None:
    for qk_norm, rope_theta, num_kv_heads, batch in itertools.product([False, True], [1e4, None], [4, 2], [2, 3]):
        config = ModelConfig(
            **SMALL, num_kv_heads=num_kv_heads, norm=norm, ffn=ffn, qk_norm=qk_norm, rope_theta=rope_theta
        )
        kept = kept_bytes(config, batch, kernel, compute)
        weight_gradient = 4 * config.vocab_size * config.d_model  # counted with the loss
        assert activation_bytes(config, batch, kernel=kernel, compute=compute) == kept - weight_gradient


LATER_VARIANTS = {
    "norm after the sublayer": {"norm": "output"},
    "biases of queries, keys and values": {"attention_bias": "qkv"},
    "biases": {"attention_bias": "all"},
    "queries and keys normalized together": {"qk_norm": True, "qk_norm_width": "projection"},
    "normalized together, without positions": {"qk_norm": True, "qk_norm_width": "projection", "rope_theta": None},
    "a window": {"sliding_window": 4},
    "a window of the whole sequence": {"sliding_window": 10},
    "a window in one layer": {"sliding_window": 4, "sliding_layers": (1,)},
    "a layer without positions": {"layers_without_rope": (0,)},
    "scaled positions": {"rope_scaling": {"kind": "yarn", "factor": 4.0, "original_context": 5}},
    "positions by length": {"rope_scaling": {"kind": "dynamic", "factor": 4.0, "original_context": 5}},
    "positions by length, of a short sequence": {
        "rope_scaling": {"kind": "dynamic", "factor": 4.0, "original_context": 10}
    },
    "most": {
        "norm": "output",
        "attention_bias": "all",
        "qk_norm": True,
        "qk_norm_width": "projection",
        "sliding_window": 6,
        "sliding_layers": (0,),
        "layers_without_rope": (1,),
        "rope_scaling": {"kind": "dynamic", "factor": 2.0, "original_context": 8},
        "tie_embeddings": True,
    },
}


@pytest.mark.parametrize("name", LATER_VARIANTS)
def test_activations_of_the_variants_of_open_models(name: str) -> None:
    config = ModelConfig(**SMALL, num_kv_heads=2, **LATER_VARIANTS[name])
    for kernel, compute in itertools.product(["sdpa", "explicit"], ["float32", "bfloat16"]):
        if (kernel, compute) == ("sdpa", "bfloat16") and config.sliding_window and not LEFT_TO_TORCH:
            continue  # fastlm's own product keeps the mask as booleans
        kept = kept_bytes(config, 2, kernel, compute) - 4 * config.vocab_size * config.d_model
        assert activation_bytes(config, 2, kernel=kernel, compute=compute) == kept, (kernel, compute)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_moments_are_those_of_the_optimizers(optimizer: str) -> None:
    config = ModelConfig(vocab_size=30, context_length=8, d_model=12, num_layers=2, num_heads=2, d_ff=20)
    model = TransformerLM.from_config(config)
    hidden = [weight for name, weight in model.named_parameters() if "layers." in name and weight.dim() == 2]
    rest = [weight for weight in model.parameters() if not any(weight is other for other in hidden)]
    optimizers = [torch.optim.AdamW(rest if optimizer == "muon" else list(model.parameters()))]
    if optimizer == "muon":
        optimizers.append(torch.optim.Muon(hidden))
    ids = torch.randint(30, (2, 8))
    model(ids).square().mean().backward()
    for one in optimizers:
        one.step()
    states = [state for one in optimizers for state in one.state.values()]
    kept = sum(value.nbytes for state in states for name, value in state.items() if name != "step")
    assert training_memory(config, 2, optimizer=optimizer).optimizer == kept


def test_largest_batch_is_the_last_that_fits() -> None:
    config = PRESETS["tinystories"]
    for memory in (10**9, 24 * 2**30):
        batch = largest_batch(config, memory, compute="bfloat16")
        assert training_memory(config, batch, compute="bfloat16").total <= memory
        assert training_memory(config, batch + 1, compute="bfloat16").total > memory
    assert largest_batch(PRESETS["llama3-8b"], 10**9) == 0


def test_checkpointing_keeps_inputs_and_one_block() -> None:
    config = PRESETS["gpt2"]
    inputs = 4 * 1024 * config.d_model * config.num_layers
    every, one = activation_bytes(config, 1), activation_bytes(config, 1, checkpointing=True)
    assert inputs + (every / config.num_layers) * 0.9 < one < inputs + every / config.num_layers * 1.5


def test_key_value_cache() -> None:
    # 2 (keys, values) x 32 layers x 8 heads x 128 x 8,192 tokens x 2 bytes
    assert cache_bytes(PRESETS["llama3-8b"], number=2) == 2**30
    assert cache_bytes(PRESETS["llama3-8b"], 3, 1024, number=2) == 3 * 2**27


def test_figures_published_elsewhere() -> None:
    """Meta states 8.03 B and 6.74 B parameters; the safetensors of the weights hold these numbers exactly."""
    assert num_parameters(PRESETS["llama3-8b"]) == 8_030_261_248
    assert num_parameters(PRESETS["llama2-7b"]) == 6_738_415_616
    assert num_parameters(PRESETS["tinystories"]) == 22_696_448
    assert train_flops_per_token(PRESETS["tinystories"]) == 111_722_496


def test_the_writeup_is_right_but_for_its_slips() -> None:
    found = {claim.what: claim for claim in claims()}
    wrong = {what: claim.computed for what, claim in found.items() if not claim.right}
    assert wrong == {
        "GPT-2 small: attention": 96_636_764_160,
        "GPT-2 medium: attention": 309_237_645_312,
        "GPT-2 large: attention": 676_457_349_120,
        "GPT-2 XL, 16,384 tokens: feed-forward": 48_318_382_080_000,
    }
    assert all(claim.slip for what, claim in found.items() if what in wrong)
    # what is left out is the output projection, to the digit
    for name, words in (("gpt2", "small"), ("gpt2-medium", "medium"), ("gpt2-large", "large")):
        config = PRESETS[name]
        claim = found[f"GPT-2 {words}: attention"]
        assert claim.computed - claim.printed == 2 * 1024 * config.d_model**2 * config.num_layers


def test_the_account_of_a_run() -> None:
    found = account(PRESETS["gpt2-xl"], tokens=400_000 * 1024 * 1024, compute="float32", peak_flops=19.5e12, mfu=0.5)
    # CS336, problem adamwAccounting: 400,000 steps of 1,024 sequences on one A100
    assert found.train_seconds / 86_400 == pytest.approx(6583, abs=1)
    assert found.disk_bytes["float32"] == 4 * found.parameters
    assert json.loads(json.dumps(found.to_dict()))["memory"]["total"] == found.memory.total
    text = table(found)
    assert f"{found.parameters:,}" in text
    assert "6,583" in text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"length": 1025}, "length is 1025; expected 1 to the context length, 1024"),
        ({"length": 0}, "length is 0"),
        ({"batch": 0}, "batch is 0"),
        ({"mfu": 1.5}, "mfu is 1.5"),
        ({"peak_flops": 0.0}, "peak_flops is 0.0"),
    ],
)
def test_wrong_options_are_named(options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        account(PRESETS["gpt2"], **options)


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = ModelConfig(vocab_size=30, context_length=8, d_model=12, num_layers=2, num_heads=2, d_ff=20)
    save_model(TransformerLM.from_config(config), tmp_path)
    (tmp_path / "run.toml").write_text(
        "[model]\nvocab_size=10\ncontext_length=8\nd_model=4\nnum_layers=1\nnum_heads=2\nd_ff=4\n"
    )
    assert main(["account", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["parameters"] == num_parameters(config)
    assert read_model(str(tmp_path / "run.toml")).d_model == 4
    assert main(["account", "gpt2", "--context", "2048", "--memory", "24GiB"]) == 0
    assert "forward FLOPs, 2,048 tokens" in capsys.readouterr().out
    assert main(["account", "--writeup"]) == 0
    assert capsys.readouterr().out.count("SLIP") == 4
    assert main(["account", "gpt5"]) == 1
    assert "no model 'gpt5' (did you mean 'gpt2'?): give one of gpt2," in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "model.json"),
        ("[]", "expected the fields of a model"),
        ('{"d_model": 4}', "incomplete model"),
        ('{"colour": 4}', "unknown field 'colour'"),
        (json.dumps({**PRESETS["gpt2"].to_dict(), "num_heads": 7}), "d_model is 768, which num_heads 7"),
        (json.dumps({**PRESETS["gpt2"].to_dict(), "d_ff": True}), "d_ff is True; expected an integer"),
        (json.dumps({**PRESETS["gpt2"].to_dict(), "norm": "Pre"}), "norm is 'Pre'; expected one of pre, post, none"),
        (json.dumps({**PRESETS["gpt2"].to_dict(), "rope_theta": -1}), "rope_theta is -1; expected a positive number"),
    ],
)
def test_files_that_describe_no_model_are_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "model.json").write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        read_model(str(tmp_path))
    assert str(tmp_path / "model.json") in str(caught.value)


def test_sizes() -> None:
    assert [parse_size(text) for text in ("80GB", "24GiB", "1000", "1.5 kB")] == [80 * 10**9, 24 * 2**30, 1000, 1500]
    for wrong in ("", "GB", "80 gigabytes", "1iB", "-1GB"):
        with pytest.raises(ValueError, match="expected a size such as"):
            parse_size(wrong)


def test_plot(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    assert main(["account", "gpt2", "--plot", str(tmp_path / "shares.svg")]) == 0
    assert "attention scores" in (tmp_path / "shares.svg").read_text()
