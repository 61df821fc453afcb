"""Open models of each family: transformers' own modelling of random small models decides what is right."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from hypothesis import Phase, assume, given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from fastlm.generation import generate, torch_step  # noqa: E402
from fastlm.model import ModelConfig, TransformerLM  # noqa: E402
from fastlm.model.files import load_model, save_model  # noqa: E402
from fastlm.model.hf import export_llama, import_llama  # noqa: E402
from fastlm.model.hf_architectures import ARCHITECTURES, BY_MODEL_TYPE, OTHER_FEATURES, OTHER_MODEL_TYPES  # noqa: E402
from tests.model import families  # noqa: E402

transformers.logging.disable_progress_bar()
transformers.logging.set_verbosity_error()
TYPES = [architecture.model_type for architecture in ARCHITECTURES]
ROUNDING = {torch.float32: 1e-5, torch.bfloat16: 6e-2, torch.float16: 8e-3}


def peer(model_type: str, fields: dict, seed: int = 0):
    """A model of transformers with random weights.

    The residual stream is mostly the embedding, as in trained models, so that no norm divides by a number that is small
    by cancellation, which makes a rounding error of any program large. The last norm keeps logits to a few units, where
    1e-5 is some rounding errors.
    """
    config = transformers.AutoConfig.for_model(model_type, **fields)
    torch.manual_seed(seed)
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name == "model.norm.weight":
                weight.uniform_(0.05, 0.15)
            elif weight.dim() == 1:
                weight.uniform_(0.5, 1.5) if "norm" in name else weight.normal_(0, 0.5)
            elif "embed_tokens" in name:
                weight.normal_()
            else:
                weight.normal_(0, 0.5 * weight.shape[1] ** -0.5)
        model.tie_weights()
    return model


def loaded(folder: Path, **options):
    model, report = transformers.AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True, **options)
    assert not any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    return model.eval()


# Logits of transformers in float32 and in float64 may differ by this much, a tenth of the bound. They differ by 3e-8 in
# most models. In a few, a norm divides by a number near its epsilon, and any rounding becomes 100 times as large.
OWN_ROUNDING = 1e-6


def check(fields: dict, model_type: str, folder: Path, seed: int = 0) -> None:
    """Imports what transformers saved, compares logits and tokens, saves it again, and lets transformers load that."""
    theirs = peer(model_type, fields, seed)
    # small files, so that there are several with an index
    theirs.save_pretrained(folder / "theirs", max_shard_size="2KB")
    ours = import_llama(folder / "theirs")
    length = min(families.length_of(fields), ours.config.context_length)
    ids = torch.randint(fields["vocab_size"], (2, length), generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        expected = loaded(folder / "theirs")(ids).logits
        assume((theirs.double()(ids).logits - expected).abs().max() <= OWN_ROUNDING)
        torch.testing.assert_close(ours(ids), expected, rtol=0, atol=1e-5)
        _check_tokens(ours, folder / "theirs", ids[0, : max(1, length // 3)].tolist(), length)
        for name, model_type_again in (("default", None), ("same", model_type)):
            export_llama(ours, folder / name, architecture=model_type_again)
            again = loaded(folder / name)
            torch.testing.assert_close(again(ids).logits, expected, rtol=0, atol=1e-5)
            if model_type_again is not None:
                assert again.config.model_type == model_type
            assert import_llama(folder / name).config == ours.config
    save_model(ours, folder / "own")
    assert load_model(folder / "own").config == ours.config


def _check_tokens(ours, folder: Path, prompt: list[int], length: int) -> None:
    """Compares greedy tokens with transformers, by torch's step and by the step that generate chooses."""
    count = length - len(prompt)
    if not count:
        return
    given_ids = torch.tensor([prompt])
    options = {"attention_mask": torch.ones_like(given_ids), "do_sample": False, "use_cache": True}
    expected = loaded(folder).generate(given_ids, max_new_tokens=count, min_new_tokens=count, **options)
    for step in (None, torch_step(ours)):
        found = generate(ours, prompt, max_new_tokens=count, temperature=0, step=step).ids
        assert found == expected[0, len(prompt) :].tolist()


