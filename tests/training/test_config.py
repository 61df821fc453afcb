"""Every configuration that Python accepts goes through TOML and through the command line, and comes back."""

import dataclasses
import json
import tomllib

import pytest
import tyro
from hypothesis import given, settings
from hypothesis import strategies as st

from fastlm.commands import train as command
from fastlm.commands.train import FILE_ONLY
from fastlm.model.config import ModelConfig
from fastlm.training.config import TrainingConfig, load_config
from tests.model import tiny

# what Python accepts; argparse takes no list item that begins with a dash
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
ITEMS = TEXTS.filter(lambda text: not text.startswith("-"))
POSITIVE = st.integers(1, 2**62 - 1)
NUMBERS = st.one_of(st.floats(1e-300, 1e300), st.integers(1, 2**53))
SPECIAL_NAMES = st.sampled_from(
    ["from CONFIG", "auto", "true", "1", "[]", "a b", "'\"\\", "\x7f\x1f", "é\u2028", "--x"]
)


def optional(strategy):
    return st.none() | strategy


@st.composite
def model_configs(draw):
    groups, kv_heads, width = draw(st.integers(1, 4)), draw(st.integers(1, 4)), 2 * draw(st.integers(1, 8))
    own_width = draw(st.booleans())
    return ModelConfig(
        vocab_size=draw(st.integers(1, 2**31 - 1)),
        context_length=draw(st.integers(1, 2**31 - 1)),
        d_model=draw(st.integers(1, 99)) if own_width else groups * kv_heads * width,
        num_layers=draw(st.integers(1, 2**31 - 1)),
        num_heads=groups * kv_heads,
        d_ff=draw(st.integers(1, 2**31 - 1)),
        rope_theta=draw(optional(NUMBERS)),
        rope_layout=draw(st.sampled_from(["half", "interleaved"])),
        num_kv_heads=draw(optional(st.just(kv_heads))),
        d_head=width if own_width else draw(optional(st.just(width))),
        norm=draw(st.sampled_from(["pre", "post", "none", "output"])),
        norm_eps=draw(NUMBERS),
        ffn=draw(st.sampled_from(["swiglu", "silu"])),
        tie_embeddings=draw(st.booleans()),
        qk_norm=draw(st.booleans()),
        attention_bias=draw(st.sampled_from(["none", "qkv", "all"])),
        sliding_window=draw(optional(st.integers(1, 2**31 - 1))),
    )


@st.composite
def training_configs(draw):
    model = draw(model_configs())
    steps, rate = draw(POSITIVE), draw(NUMBERS)
    parallel = draw(st.sampled_from(["ddp", "fsdp"]))
    values = {
        "model": model,
        "out": draw(TEXTS | SPECIAL_NAMES),
        "init_from": draw(optional(TEXTS | SPECIAL_NAMES).filter(lambda text: text not in ("none", "None"))),
        "train_data": draw(st.lists(ITEMS, min_size=1, max_size=3).map(tuple)),
        "validation_data": draw(st.lists(ITEMS, max_size=3).map(tuple)),
        "data_dtype": draw(st.sampled_from([None, "uint16", "uint32", "int32"])),
        "tokenizer": draw(optional(TEXTS | SPECIAL_NAMES).filter(lambda text: text not in ("none", "None"))),
        "end_of_text": draw(st.sampled_from([None, "auto"]) | st.integers(0, model.vocab_size - 1)),
        "steps": steps,
        "batch_size": draw(POSITIVE),
        "micro_batch_size": draw(optional(POSITIVE)),
        "optimizer": "adamw" if parallel == "fsdp" else draw(st.sampled_from(["adamw", "muon"])),
        "learning_rate": rate,
        "min_learning_rate": draw(st.sampled_from([0, 0.0, rate, rate / 2])),
        "warmup_steps": draw(st.integers(0, steps)),
        "beta1": draw(st.floats(0, 0.999)),
        "beta2": draw(st.floats(0, 0.999) | st.just(0)),
        "eps": draw(NUMBERS),
        "weight_decay": draw(st.just(0) | NUMBERS),
        "max_gradient_norm": draw(optional(NUMBERS)),
        "seed": draw(st.integers(0, 2**63 - 1)),
        "prefetch": draw(st.integers(0, 1000)),
        "precision": draw(st.sampled_from(["auto", "float32", "bfloat16"])),
        "allow_tf32": draw(st.booleans()),
        "checkpoint_activations": draw(st.booleans()),
        "compile": parallel == "ddp" and draw(st.booleans()),
        "device": draw(TEXTS | st.sampled_from(["auto", "cuda"])),
        "parallel": parallel,
        "log_every": draw(POSITIVE),
        "eval_every": draw(POSITIVE),
        "eval_sequences": draw(optional(POSITIVE)),
        "checkpoint_every": draw(POSITIVE),
        "keep_checkpoints": draw(POSITIVE),
        "peak_flops": draw(optional(NUMBERS)),
        "sample_every": draw(optional(POSITIVE)),
        "sample_prompts": draw(st.lists(ITEMS, min_size=1, max_size=3).map(tuple)),
        "sample_tokens": draw(POSITIVE),
        "tensorboard": draw(st.booleans()),
        "wandb": draw(st.booleans()),
        "trackio": draw(st.booleans()),
        "project": draw(TEXTS.filter(bool) | SPECIAL_NAMES),
    }
    assert values.keys() == {field.name for field in dataclasses.fields(TrainingConfig)}
    return TrainingConfig(**values)


