"""The fields of config.json that describe rotary positions, in the forms of transformers before 5 and since."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fastlm.model.config import ModelConfig
from fastlm.model.hf_architectures import Architecture
from fastlm.model.rope_scaling import RopeScaling

# transformers' fields of each scaling, and ours; those in the second tuple may be missing
_FIELDS: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    "linear": ({"factor": "factor"}, {}),
    "dynamic": ({"factor": "factor"}, {}),
    "yarn": (
        {"factor": "factor"},
        {
            "attention_factor": "attention_factor",
            "beta_fast": "beta_fast",
            "beta_slow": "beta_slow",
            "truncate": "truncate",
        },
    ),
    "llama3": (
        {"factor": "factor", "low_freq_factor": "low_freq_factor", "high_freq_factor": "high_freq_factor"},
        {},
    ),
}
_ORIGINAL = "original_max_position_embeddings"
_MSCALES = ("mscale", "mscale_all_dim")
_PLAIN = {"rope_theta", "rope_type"}


def positions_of(content: Mapping[str, Any], architecture: Architecture, path: Path) -> dict[str, Any]:
    """The fields of ModelConfig that describe positions.

    Raises:
        ValueError: Positions are computed in another way. The message names the file, the field and the value.
    """
    parameters: dict[str, Any] = {}
    name = "rope_parameters"
    # as in transformers 5, the older field wins where it says something
    for field in ("rope_parameters", "rope_scaling"):
        value = content.get(field)
        if value is not None and not isinstance(value, dict):
            raise ValueError(f"{path}: {field} is {value!r:.80}; expected an object")
        if value:
            value = _with_one_type(value, field, path)
            _agree(parameters, value, path)
            parameters, name = {**parameters, **value}, field
    theta = parameters.get("rope_theta", content.get("rope_theta", architecture.default("rope_theta")))
    if theta is None:
        raise ValueError(f"{path}: rope_theta is None; expected a positive number")
    if content.get("rope_theta", theta) != theta:
        raise ValueError(f"{path}: rope_theta is {content['rope_theta']!r}; rope_parameters says {theta!r}")
    return {"rope_theta": theta, "rope_scaling": _scaling(content, parameters, name, architecture, path)}


def _with_one_type(value: Mapping[str, Any], field: str, path: Path) -> dict[str, Any]:
    """The description with the older name of rope_type replaced."""
    kind = value.get("type", value.get("rope_type", "default"))
    if value.get("rope_type", kind) != kind:
        raise ValueError(f"{path}: {field} has type = {kind!r:.80} and rope_type = {value['rope_type']!r:.80}")
    return {**{key: item for key, item in value.items() if key != "type"}, "rope_type": kind}


def _agree(known: Mapping[str, Any], value: Mapping[str, Any], path: Path) -> None:
    """Refuses two descriptions of positions that differ."""
    for key in known.keys() & value.keys():
        if known[key] != value[key]:
            raise ValueError(
                f"{path}: rope_parameters has {key} = {known[key]!r:.80}; rope_scaling says {value[key]!r:.80}"
            )


def _scaling(
    content: Mapping[str, Any], parameters: dict[str, Any], name: str, architecture: Architecture, path: Path
) -> RopeScaling | None:
    kind = parameters.get("rope_type", "default")
    known = ("default", *architecture.scalings)
    if kind not in known:
        raise ValueError(
            f"{path}: {name} has rope_type = {kind!r:.80}, a scaling of positions that fastlm does not compute "
            f"for {architecture.class_name}; expected {' or '.join(map(repr, known))}"
        )
    required, optional = _FIELDS.get(kind, ({}, {}))
    original = parameters.get(_ORIGINAL)
    if kind in ("yarn", "llama3"):
        # the order of transformers: the field of the model, of the scaling, and the context
        default = content.get("max_position_embeddings", architecture.default("max_position_embeddings"))
        original = content.get(_ORIGINAL, default if original is None else original)
    allowed = _PLAIN | required.keys() | optional.keys() | (set(_MSCALES) if kind == "yarn" else set())
    allowed |= {_ORIGINAL} if kind != "default" else set()
    for key, value in parameters.items():
        if key not in allowed and (key, value) != ("partial_rotary_factor", 1.0):
            raise ValueError(f"{path}: {name} has {key} = {value!r:.80}; expected only {', '.join(sorted(allowed))}")
    if kind == "default":
        return None
    if missing := [key for key in required if parameters.get(key) is None]:
        raise ValueError(f"{path}: {name} has no {missing[0]}, which {kind} scaling needs")
    fields = {ours: parameters[theirs] for theirs, ours in required.items()}
    fields |= {ours: parameters[theirs] for theirs, ours in optional.items() if parameters.get(theirs) is not None}
    if kind in ("linear", "dynamic"):
        original = content.get("max_position_embeddings", architecture.default("max_position_embeddings"))
    try:
        if kind == "yarn":
            fields |= _yarn_attention(parameters, fields)
        return RopeScaling.from_value({"kind": kind, "original_context": original, **fields})
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _yarn_attention(parameters: Mapping[str, Any], fields: Mapping[str, Any]) -> dict[str, float]:
    """The attention factor that mscale and mscale_all_dim say, where no attention factor is given."""
    scales = [parameters.get(name) for name in _MSCALES]
    if "attention_factor" in fields or not all(scales):
        return {}
    # checks the factor and the two scales
    factor = RopeScaling(kind="linear", factor=fields["factor"], original_context=1).factor
    of, to = (RopeScaling(kind="linear", factor=scale, original_context=1).factor for scale in scales)  # type: ignore[arg-type]
    if factor <= 1:
        return {"attention_factor": 1.0}
    logarithm = math.log(factor)
    return {"attention_factor": (0.1 * of * logarithm + 1.0) / (0.1 * to * logarithm + 1.0)}


def written_positions(config: ModelConfig) -> tuple[int, dict[str, Any]]:
    """transformers' context length, and its fields of positions."""
    theta, scaling = config.rope_theta, config.rope_scaling
    # transformers before 5, llama.cpp and others read the first, transformers 5 the second
    if scaling is None:
        rope: dict[str, Any] = {"rope_theta": theta, "rope_parameters": {"rope_type": "default", "rope_theta": theta}}
        return config.context_length, rope
    required, optional = _FIELDS[scaling.kind]
    numbers = {theirs: getattr(scaling, ours) for theirs, ours in {**required, **optional}.items()}
    numbers = {name: value for name, value in numbers.items() if value is not None}
    length = config.context_length
    if scaling.kind in ("linear", "dynamic"):
        length = scaling.original_context
    else:
        numbers[_ORIGINAL] = scaling.original_context
    older = {"rope_type": scaling.kind, **numbers}
    return length, {
        "rope_theta": theta,
        "rope_scaling": older,
        "rope_parameters": {"rope_type": scaling.kind, "rope_theta": theta, **numbers},
    }