# a small shape for tests that need one example
FIELDS = {
    "vocab_size": 30,
    "hidden_size": 24,
    "intermediate_size": 20,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 6,
    "max_position_embeddings": 20,
    "rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0},
    "pad_token_id": None,
    "bos_token_id": None,
    "eos_token_id": None,
}
A_FEW = settings(max_examples=1, deadline=None, phases=[Phase.generate], derandomize=True)
MANY = settings(max_examples=25, deadline=None)


@pytest.mark.parametrize("model_type", TYPES)
@A_FEW
@given(data=st.data())
def test_a_family_with_most_of_its_features(model_type, data, tmp_path_factory):
    possible = families.can_have(BY_MODEL_TYPE[model_type])
    features = [feature for feature in possible if feature not in (*families.SCALINGS, "tied output layer")]
    fields = families.drawn(data.draw, BY_MODEL_TYPE[model_type], features)
    check(fields, model_type, tmp_path_factory.mktemp("family"))


@pytest.mark.parametrize("kind", families.SCALINGS)
@A_FEW
@given(data=st.data())
def test_scaled_positions_beyond_the_original_context(kind, data, tmp_path_factory):
    fields = families.drawn(data.draw, BY_MODEL_TYPE["llama"], [kind, "tied output layer"])
    check(fields, "llama", tmp_path_factory.mktemp("family"))


@pytest.mark.nightly
@pytest.mark.parametrize(("model_type", "feature"), [*itertools.product(TYPES, families.FEATURES)])
@MANY
@given(data=st.data())
def test_every_cell_of_the_table(model_type, feature, data, tmp_path_factory):
    architecture = BY_MODEL_TYPE[model_type]
    said = families.cell(architecture, feature)
    if said == families.NONE:
        pytest.skip("transformers' class has no such thing")
    if said == families.REFUSED:
        fields = families.drawn(data.draw, architecture, [feature])
        folder = tmp_path_factory.mktemp("refused")
        (folder / "config.json").write_text(json.dumps({"model_type": model_type, **fields}))
        with pytest.raises(ValueError, match="rope_type"):
            import_llama(folder)
        return
    others = [name for name in families.can_have(architecture) if name not in families.SCALINGS]
    chosen = [feature, *data.draw(st.lists(st.sampled_from(others), unique=True, max_size=3))]
    fields = families.drawn(data.draw, architecture, list(dict.fromkeys(chosen)))
    check(fields, model_type, tmp_path_factory.mktemp("family"), seed=data.draw(st.integers(0, 99)))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_precision(dtype, tmp_path):
    peer("qwen2", FIELDS).to(dtype).save_pretrained(tmp_path / "theirs")
    theirs = loaded(tmp_path / "theirs", dtype=dtype)
    ours = import_llama(tmp_path / "theirs")
    ids = torch.randint(FIELDS["vocab_size"], (2, 10), generator=torch.Generator().manual_seed(1))
    assert {weight.dtype for weight in ours.parameters()} == {dtype}
    with torch.no_grad():
        expected = theirs(ids).logits
        torch.testing.assert_close(ours(ids), expected, rtol=0, atol=ROUNDING[dtype])
        export_llama(ours, tmp_path / "ours")
        assert torch.equal(loaded(tmp_path / "ours", dtype=dtype)(ids).logits, expected)


def test_the_table_in_the_documentation():
    text = families.PAGE.read_text()
    assert families.page(text) == text, "run python -m tests.model.families"


@pytest.fixture
def folder(tmp_path) -> Path:
    """A folder with a configuration only, as what is refused is refused before a weight is read."""
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama", **FIELDS}))
    return tmp_path


def changed(folder: Path, **fields) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


@pytest.mark.parametrize("model_type", OTHER_MODEL_TYPES)
def test_other_architectures_are_refused_with_the_reason(folder, model_type):
    changed(folder, model_type=model_type)
    message = re.escape(f"model_type is '{model_type}', which has {OTHER_MODEL_TYPES[model_type]}; expected one of")
    with pytest.raises(ValueError, match=message):
        import_llama(folder)


