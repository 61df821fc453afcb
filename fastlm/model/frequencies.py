"""Angles of rotary positions, plain or scaled, in transformers' dtype and order of operations."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from fastlm.model.layers import Device
from fastlm.model.rope_scaling import RopeScaling


def exact_dtype(dtype: torch.dtype | None) -> torch.dtype:
    """The dtype of angles for a model of a dtype: float64 for float64, and float32 for all others, as transformers."""
    return torch.float64 if (dtype or torch.get_default_dtype()) == torch.float64 else torch.float32


def step_tables(
    theta: float, d_k: int, positions: int, scaling: RopeScaling | None, exact: torch.dtype, device: Device
) -> tuple[Tensor, Tensor]:
    """The cosines and sines of tokens that are decoded one by one, (positions, d_k / 2) each.

    The row of position p is for a sequence of p + 1 tokens, on which the angles of dynamic scaling depend.
    """
    if device is not None and torch.device(device).type == "meta":
        # the operations below would import torch's compiler, which takes a second and 75 MB
        shape = (positions, d_k // 2)
        return torch.empty(shape, dtype=exact, device=device), torch.empty(shape, dtype=exact, device=device)
    places = torch.arange(positions, dtype=exact, device=device)[:, None]
    angles = places * frequencies(theta, d_k, scaling, exact, device)
    if scaling is not None and scaling.depends_on_length and positions > scaling.original_context:
        beyond = places[scaling.original_context :]
        angles[scaling.original_context :] = beyond * _dynamic(theta, d_k, scaling, beyond + 1)
    return _tables(angles, scaling)


def sequence_tables(
    theta: float, d_k: int, length: int, scaling: RopeScaling, exact: torch.dtype, device: Device
) -> tuple[Tensor, Tensor]:
    """The cosines and sines of a whole sequence with dynamic scaling, (length, d_k / 2) each."""
    places = torch.arange(length, dtype=exact, device=device)[:, None]
    if length > scaling.original_context:
        found = _dynamic(theta, d_k, scaling, torch.tensor(float(length), dtype=exact, device=device))
    else:
        found = plain_frequencies(theta, d_k, exact, device)
    return _tables(places * found, scaling)


def _tables(angles: Tensor, scaling: RopeScaling | None) -> tuple[Tensor, Tensor]:
    cos, sin = angles.cos(), angles.sin_()
    if scaling is None or scaling.kind != "yarn":
        return cos, sin
    factor = scaling.attention_factor
    if factor is None:
        factor = 0.1 * math.log(scaling.factor) + 1.0 if scaling.factor > 1 else 1.0
    return cos * factor, sin * factor


def _exponents(d_k: int, exact: torch.dtype, device: Device) -> Tensor:
    return torch.arange(0, d_k, 2, dtype=exact, device=device) / d_k


def plain_frequencies(theta: float, d_k: int, exact: torch.dtype, device: Device) -> Tensor:
    """The frequencies without scaling, (d_k / 2)."""
    return 1.0 / (theta ** _exponents(d_k, exact, device))


def _dynamic(theta: float, d_k: int, scaling: RopeScaling, lengths: Tensor) -> Tensor:
    """The frequencies for sequences of lengths beyond the original context; lengths broadcast to (..., d_k / 2)."""
    growth = scaling.factor * lengths / scaling.original_context - (scaling.factor - 1)
    base = theta * growth ** (d_k / (d_k - 2))
    return 1.0 / (base ** _exponents(d_k, lengths.dtype, lengths.device))


def frequencies(theta: float, d_k: int, scaling: RopeScaling | None, exact: torch.dtype, device: Device) -> Tensor:
    """The frequencies of a sequence within the original context of dynamic scaling, (d_k / 2)."""
    plain = plain_frequencies(theta, d_k, exact, device)
    if scaling is None or scaling.kind == "dynamic":
        return plain
    if scaling.kind == "linear":
        return plain / scaling.factor
    if scaling.kind == "yarn":
        return _yarn(theta, d_k, scaling, exact, device)
    return _llama3(plain, scaling)


def _yarn(theta: float, d_k: int, scaling: RopeScaling, exact: torch.dtype, device: Device) -> Tensor:
    def feature_of(rotations: float) -> float:
        """The number of the feature that makes this number of rotations in the original context."""
        return (d_k * math.log(scaling.original_context / (rotations * 2 * math.pi))) / (2 * math.log(theta))

    low, high = feature_of(scaling.beta_fast), feature_of(scaling.beta_slow)
    if scaling.truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, d_k - 1)
    high += 0.001 if low == high else 0
    steps = torch.arange(d_k // 2, dtype=torch.float32, device=device)
    kept = 1 - ((steps - low) / (high - low)).clamp(0, 1).to(exact)
    powers = theta ** _exponents(d_k, exact, device)
    return 1.0 / (scaling.factor * powers) * (1 - kept) + 1.0 / powers * kept


def _llama3(plain: Tensor, scaling: RopeScaling) -> Tensor:
    low, high = scaling.low_freq_factor, scaling.high_freq_factor
    assert low is not None
    assert high is not None
    context, factor = scaling.original_context, scaling.factor
    wavelengths = 2 * math.pi / plain
    divided = torch.where(wavelengths > context / low, plain / factor, plain)
    smooth = (context / wavelengths - low) / (high - low)
    between = ~(wavelengths < context / high) & ~(wavelengths > context / low)
    return torch.where(between, (1 - smooth) * divided / factor + smooth * divided, divided)
