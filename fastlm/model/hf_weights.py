"""Weights of transformers' folders: names, joined matrices, and the files that hold them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from fastlm.files.reading import read_json
from fastlm.model.config import ModelConfig
from fastlm.model.hf_architectures import Architecture
from fastlm.model.parameters import parameter_shapes
from fastlm.model.weights import Shape, read_weights

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
LM_HEAD, EMBEDDING = "lm_head.weight", "model.embed_tokens.weight"
# weights in forms that execute code when they are read, or that fastlm cannot read
_OTHER_WEIGHTS = ("pytorch_model*.bin", "*.pth", "*.pt", "*.ckpt", "*.gguf", "*.h5", "*.msgpack", "*.npz")
_PICKLES = (".bin", ".pth", ".pt", ".ckpt")


def foreign_weights(weights: Mapping[str, Tensor], architecture: Architecture) -> dict[str, Tensor]:
    """Renames weights to transformers' names, and joins the matrices that it joins."""
    joined = {
        name: [weights[part] for part in parts]
        for name, parts in _parts(dict.fromkeys(weights, ()), architecture).items()
    }
    return {name: parts[0] if len(parts) == 1 else torch.cat(parts) for name, parts in joined.items()}


def own_weights(
    weights: dict[str, Tensor], config: ModelConfig, architecture: Architecture, *, mapped: bool = False
) -> dict[str, Tensor]:
    """Renames and splits weights of transformers, which are removed from their dictionary one by one.

    Parts of mapped weights stay where they are.
    """
    shapes = parameter_shapes(config)
    found: dict[str, Tensor] = {}
    for name, parts in _parts(shapes, architecture).items():
        weight = weights.pop(name)
        if len(parts) == 1:
            found[parts[0]] = weight
            continue
        rows = [shapes[part][0] for part in parts]
        for part, rows_of in zip(parts, torch.split(weight, rows), strict=True):
            found[part] = rows_of if mapped else rows_of.clone()
    return found


def read_folder(
    directory: Path,
    config: ModelConfig,
    architecture: Architecture,
    *,
    dtype: torch.dtype | None,
    mapped: bool = False,
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Reads the weights of a folder with transformers' names.

    Args:
        directory: The folder, with model.safetensors or with several files and their index.
        config: The configuration.
        architecture: The architecture.
        dtype: The dtype of the model. Without it all weights must have the same.
        mapped: Whether matrices of this dtype are the pages of mapped files.

    Returns:
        The weights, also an output layer that is tied, where a file has one; and the files' metadata.

    Raises:
        OSError: A file cannot be read.
        ValueError: A tensor is missing, unknown or wrong, or the weights are in another form.
    """
    shapes = foreign_shapes(config, architecture)
    tied = {LM_HEAD: shapes[EMBEDDING]} if config.tie_embeddings else {}
    files = _files(directory, shapes, tied)
    return read_weights(
        files,
        shapes,
        optional=tied,
        any_dtype=dtype is not None,
        mapped=mapped,
        dtype=dtype,
        is_ignored=_is_table,
    )


def file_of(directory: Path, name: str) -> Path:
    """The file of a weight in a folder that `read_folder` has read."""
    if (directory / WEIGHTS).exists():
        return directory / WEIGHTS
    file: str = read_json(directory / INDEX)["weight_map"][name]
    return directory / file


def foreign_shapes(config: ModelConfig, architecture: Architecture) -> dict[str, Shape]:
    """The shape of each tensor in a folder of transformers, without a tied output layer."""
    shapes = parameter_shapes(config)
    found: dict[str, Shape] = {}
    for name, parts in _parts(shapes, architecture).items():
        found[name] = (sum(shapes[part][0] for part in parts), *shapes[parts[0]][1:])
    return found


def _parts(shapes: Mapping[str, Shape], architecture: Architecture) -> dict[str, list[str]]:
    """The weights that each tensor of transformers holds, in the order of its rows."""
    parts: dict[str, list[str]] = {}
    # q, k, v and w1, w3 are the order of both, though w2 is between the last two
    for name in shapes:
        parts.setdefault(architecture.foreign_name(name), []).append(name)
    return parts


def _is_table(name: str) -> bool:
    """Whether a tensor is a table of positions, which transformers computes itself."""
    return name.endswith(".rotary_emb.inv_freq")


def _files(directory: Path, shapes: Mapping[str, Shape], optional: Mapping[str, Shape]) -> dict[str, Path]:
    """The file of each weight."""
    if (directory / WEIGHTS).exists() or not (directory / INDEX).exists():
        _refuse_other_weights(directory)
        return dict.fromkeys(shapes, directory / WEIGHTS)
    path = directory / INDEX
    content = read_json(path)
    files = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(files, dict):
        raise ValueError(f"{path}: expected an object with an object weight_map")
    if missing := [name for name in shapes if name not in files]:
        raise ValueError(f"{path}: tensor {missing[0]!r} is missing")
    known = {**shapes, **optional}
    for name, file in files.items():
        if name not in known and not _is_table(name):
            raise ValueError(f"{path}: tensor {name!r} belongs to nothing in this model")
        if not isinstance(file, str) or Path(file).name != file or not file.endswith(".safetensors"):
            raise ValueError(f"{path}: tensor {name!r} is in {file!r:.80}; expected the name of a safetensors file")
    return {name: directory / files[name] for name in known if name in files}


def _refuse_other_weights(directory: Path) -> None:
    """Names a file of weights in another form, where model.safetensors is missing."""
    if (directory / WEIGHTS).exists():
        return
    for pattern in _OTHER_WEIGHTS:
        for path in sorted(directory.glob(pattern)):
            reason = "; this one is a pickle, which can execute code when it is read" if path.suffix in _PICKLES else ""
            raise ValueError(
                f"{path}: fastlm reads weights from safetensors files only{reason}; load the folder with transformers "
                f"and write it again by save_pretrained, which makes {WEIGHTS}"
            )