@settings(max_examples=max(1, settings.default.max_examples // 4))
@given(training_configs())
def test_toml_gives_back_every_configuration(config):
    assert TrainingConfig.from_dict(tomllib.loads(config.to_toml())) == config


@pytest.mark.parametrize("kind", ["linear", "yarn", "llama3"])
def test_toml_gives_back_the_fields_of_open_models(tmp_path, kind):
    numbers = {"low_freq_factor": 1.0, "high_freq_factor": 4.0} if kind == "llama3" else {}
    scaling = {"kind": kind, "factor": 4.0, "original_context": 8, **numbers}
    later = {"rope_scaling": scaling, "layers_without_rope": (0,), "sliding_window": 3, "sliding_layers": (0, 1)}
    config = tiny.config(tmp_path / "run", model=dataclasses.replace(tiny.MODEL, **later))
    again = TrainingConfig.from_dict(tomllib.loads(config.to_toml()))
    assert again == config
    assert json.loads(json.dumps(config.deciding())) == config.deciding()  # as a checkpoint records and compares it


def arguments_of(config, prefix=""):
    """The command line's options for all fields of a configuration."""
    arguments = []
    for field in dataclasses.fields(config):
        value, name = getattr(config, field.name), f"--{prefix}{field.name.replace('_', '-')}"
        if field.name in FILE_ONLY:
            continue
        if dataclasses.is_dataclass(value):
            arguments += arguments_of(value, f"{field.name}.")
        elif isinstance(value, tuple):
            arguments += [name, *value]
        else:
            arguments.append(f"{name}={'none' if value is None else value}")
    return arguments


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """A file in which every field that may differ does."""
    directory = tmp_path_factory.mktemp("other")
    path = directory / "config.toml"
    path.write_text(tiny.config(directory / "run", end_of_text=3, max_gradient_norm=None).to_toml())
    return path


@settings(max_examples=max(1, settings.default.max_examples // 4))
@given(training_configs())
def test_the_command_line_gives_back_every_configuration(other, config):
    found = []
    original = command.load_config

    def loading(path, overrides):
        found.append(original(path, overrides))
        raise ValueError("read")

    command.load_config = loading
    try:
        with pytest.raises(ValueError, match="read"):
            tyro.cli(command.train, args=[str(other), *arguments_of(config)])
    finally:
        command.load_config = original
    assert found == [config]


def test_options_that_are_not_given_are_the_files(other):
    assert load_config(other, {}) == load_config(other)
    changed = load_config(other, {"model": {"norm": "none"}, "out": "from CONFIG"})
    assert (changed.model.norm, changed.out, changed.model.d_model) == ("none", "from CONFIG", 16)


def test_the_earlier_name_of_the_validation_data(other, tmp_path):
    config = load_config(other)
    renamed = dataclasses.replace(config, validation_data=("a", "b"))
    values = {**{field.name: getattr(config, field.name) for field in dataclasses.fields(config)}}
    del values["validation_data"]
    with pytest.warns(DeprecationWarning, match="valid_data is deprecated; use validation_data"):
        assert TrainingConfig(**values, valid_data=("a", "b")) == renamed
    assert renamed.valid_data == ("a", "b")
    assert load_config(other, {"valid_data": ["a", "b"]}) == renamed
    path = tmp_path / "config.toml"
    path.write_text(other.read_text().replace("validation_data", "valid_data"))
    assert load_config(path) == config
    assert load_config(path, {"validation_data": ["a", "b"]}) == renamed
    with (
        pytest.warns(DeprecationWarning, match="valid_data is deprecated"),
        pytest.raises(ValueError, match="valid_data and validation_data are given"),
    ):
        TrainingConfig(**values, valid_data=("a",), validation_data=("b",))
    path.write_text('validation_data = ["c"]\n' + path.read_text())
    with pytest.raises(ValueError, match=r"config.toml: valid_data and validation_data are given"):
        load_config(path)


@pytest.mark.parametrize("word", ["none", "None"])
def test_no_value_on_the_command_line(other, word, monkeypatch):
    found = []
    monkeypatch.setattr(command, "load_config", lambda path, given: found.append(given) or 1 / 0)
    options = ["--end-of-text", word, "--tokenizer", word, "--model.rope-theta", word, "--peak-flops", word]
    with pytest.raises(ZeroDivisionError):
        tyro.cli(command.train, args=[str(other), *options, "--valid-data", "x", "--model.norm", "none"])
    config = load_config(other, found[0])
    assert (config.end_of_text, config.tokenizer, config.model.rope_theta, config.peak_flops) == (None,) * 4
    assert (config.validation_data, config.model.norm) == (("x",), "none")
