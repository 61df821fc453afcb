"""Weights in safetensors files (https://github.com/huggingface/safetensors), checked before any of them is used.

Files that fastlm writes carry, in their metadata, the fingerprint of the tokenizer that made the ids the weights were
trained on, and a checksum over configuration, fingerprint, and the names, types, shapes and bytes of all tensors.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from fastlm.model.attention import MultiHeadSelfAttention
from fastlm.model.config import ModelConfig
from fastlm.model.layers import Device
from fastlm.model.parameters import parameter_shapes
from fastlm.model.rope import RotaryPositionalEmbedding
from fastlm.model.transformer import TransformerLM

Shape = tuple[int, ...]

CHECKSUM = "fastlm.sha256"
TOKENIZER = "fastlm.tokenizer"
TYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
# the header of a safetensors file is at most 100 MB: no file holds the names of more layers
MOST_LAYERS = 1 << 17


def config_from(path: Path, fields: Mapping[str, Any]) -> ModelConfig:
    """The configuration that a file gives. Raises ValueError naming the file, the field and what was expected."""
    try:
        config = ModelConfig.from_dict(fields)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    if config.num_layers > MOST_LAYERS:
        raise ValueError(f"{path}: num_layers is {config.num_layers}; a file of weights holds at most {MOST_LAYERS}")
    return config


def kept_weights(state: Mapping[str, Tensor], config: ModelConfig) -> dict[str, Tensor]:
    """The weights of a state dict that a file keeps, in main memory. Raises ValueError where their types differ."""
    kept = {name: state[name].detach().cpu().contiguous() for name in parameter_shapes(config)}
    _common_type({name: weight.dtype for name, weight in kept.items()}, "the model")
    return kept


def write_weights(path: Path, weights: Mapping[str, Tensor], config: ModelConfig, fingerprint: str | None) -> None:
    """Writes a safetensors file of weights in main memory. Raises OSError."""
    metadata = {"format": "pt", CHECKSUM: _checksum(weights, config, fingerprint)}
    if fingerprint is not None:
        metadata[TOKENIZER] = fingerprint
    try:
        save_file(dict(weights), path, metadata)
    except SafetensorError as error:
        raise OSError(f"{path}: {error}") from None


def read_weights(
    locations: Mapping[str, Path], shapes: Mapping[str, Shape], dtype: torch.dtype | None
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Weights from safetensors files, as they lie there, and the files' metadata.

    Args:
        locations: The file of each weight.
        shapes: The weights expected.
        dtype: The type that weights will be brought to; where it is None all must be of one.

    Nothing is read before names, shapes and types of all are known to be as expected. Raises OSError, or ValueError
    naming the file, the tensor, what was found and what was expected.
    """
    metadata: dict[str, str] = {}
    weights: dict[str, Tensor] = {}
    with contextlib.ExitStack() as stack:
        files = {path: stack.enter_context(_opened(path)) for path in dict.fromkeys(locations.values())}
        types: dict[str, torch.dtype] = {}
        for path, file in files.items():
            types |= _checked_types(path, file, {name for name in locations if locations[name] == path}, shapes)
            metadata |= file.metadata() or {}
        if dtype is None:
            _common_type(types, ", ".join(map(str, files)))
        for name in shapes:
            # a copy: pages of the file would change with it
            weights[name] = files[locations[name]].get_tensor(name).clone()
    return weights, metadata


def check_checksum(
    path: Path, metadata: Mapping[str, str], weights: Mapping[str, Tensor], config: ModelConfig, fingerprint: str | None
) -> None:
    """Raises ValueError where weights, configuration or fingerprint are not those that were written."""
    if metadata[CHECKSUM] != _checksum(weights, config, fingerprint):
        raise ValueError(
            f"{path}: the checksum does not match: the file, or the configuration beside it, was changed after it was "
            "written"
        )


def model_of(
    config: ModelConfig, weights: Mapping[str, Tensor], device: Device = None, dtype: torch.dtype | None = None
) -> TransformerLM:
    """A model that has these weights; no random number is drawn."""
    state = {name: weight.to(device=device, dtype=dtype) for name, weight in weights.items()}
    model = TransformerLM.from_config(config, device="meta")
    if config.rope_theta is not None:
        rope = RotaryPositionalEmbedding(
            config.rope_theta, config.head_width, config.context_length, device, layout=config.rope_layout
        )
        for module in model.modules():
            if isinstance(module, MultiHeadSelfAttention):
                module.rope = rope
    if config.tie_embeddings:
        state["lm_head.weight"] = state["token_embeddings.weight"]
    model.load_state_dict(state, assign=True)
    if config.tie_embeddings:
        model.token_embeddings.weight = model.lm_head.weight
    return model


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except SafetensorError as error:
        raise ValueError(f"{path}: not a safetensors file that can be read: {error}") from None


def _checked_types(path: Path, file: Any, names: set[str], shapes: Mapping[str, Shape]) -> dict[str, torch.dtype]:
    found = set(file.keys())
    if missing := sorted(names - found):
        raise ValueError(f"{path}: tensor {missing[0]!r} is missing; it holds {len(found)}, expected {len(names)}")
    if unknown := sorted(found - names):
        raise ValueError(f"{path}: tensor {unknown[0]!r} belongs to nothing in this model")
    types = {}
    for name in sorted(names):
        tensor = file.get_slice(name)
        if tuple(tensor.get_shape()) != shapes[name]:
            raise ValueError(f"{path}: tensor {name!r} has the shape {tensor.get_shape()}; expected {[*shapes[name]]}")
        if tensor.get_dtype() not in TYPES:
            raise ValueError(f"{path}: tensor {name!r} is of {tensor.get_dtype()}; expected one of {', '.join(TYPES)}")
        types[name] = TYPES[tensor.get_dtype()]
    return types


def _common_type(types: Mapping[str, torch.dtype], where: str) -> None:
    first, expected = next(iter(types.items()))
    for name, dtype in types.items():
        if dtype != expected:
            raise ValueError(f"{where}: {name!r} is of {dtype}, {first!r} of {expected}; expected one type for all")


def _checksum(weights: Mapping[str, Tensor], config: ModelConfig, fingerprint: str | None) -> str:
    digest = hashlib.sha256(json.dumps([config.to_dict(), fingerprint], sort_keys=True).encode())
    for name in sorted(weights):
        weight = weights[name]
        digest.update(json.dumps([name, str(weight.dtype), [*weight.shape]]).encode())
        digest.update(weight.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
