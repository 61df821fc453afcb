"""Weights in safetensors files, checked before any of them is used.

Files that fastlm writes have two entries in their metadata: the fingerprint of the tokenizer whose ids the weights were
trained on, and a checksum over the description of the model and the names, dtypes, shapes and bytes of all tensors.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from fastlm.model.attention import MultiHeadSelfAttention
from fastlm.model.config import NO_IDS, ModelConfig, SpecialTokenIds
from fastlm.model.layers import Device, check_device
from fastlm.model.parameters import parameter_shapes
from fastlm.model.safetensors_file import mapped_tensors, tensor_bytes, write_safetensors
from fastlm.model.transformer import TransformerLM, rope_of

Shape = tuple[int, ...]

CHECKSUM = "fastlm.sha256"
TOKENIZER = "fastlm.tokenizer"
DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
# the header of a safetensors file has at most 100 MB, which bounds the number of names in it
MAX_LAYERS = 1 << 17
# the tables of positions of a small model may take this many bytes: 131,072 positions of heads 64 wide
MAX_TABLE_BYTES = 1 << 25
# bytes to which weights in memory are aligned: a cache line
_ALIGNMENT = 64


@dataclass(frozen=True)
class Description:
    """A model without its weights: configuration, fingerprint of the tokenizer, special token ids."""

    config: ModelConfig
    fingerprint: str | None = None
    special_token_ids: SpecialTokenIds = NO_IDS

    def digest_text(self) -> bytes:
        """The text that a checksum covers."""
        covered: list[Any] = [self.config.to_dict(), self.fingerprint]
        if self.special_token_ids:
            covered.append(self.special_token_ids.to_dict())
        return json.dumps(covered, sort_keys=True).encode()


def config_from(path: Path, fields: Mapping[str, Any]) -> ModelConfig:
    """Makes a configuration from the fields of a file; ValueError naming the file, the field and the expected value."""
    try:
        config = ModelConfig.from_dict(fields)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    if config.num_layers > MAX_LAYERS:
        raise ValueError(f"{path}: num_layers is {config.num_layers}; a file of weights holds at most {MAX_LAYERS}")
    return config


def saved_weights(state: Mapping[str, Tensor], config: ModelConfig) -> dict[str, Tensor]:
    """Takes the weights that a file stores from a state dict, to main memory; ValueError where their dtypes differ."""
    saved = {name: state[name].detach().cpu().contiguous() for name in parameter_shapes(config)}
    _check_common_dtype({name: weight.dtype for name, weight in saved.items()}, "the model")
    return saved


def write_weights(path: Path, weights: Mapping[str, Tensor], description: Description) -> None:
    """Writes a safetensors file of weights in main memory into a file that exists.

    Raises:
        OSError: The file cannot be written.
    """
    metadata = {"format": "pt", CHECKSUM: _checksum(weights, description)}
    if description.fingerprint is not None:
        metadata[TOKENIZER] = description.fingerprint
    with open(path, "r+b") as file:
        write_safetensors(file, weights, metadata)


def read_weights(
    files: Mapping[str, Path],
    shapes: Mapping[str, Shape],
    *,
    optional: Mapping[str, Shape] | None = None,
    any_dtype: bool = False,
    mapped: bool = False,
    dtype: torch.dtype | None = None,
    is_ignored: Callable[[str], bool] = lambda name: False,
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Reads weights from safetensors files, after the names, shapes and dtypes of all are known to be as expected.

    Args:
        files: The file of each weight.
        shapes: Shapes of the required weights.
        optional: Shapes of weights that are read where a file has them.
        any_dtype: Whether weights may have several dtypes.
        mapped: Whether matrices are the pages of mapped files, which must not change while they are in use.
        dtype: With `mapped`, the dtype of the weights that are returned. Weights of another dtype are converted one by
            one, into large memory pages, so that never two copies are in memory.
        is_ignored: Whether a tensor of another name is ignored instead of refused.

    Returns:
        The weights, without `mapped` in the dtypes of the files, and the files' metadata.

    Raises:
        OSError: A file cannot be read.
        ValueError: A tensor is missing, unknown or wrong. The message names the file, the tensor, what was found and
            what was expected.
    """
    metadata: dict[str, str] = {}
    known = {**(optional or {}), **shapes}
    paths: dict[str, Path] = {}
    with contextlib.ExitStack() as stack:
        opened = {path: stack.enter_context(_opened(path)) for path in dict.fromkeys(files.values())}
        dtypes: dict[str, torch.dtype] = {}
        for path, file in opened.items():
            names = {name for name in files if files[name] == path} | ((optional or {}).keys() & set(file.keys()))
            dtypes |= _checked_dtypes(path, file, {name: known[name] for name in names}, is_ignored)
            paths |= dict.fromkeys(sorted(names), path)
            metadata |= file.metadata() or {}
        if not any_dtype:
            _check_common_dtype(dtypes, ", ".join(map(str, opened)))
        if not mapped:
            # copies, because mapped pages would change with the file
            return {name: opened[path].get_tensor(name).clone() for name, path in paths.items()}, metadata
    pages = {path: mapped_tensors(path) for path in opened}
    kept = {name: dtype or dtypes[name] for name in paths}
    weights = {name: pages[path][name] for name, path in paths.items() if kept[name] == dtypes[name]}
    # vectors are copied too, because each would keep 64 kB of the file in memory
    copied = {name: kept[name] for name in paths if name not in weights or weights[name].dim() == 1}
    return weights | _in_large_pages(paths, copied, known), metadata