@pytest.mark.parametrize("feature", OTHER_FEATURES)
def test_other_features_are_refused_by_name(folder, feature):
    changed(folder, **{feature: 8})
    with pytest.raises(ValueError, match=f"config.json: {feature} is 8: .*, which fastlm does not compute"):
        import_llama(folder)


PLAIN = {"rope_type": "default", "rope_theta": 1e4}
LLAMA3 = {
    "rope_type": "llama3", "rope_theta": 1e4, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8,
}  # fmt: skip


@pytest.mark.parametrize(
    ("model_type", "change", "message"),
    [
        ("llama", {"rope_parameters": {**PLAIN, "rope_type": "longrope"}}, "rope_type = 'longrope'"),
        ("llama", {"rope_parameters": {**PLAIN, "rope_type": ["linear"]}}, r"rope_type = \['linear'\]"),
        ("llama", {"rope_parameters": {"full_attention": PLAIN}}, "rope_parameters has full_attention"),
        ("llama", {"rope_parameters": {**PLAIN, "mrope_section": [1]}}, "rope_parameters has mrope_section"),
        ("llama", {"rope_parameters": {**PLAIN, "partial_rotary_factor": 0.5}}, "has partial_rotary_factor = 0.5"),
        ("llama", {"rope_parameters": PLAIN, "rope_scaling": LLAMA3}, "rope_parameters has rope_type = 'default'"),
        ("llama", {"rope_parameters": {**LLAMA3, "factor": None}}, "rope_parameters has no factor, which llama3"),
        ("llama", {"rope_parameters": {**LLAMA3, "factor": -1.0}}, "rope_scaling.factor is -1.0"),
        ("llama", {"rope_parameters": {**LLAMA3, "high_freq_factor": 1.0}}, "high_freq_factor is 1.0; expected more"),
        ("llama", {"rope_parameters": {**LLAMA3, "original_max_position_embeddings": 0}}, "original_context is 0"),
        ("llama", {"rope_parameters": {**LLAMA3, "beta_fast": 3.0}}, "rope_parameters has beta_fast = 3.0"),
        ("llama", {"partial_rotary_factor": 0.5}, "partial_rotary_factor is 0.5"),
        ("llama", {"rope_scaling": 2.0}, "rope_scaling is 2.0; expected an object"),
        ("llama", {"attention_bias": 3}, "attention_bias is 3; expected nothing or False or True"),
        ("llama", {"mlp_bias": True}, "mlp_bias is True"),
        ("llama", {"hidden_act": "relu"}, "hidden_act is 'relu'"),
        ("llama", {"architectures": ["Qwen2ForCausalLM"]}, r"architectures is \['Qwen2ForCausalLM'\]"),
        ("mistral", {"attention_bias": True}, "attention_bias is True"),
        ("mistral", {"sliding_window": 0}, "sliding_window is 0; expected a positive integer"),
        ("mistral", {"sliding_window": "4"}, "sliding_window is '4'; expected a positive integer"),
        ("qwen2", {"use_sliding_window": 1}, "use_sliding_window is 1; expected true or false"),
        ("qwen2", {"layer_types": ["full_attention", "linear_attention"] * 9}, "layer_types is .*; expected a list of"),
        ("qwen2", {"layer_types": []}, "layer_types is .*; expected a list of"),
        ("qwen2", {"layer_types": ["sliding_attention"] * 9}, "layer_types has 'sliding_attention' with use_sliding"),
        ("qwen2", {"use_sliding_window": True, "max_window_layers": "1"}, "max_window_layers is '1'"),
        ("smollm3", {"no_rope_layers": [1]}, "no_rope_layers is"),
        ("smollm3", {"no_rope_layers": [2] * 9}, "no_rope_layers is"),
        ("smollm3", {"no_rope_layer_interval": 0}, "no_rope_layer_interval is 0; expected a positive"),
        ("phi3", {"rope_parameters": {"rope_type": "yarn", "factor": 2.0}}, "rope_type = 'yarn', a scaling .* Phi3"),
        ("phi3", {"rope_parameters": {"type": "su", "long_factor": [1]}}, "rope_type = 'su'"),
        ([], {}, r"model_type is \[\]; expected one of 'llama', 'mistral'"),
        ("bert", {}, "model_type is 'bert'; expected one of 'llama', 'mistral'"),
    ],
)  # fmt: skip
def test_what_is_computed_otherwise_is_refused(folder, model_type, change, message):
    changed(folder, model_type=model_type, num_hidden_layers=2, **change)
    with pytest.raises(ValueError, match=message) as error:
        import_llama(folder)
    assert str(folder) in str(error.value)


