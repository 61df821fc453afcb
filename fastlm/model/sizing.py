"""The size of a model from one number or a name: a preset, a depth, or a number of parameters."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from fastlm.model.config import ModelConfig
from fastlm.model.parameters import num_parameters
from fastlm.model.presets import PRESETS

# fields that give a size as a whole, and the fields of a model that they replace
SIZES = ("preset", "depth", "params")
SIZE_FIELDS = ("d_model", "num_layers", "num_heads", "num_kv_heads", "d_head", "d_ff")
HEAD_WIDTH = 64
DEFAULT_CONTEXT_LENGTH = 512
MOST_DEPTH = 512
_UNITS = {"": 1, "k": 10**3, "M": 10**6, "B": 10**9}


def size_of_depth(depth: int) -> dict[str, int]:
    """The size fields of a model of a depth: d_model is 64 times the depth, with heads of width 64.

    Args:
        depth: Number of layers, from 1 to MOST_DEPTH.

    Returns:
        d_model, num_layers, num_heads, and d_ff, which is 8/3 d_model, rounded up to a multiple of 64.

    Raises:
        ValueError: The depth is no such number.

    >>> size_of_depth(12)
    {'d_model': 768, 'num_layers': 12, 'num_heads': 12, 'd_ff': 2048}
    """
    if type(depth) is not int or not 1 <= depth <= MOST_DEPTH:
        raise ValueError(f"depth is {depth!r}; expected an integer from 1 to {MOST_DEPTH}")
    width = HEAD_WIDTH * depth
    return {"d_model": width, "num_layers": depth, "num_heads": depth, "d_ff": -(-8 * width // (3 * 64)) * 64}


def parse_parameters(value: int | str) -> int:
    """Parses a number of parameters such as 50_000_000, "50M" or "1.5B".

    Raises:
        ValueError: The value is no such number, or is not positive.
    """
    found = re.fullmatch(r"(\d{1,15}(?:\.\d{1,6})?) ?([kMB]?)", str(value))
    if isinstance(value, bool) or found is None or not (count := int(float(found[1]) * _UNITS[found[2]])):
        raise ValueError(f"params is {value!r}; expected a number of parameters, such as 50M or 1.5B")
    return count


def with_size(values: Mapping[str, Any]) -> dict[str, Any]:
    """Replaces `preset`, `depth` or `params` among the fields of a model by the fields that they determine.

    Fields that are given too override these. With `params`, the depth is the one whose model has the nearest number of
    parameters; vocab_size must be given.

    Args:
        values: Fields of ModelConfig, and at most one of SIZES.

    Returns:
        Fields of ModelConfig.

    Raises:
        ValueError: More than one of SIZES is given, one has a wrong value, or `params` has no vocab_size.

    >>> with_size({"depth": 2, "vocab_size": 300})["d_model"]
    128
    """
    given = [name for name in SIZES if name in values]
    rest = {name: value for name, value in values.items() if name not in SIZES}
    if not given:
        return rest
    if len(given) > 1:
        raise ValueError(f"{' and '.join(given)} are given; expected only one of {', '.join(SIZES)}")
    (name,) = given
    value = values[name]
    if name == "preset":
        if not isinstance(value, str) or value not in PRESETS:
            raise ValueError(f"preset is {value!r}; expected one of {', '.join(PRESETS)}")
        return {**PRESETS[value].to_dict(), **rest}
    rest = {"context_length": DEFAULT_CONTEXT_LENGTH, **rest}
    depth = value if name == "depth" else _nearest_depth(parse_parameters(value), rest)
    return {**size_of_depth(depth), **rest}


def _nearest_depth(count: int, values: Mapping[str, Any]) -> int:
    """The depth whose model has the nearest number of parameters."""
    known = {field.name for field in fields(ModelConfig)} - set(SIZE_FIELDS)
    others = {name: value for name, value in values.items() if name in known}
    if "vocab_size" not in others:
        raise ValueError("params needs vocab_size, which neither the model nor the data gives")

    def parameters(depth: int) -> int:
        return num_parameters(ModelConfig.from_dict({**size_of_depth(depth), **others}))

    depth = 1
    while depth < MOST_DEPTH and parameters(depth) < count:
        depth += 1
    return min((candidate for candidate in (depth - 1, depth) if candidate), key=lambda d: abs(parameters(d) - count))