def _in_large_pages(
    paths: Mapping[str, Path], dtypes: Mapping[str, torch.dtype], shapes: Mapping[str, Shape]
) -> dict[str, Tensor]:
    """Reads and converts weights, with at most one of them in the files' dtype in memory."""
    sizes = {name: math.prod(shapes[name]) * dtype.itemsize for name, dtype in dtypes.items()}
    # in one array, because NumPy asks for large pages for large arrays only; torch does not ask for them
    spaces = [-(-size // _ALIGNMENT) * _ALIGNMENT for size in sizes.values()]
    memory = torch.from_numpy(np.empty(sum(spaces) + _ALIGNMENT, np.uint8))
    first = -memory.data_ptr() % _ALIGNMENT
    starts = dict(zip(sizes, accumulate(spaces, initial=first), strict=False))
    weights = {}
    # the largest first, while little memory is used for the others
    for name in sorted(sizes, key=sizes.__getitem__, reverse=True):
        place = memory[starts[name] : starts[name] + sizes[name]].view(dtypes[name]).view(shapes[name])
        # a mapping of its own, whose pages are given back at once
        with _opened(paths[name]) as file:
            weights[name] = place.copy_(file.get_tensor(name))
    return weights


def check_checksum(
    path: Path, metadata: Mapping[str, str], weights: Mapping[str, Tensor], description: Description
) -> None:
    """Raises ValueError where weights or description are not those that were written."""
    if metadata[CHECKSUM] != _checksum(weights, description):
        raise ValueError(
            f"{path}: the checksum does not match: the weights, or the configuration in the same folder, changed after "
            "they were written"
        )


def check_tables(path: Path, field: str, config: ModelConfig, weights: Mapping[str, Tensor]) -> None:
    """Raises ValueError for a context whose tables of positions would take far more memory than the weights.

    The shapes of weights do not depend on it, so nothing else bounds it.

    Args:
        path: The file that holds the configuration, for messages.
        field: Its name of context_length.
        config: The configuration.
        weights: The weights.
    """
    weight_bytes = sum(weight.nbytes for weight in weights.values())
    table_bytes = 4 * config.context_length * config.head_width
    most = max(MAX_TABLE_BYTES, 2 * weight_bytes)
    if config.rope_theta is not None and table_bytes > most:
        raise ValueError(
            f"{path}: {field} is {config.context_length}; its tables of positions would take {table_bytes} bytes, and "
            f"the weights have {weight_bytes}; expected at most {most // (4 * config.head_width)}"
        )


def model_of(
    description: Description, weights: Mapping[str, Tensor], device: Device = None, dtype: torch.dtype | None = None
) -> TransformerLM:
    """Makes a model with given weights, without drawing a random number. Raises ValueError for an unknown device."""
    check_device(device)
    config = description.config
    state = {name: weight.to(device=device, dtype=dtype) for name, weight in weights.items()}
    model = TransformerLM.from_config(config, device="meta")
    rope = rope_of(config, device, next(iter(state.values())).dtype)
    for module in model.modules():
        if isinstance(module, MultiHeadSelfAttention) and module.rope is not None:
            module.rope = rope
    if config.tie_embeddings:
        state["lm_head.weight"] = state["token_embeddings.weight"]
    model.load_state_dict(state, assign=True, rope_layout=config.rope_layout)
    if config.tie_embeddings:
        model.token_embeddings.weight = model.lm_head.weight
    model.tokenizer_fingerprint = description.fingerprint
    model.special_token_ids = description.special_token_ids
    return model


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except SafetensorError as error:
        raise ValueError(f"{path}: not a safetensors file that can be read: {error}") from None


def _checked_dtypes(
    path: Path, file: Any, shapes: Mapping[str, Shape], is_ignored: Callable[[str], bool]
) -> dict[str, torch.dtype]:
    """Checks names, shapes and dtypes of the tensors of one file; returns the dtypes."""
    found = set(file.keys())
    if missing := sorted(shapes.keys() - found):
        raise ValueError(f"{path}: tensor {missing[0]!r} is missing; it holds {len(found)}, expected {len(shapes)}")
    if unknown := sorted(name for name in found - shapes.keys() if not is_ignored(name)):
        raise ValueError(f"{path}: tensor {unknown[0]!r} belongs to nothing in this model")
    dtypes = {}
    for name in sorted(shapes):
        tensor = file.get_slice(name)
        if tuple(tensor.get_shape()) != shapes[name]:
            raise ValueError(f"{path}: tensor {name!r} has the shape {tensor.get_shape()}; expected {[*shapes[name]]}")
        if tensor.get_dtype() not in DTYPES:
            raise ValueError(f"{path}: tensor {name!r} is of {tensor.get_dtype()}; expected one of {', '.join(DTYPES)}")
        dtypes[name] = DTYPES[tensor.get_dtype()]
    return dtypes


def _check_common_dtype(dtypes: Mapping[str, torch.dtype], where: str) -> None:
    first, expected = next(iter(dtypes.items()))
    for name, dtype in dtypes.items():
        if dtype != expected:
            raise ValueError(f"{where}: {name!r} is of {dtype}, {first!r} of {expected}; expected one type for all")


def _checksum(weights: Mapping[str, Tensor], description: Description) -> str:
    digest = hashlib.sha256(description.digest_text())
    for name in sorted(weights):
        weight = weights[name]
        digest.update(json.dumps([name, str(weight.dtype), [*weight.shape]]).encode())
        digest.update(tensor_bytes(weight))
    return digest.hexdigest()