SMALL = {"vocab_size": 30, "context_length": 16, "d_model": 8, "num_layers": 2, "num_heads": 2, "d_ff": 12}
SCALED = {"kind": "linear", "factor": 2.0, "original_context": 8}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"attention_bias": "some"}, "attention_bias is 'some'; expected one of none, qkv, all"),
        ({"qk_norm_width": "all"}, "qk_norm_width is 'all'; expected one of head, projection"),
        ({"sliding_window": 0}, "sliding_window is 0; expected an integer from 1"),
        ({"sliding_layers": (0,)}, "sliding_layers is given without sliding_window"),
        ({"sliding_window": 4, "sliding_layers": (1, 0)}, r"sliding_layers is \(1, 0\); expected ascending"),
        ({"layers_without_rope": (2,)}, r"layers_without_rope is \(2,\); expected ascending numbers of layers below"),
        ({"layers_without_rope": "0"}, "layers_without_rope is '0'"),
        ({"rope_scaling": SCALED, "rope_theta": None}, "rope_scaling is given with rope_theta=None"),
        ({"rope_scaling": SCALED | {"kind": "ntk"}}, "rope_scaling.kind is 'ntk'; expected one of linear, dynamic"),
        ({"rope_scaling": SCALED | {"beta_fast": 2.0}}, "rope_scaling.beta_fast is 2.0; only yarn has this field"),
        ({"rope_scaling": SCALED | {"truncate": 1}}, "rope_scaling.truncate is 1; expected true or false"),
        ({"rope_scaling": SCALED | {"speed": 1}}, "rope_scaling has the unknown field 'speed'"),
        ({"rope_scaling": {"kind": "linear"}}, "rope_scaling.factor is missing"),
        ({"rope_scaling": 2.0}, "rope_scaling is 2.0; expected a mapping of kind, factor, original_context"),
        ({"rope_scaling": SCALED | {"kind": "dynamic"}, "d_head": 2}, "the width of a head is 2; dynamic"),
        ({"rope_scaling": SCALED | {"kind": "yarn"}, "rope_theta": 1.0}, "rope_theta is 1; yarn"),
        ({"rope_scaling": SCALED | {"kind": "llama3"}}, "rope_scaling.low_freq_factor is None"),
    ],
)
def test_wrong_fields_of_a_configuration(changes, message):
    with pytest.raises(ValueError, match=message):
        ModelConfig(**SMALL, **changes)


def test_earlier_configurations_are_written_as_before():
    names = {"attention_bias", "qk_norm_width", "rope_scaling", "layers_without_rope", "sliding_window"}
    assert not names & ModelConfig(**SMALL).to_dict().keys()
    later = ModelConfig(**SMALL, rope_scaling=SCALED, layers_without_rope=(0,), sliding_window=3, sliding_layers=[1])
    assert ModelConfig.from_dict(json.loads(json.dumps(later.to_dict()))) == later


def test_an_unknown_architecture_is_not_exported(tmp_path):
    model = TransformerLM.from_config(ModelConfig(**SMALL))
    with pytest.raises(ValueError, match="architecture is 'gpt2'; expected one of llama, mistral"):
        export_llama(model, tmp_path / "no", architecture="gpt2")
    with pytest.raises(ValueError, match="Qwen2ForCausalLM cannot express attention_bias='none', only 'qkv'"):
        export_llama(model, tmp_path / "no", architecture="qwen2")
    with pytest.raises(ValueError, match="LlamaForCausalLM cannot express d_model=8 with num_heads=3, which does not"):
        export_llama(TransformerLM.from_config(ModelConfig(**SMALL | {"num_heads": 3, "d_head": 4})), tmp_path / "no",
                     architecture="llama")  # fmt: skip
    assert not (tmp_path / "no").exists()
