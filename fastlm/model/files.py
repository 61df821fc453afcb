"""A model as a folder: model.safetensors, whose names are those of the state dict, and model.json, its configuration.

What reads it finds any change of either file: the weights carry a checksum over both (see weights).
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from fastlm.files.atomic import write_files
from fastlm.files.reading import read_json
from fastlm.model.config import ModelConfig
from fastlm.model.layers import Device
from fastlm.model.parameters import parameter_shapes
from fastlm.model.state import unwrapped
from fastlm.model.transformer import TransformerLM
from fastlm.model.weights import (
    CHECKSUM,
    check_checksum,
    config_from,
    kept_weights,
    model_of,
    read_weights,
    write_weights,
)

if TYPE_CHECKING:
    from fastlm.tokenizer import Tokenizer

CONFIG = "model.json"
WEIGHTS = "model.safetensors"
VERSION = 1


def save_model(model: TransformerLM, directory: str | os.PathLike[str], tokenizer: Tokenizer | None = None) -> None:
    """Writes a model's folder; files of that name are replaced, and both are on disk before the first is.

    Args:
        model: A TransformerLM, or what torch.compile made of one.
        directory: The folder, made where it is missing.
        tokenizer: What makes the ids of the model; its fingerprint goes with the weights, that which the model was
            loaded with where it is None. The tokenizer itself is saved by `tokenizer.save`, to the same folder if you
            like.

    Raises OSError where a file cannot be written, ValueError for a tokenizer that is not the model's.
    """
    fingerprint = checked_fingerprint(model.config, model.tokenizer_fingerprint, tokenizer, "the model")
    weights = kept_weights(unwrapped(model.state_dict()), model.config)
    description = {"version": VERSION, "config": model.config.to_dict(), "tokenizer": fingerprint}
    write_files(
        Path(directory),
        {
            WEIGHTS: lambda path: write_weights(path, weights, model.config, fingerprint),
            CONFIG: f"{json.dumps(description, indent=1)}\n".encode(),
        },
    )


def load_model(
    directory: str | os.PathLike[str],
    tokenizer: Tokenizer | None = None,
    *,
    device: Device = None,
    dtype: torch.dtype | None = None,
) -> TransformerLM:
    """The model in a folder that `save_model` wrote.

    Args:
        directory: The folder.
        tokenizer: What makes the ids; it must be that of the folder, where the folder names one.
        device: Where the parameters lie.
        dtype: Type of the parameters; the one in which they were saved where it is None.

    Raises OSError for a file that cannot be read, ValueError that names the file, and the field or tensor, for
    anything that is not as it was saved.
    """
    config, fingerprint = _described(Path(directory) / CONFIG)
    checked_fingerprint(config, fingerprint, tokenizer, str(directory))
    path = Path(directory) / WEIGHTS
    shapes = parameter_shapes(config)
    weights, metadata = read_weights(dict.fromkeys(shapes, path), shapes, dtype)
    if CHECKSUM not in metadata:
        raise ValueError(f"{path}: has no checksum, so fastlm did not write it for {CONFIG}")
    check_checksum(path, metadata, weights, config, fingerprint)
    model = model_of(config, weights, device, dtype)
    model.tokenizer_fingerprint = fingerprint
    return model


def checked_fingerprint(
    config: ModelConfig, fingerprint: str | None, tokenizer: Tokenizer | None, where: str
) -> str | None:
    """The fingerprint of the tokenizer of a model, which names `fingerprint` where it knows it.

    Raises ValueError where that is not the given tokenizer's, or the model does not know all of its ids.
    """
    if tokenizer is None:
        return fingerprint
    vocabulary = tokenizer.vocabulary
    if fingerprint is not None and fingerprint != vocabulary.fingerprint:
        raise ValueError(
            f"{where} was trained with the tokenizer of fingerprint {fingerprint}; "
            f"the one given has {vocabulary.fingerprint}"
        )
    if len(vocabulary) > config.vocab_size:
        raise ValueError(f"{where} knows {config.vocab_size} ids; the tokenizer has {len(vocabulary)}")
    return vocabulary.fingerprint


def _described(path: Path) -> tuple[ModelConfig, str | None]:
    content: Any = read_json(path)
    if not isinstance(content, dict) or content.keys() != {"version", "config", "tokenizer"}:
        raise ValueError(f"{path}: expected an object of version, config and tokenizer")
    if content["version"] != VERSION:
        raise ValueError(f"{path}: version is {content['version']!r}; expected {VERSION}")
    config, fingerprint = content["config"], content["tokenizer"]
    if not isinstance(config, dict):
        raise ValueError(f"{path}: config is {config!r:.80}; expected an object")
    if fingerprint is not None and not isinstance(fingerprint, str):
        raise ValueError(f"{path}: tokenizer is {fingerprint!r:.80}; expected a fingerprint or null")
    return config_from(path, config), fingerprint
