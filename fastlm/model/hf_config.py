"""config.json of transformers and ModelConfig, in both directions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from fastlm.model.config import ModelConfig
from fastlm.model.hf_architectures import (
    ARCHITECTURES,
    BY_MODEL_TYPE,
    OTHER_FEATURES,
    OTHER_MODEL_TYPES,
    Architecture,
)
from fastlm.model.hf_positions import positions_of, written_positions
from fastlm.model.weights import config_from

# required fields of config.json, and fields that have transformers' default where they are missing
_SIZES = {
    "vocab_size": "vocab_size",
    "hidden_size": "d_model",
    "num_hidden_layers": "num_layers",
    "num_attention_heads": "num_heads",
    "intermediate_size": "d_ff",
}
_OPTIONAL = {
    "max_position_embeddings": "context_length",
    "num_key_value_heads": "num_kv_heads",
    "head_dim": "d_head",
    "rms_norm_eps": "norm_eps",
    "tie_word_embeddings": "tie_embeddings",
}
_FULL, _SLIDING = "full_attention", "sliding_attention"


def architecture_of(config: ModelConfig, model_type: str | None = None) -> Architecture:
    """The architecture that an export writes: the named one, or the first that expresses the model.

    Raises:
        ValueError: The architecture is unknown, or cannot express the model.
    """
    if model_type is not None and model_type not in BY_MODEL_TYPE:
        raise ValueError(f"architecture is {model_type!r}; expected one of {', '.join(BY_MODEL_TYPE)}")
    candidates = ARCHITECTURES if model_type is None else (BY_MODEL_TYPE[model_type],)
    refusals = []
    for candidate in candidates:
        refusal = candidate.refusal(config)
        if refusal is None:
            return candidate
        refusals.append(f"{candidate.class_name} {refusal}")
    raise ValueError("; ".join(refusals))


def normalized(config: ModelConfig) -> ModelConfig:
    """One configuration for all configurations of the same model."""
    assert config.rope_theta is not None
    scaling = config.rope_scaling
    every_layer = config.sliding_layers == tuple(range(config.num_layers))
    return replace(
        config,
        rope_layout="half",
        rope_theta=float(config.rope_theta),
        norm_eps=float(config.norm_eps),
        num_kv_heads=config.kv_heads,
        d_head=config.head_width,
        context_length=config.context_length if scaling is None else scaling.extended_context(config.context_length),
        sliding_window=None if config.sliding_layers == () else config.sliding_window,
        sliding_layers=None if every_layer or config.sliding_layers == () else config.sliding_layers,
    )


def written_config(config: ModelConfig, architecture: Architecture, dtype: str) -> dict[str, Any]:
    """The content of config.json, without special token ids, for a normalized configuration."""
    length, rope = written_positions(config)
    optional = {theirs: getattr(config, ours) for theirs, ours in _OPTIONAL.items()}
    content: dict[str, Any] = {
        "architectures": [architecture.class_name],
        "model_type": architecture.model_type,
        **{theirs: getattr(config, ours) for theirs, ours in _SIZES.items()},
        **optional,
        "max_position_embeddings": length,
        "hidden_act": "silu",
        "attention_bias": config.attention_bias == "all",
        "attention_dropout": 0.0,
        "mlp_bias": False,
        **rope,
        "torch_dtype": dtype,
        "use_cache": True,
    }
    if architecture.bias == "qkv":
        del content["attention_bias"]  # which the architecture has in any case
    if architecture.window == "all":
        content["sliding_window"] = config.sliding_window
    elif architecture.window != "none":
        content["use_sliding_window"] = config.sliding_window is not None
        content["sliding_window"] = config.sliding_window
        content["layer_types"] = [
            _FULL if config.window_of(layer) is None else _SLIDING for layer in range(config.num_layers)
        ]
    if architecture.unrotated:
        content["no_rope_layers"] = [int(n not in config.layers_without_rope) for n in range(config.num_layers)]
    return content


def read_config(content: Mapping[str, Any], path: Path) -> tuple[ModelConfig, Architecture]:
    """The normalized configuration that config.json describes, and its architecture.

    Raises:
        ValueError: The model is of another architecture, or is computed in another way. The message names the file, the
            field, what was found and what was expected.
    """
    architecture = _known_architecture(content, path)
    if missing := [name for name in _SIZES if name not in content]:
        raise ValueError(f"{path}: {missing[0]} is missing")
    fields = {ours: content[theirs] for theirs, ours in _SIZES.items()}
    fields |= {ours: content.get(theirs, architecture.default(theirs)) for theirs, ours in _OPTIONAL.items()}
    fields |= {
        "norm": architecture.norm,
        "qk_norm": architecture.qk_norm != "none",
        "qk_norm_width": "projection" if architecture.qk_norm == "projection" else "head",
        "attention_bias": _bias(content, architecture),
    }
    try:
        # the sizes first, because other fields are lists of as many layers
        layers = config_from(path, fields).num_layers
        fields |= positions_of(content, architecture, path)
        fields |= _unrotated(content, architecture, layers, path)
        fields |= _windows(content, architecture, layers, fields, path)
        return normalized(config_from(path, fields)), architecture
    except ValueError as error:
        names = {ours: theirs for theirs, ours in (_SIZES | _OPTIONAL).items()}
        words = [names.get(word, word) for word in str(error).split(" ")]
        raise ValueError(" ".join(words)) from None


def _known_architecture(content: Mapping[str, Any], path: Path) -> Architecture:
    model_type = content.get("model_type")
    architecture = BY_MODEL_TYPE.get(model_type) if isinstance(model_type, str) else None
    if architecture is None:
        reason = OTHER_MODEL_TYPES.get(model_type) if isinstance(model_type, str) else None
        because = "" if reason is None else f", which has {reason}"
        known = ", ".join(map(repr, BY_MODEL_TYPE))
        raise ValueError(f"{path}: model_type is {model_type!r:.80}{because}; expected one of {known}")
    for name, reason in OTHER_FEATURES.items():
        if content.get(name) not in (None, False, 0):
            raise ValueError(f"{path}: {name} is {content[name]!r:.80}: {reason}, which fastlm does not compute")
    allowed: dict[str, tuple[Any, ...]] = {
        "architectures": (None, [architecture.class_name]),
        "hidden_act": (None, "silu", "swish"),
        "mlp_bias": (None, False),
        "partial_rotary_factor": (None, 1, 1.0),
    }
    if architecture.bias == "none":
        allowed["attention_bias"] = (None, False)
    elif architecture.bias == "field":
        allowed["attention_bias"] = (None, False, True)
    for name, values in allowed.items():
        if content.get(name) not in values:
            expected = " or ".join("nothing" if value is None else repr(value) for value in values)
            raise ValueError(f"{path}: {name} is {content.get(name)!r:.80}; expected {expected}")
    return architecture


def _bias(content: Mapping[str, Any], architecture: Architecture) -> str:
    if architecture.bias == "field":
        return "all" if content.get("attention_bias") else "none"
    return architecture.bias


def _unrotated(content: Mapping[str, Any], architecture: Architecture, layers: int, path: Path) -> dict[str, Any]:
    """The layers without rotary positions."""
    if not architecture.unrotated:
        return {}
    flags = content.get("no_rope_layers")
    if flags is None:
        interval = content.get("no_rope_layer_interval", architecture.default("no_rope_layer_interval"))
        if type(interval) is not int or interval < 1:
            raise ValueError(f"{path}: no_rope_layer_interval is {interval!r:.80}; expected a positive integer")
        flags = [int((layer + 1) % interval != 0) for layer in range(layers)]
    if not isinstance(flags, list) or len(flags) < layers or any(flag not in (0, 1) for flag in flags):
        raise ValueError(f"{path}: no_rope_layers is {flags!r:.80}; expected a list of 0 and 1 for {layers} layers")
    return {"layers_without_rope": tuple(layer for layer in range(layers) if not flags[layer])}


def _windows(
    content: Mapping[str, Any], architecture: Architecture, layers: int, fields: Mapping[str, Any], path: Path
) -> dict[str, Any]:
    """The sliding window and its layers."""
    if architecture.window == "none":
        return {}
    window = content.get("sliding_window", architecture.default("sliding_window"))
    if window is not None and (type(window) is not int or window < 1):
        raise ValueError(f"{path}: sliding_window is {window!r:.80}; expected a positive integer or null")
    if architecture.window == "all":
        return {"sliding_window": window}
    used = content.get("use_sliding_window", False)
    if type(used) is not bool:
        raise ValueError(f"{path}: use_sliding_window is {used!r:.80}; expected true or false")
    kinds = content.get("layer_types")
    if kinds is None:
        sliding = _usual_windows(content, architecture, layers, fields, path) if used and window is not None else ()
    else:
        valid = isinstance(kinds, list) and len(kinds) >= layers and all(kind in (_FULL, _SLIDING) for kind in kinds)
        if not valid:
            raise ValueError(
                f"{path}: layer_types is {kinds!r:.80}; expected a list of {_FULL!r} and {_SLIDING!r} for {layers} "
                "layers"
            )
        sliding = tuple(layer for layer in range(layers) if kinds[layer] == _SLIDING)
    if not sliding:
        return {}
    if not used or window is None:
        raise ValueError(
            f"{path}: layer_types has {_SLIDING!r} with use_sliding_window = {used} and sliding_window = {window}"
        )
    return {"sliding_window": window, "sliding_layers": sliding}


def _usual_windows(
    content: Mapping[str, Any], architecture: Architecture, layers: int, fields: Mapping[str, Any], path: Path
) -> tuple[int, ...]:
    """The layers with a sliding window where the field layer_types is missing."""
    if architecture.window == "unrotated":
        unrotated: tuple[int, ...] = fields["layers_without_rope"]
        return unrotated
    first = content.get("max_window_layers", architecture.default("max_window_layers"))
    if type(first) is not int:
        raise ValueError(f"{path}: max_window_layers is {first!r:.80}; expected an integer")
    return tuple(layer for layer in range(layers) if layer >= first)
