"""A model as a folder: model.safetensors, with the names of the state dict, and model.json, the configuration.

A change of either file is found when the folder is read, because the weights have a checksum over both (see weights).
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import torch

from fastlm._arguments import instance_of
from fastlm.files.atomic import write_files
from fastlm.files.reading import read_json
from fastlm.files.remote import Location, fetched, location
from fastlm.formats import native, tokenizer_json
from fastlm.model.config import ModelConfig, SpecialTokenIds
from fastlm.model.layers import Device
from fastlm.model.parameters import parameter_shapes
from fastlm.model.state import unwrapped
from fastlm.model.transformer import TransformerLM, check_model
from fastlm.model.weights import (
    CHECKSUM,
    Description,
    check_checksum,
    check_tables,
    config_from,
    model_of,
    read_weights,
    saved_weights,
    write_weights,
)
from fastlm.tokenizer import Tokenizer

CONFIG = "model.json"
WEIGHTS = "model.safetensors"
VERSION = 1
_SPECIAL = "special_token_ids"


def save_model(model: TransformerLM, directory: str | os.PathLike[str], tokenizer: Tokenizer | None = None) -> None:
    """Writes a model's folder. It replaces files of the same names after all new ones are on disk.

    Args:
        model: A TransformerLM, or the result of torch.compile for one.
        directory: The folder, made if it is missing, or an address such as s3://bucket/name.
        tokenizer: The tokenizer that makes the model's ids. Its fingerprint is written with the weights; by default the
            fingerprint that the model was loaded with. The tokenizer itself is saved by `tokenizer.save`, to the same
            folder if you like.

    Raises:
        OSError: A file cannot be written.
        ValueError: The tokenizer is not the model's, or none is given and the folder holds another one.
        TypeError: The model or the tokenizer is of another type.
    """
    check_model(model)
    fingerprint = checked_fingerprint(model.config, model.tokenizer_fingerprint, tokenizer, "the model")
    if tokenizer is None:
        refuse_other_tokenizer(location(directory), fingerprint)
    weights = saved_weights(unwrapped(model.state_dict()), model.config)
    description = Description(model.config, fingerprint, model.special_token_ids)
    content = {"version": VERSION, "config": model.config.to_dict(), "tokenizer": fingerprint}
    if model.special_token_ids:
        content[_SPECIAL] = model.special_token_ids.to_dict()
    write_files(
        location(directory),
        {
            WEIGHTS: lambda path: write_weights(path, weights, description),
            CONFIG: f"{json.dumps(content, indent=1)}\n".encode(),
        },
    )


def load_model(
    directory: str | os.PathLike[str],
    tokenizer: Tokenizer | None = None,
    *,
    device: Device = None,
    dtype: torch.dtype | None = None,
    mapped: bool = False,
) -> TransformerLM:
    """Loads the model in a folder that `save_model` wrote.

    Args:
        directory: The folder, or its address such as s3://bucket/name.
        tokenizer: The tokenizer that makes the ids. It must be the folder's, where the folder names one.
        device: Device of the parameters.
        dtype: Dtype of the parameters; by default the dtype in which they were saved.
        mapped: Whether weights whose dtype stays the same are the pages of the mapped file, which are read when they
            are needed, and must not change meanwhile. The checksum is then not compared. For a local folder.

    Returns:
        The model, with `tokenizer_fingerprint` and `special_token_ids` of the folder.

    Raises:
        OSError: A file cannot be read.
        ValueError: A file is not as it was saved, or the tokenizer is another. The message names the file, and the
            field or tensor.
    """
    with fetched(location(directory), (CONFIG, WEIGHTS)) as folder:
        return _load_model(folder, tokenizer, device, dtype, mapped)


def _load_model(
    directory: Path, tokenizer: Tokenizer | None, device: Device, dtype: torch.dtype | None, mapped: bool
) -> TransformerLM:
    description = read_description(directory)
    checked_fingerprint(description.config, description.fingerprint, tokenizer, str(directory))
    path = Path(directory) / WEIGHTS
    shapes = parameter_shapes(description.config)
    sources = dict.fromkeys(shapes, path)
    weights, metadata = read_weights(sources, shapes, any_dtype=dtype is not None, mapped=mapped, dtype=dtype)
    if CHECKSUM not in metadata:
        raise ValueError(f"{path}: has no checksum, so fastlm did not write it for {CONFIG}")
    if not mapped:
        check_checksum(path, metadata, weights, description)
    check_tables(Path(directory) / CONFIG, "context_length", description.config, weights)
    return model_of(description, weights, device, dtype)


def refuse_other_tokenizer(directory: Location, fingerprint: str | None) -> None:
    """Checks that a model's folder holds no tokenizer that would be taken for the model's.

    Args:
        directory: The folder to which a model is written without its tokenizer.
        fingerprint: Fingerprint of the model's tokenizer, where it is known.

    Raises:
        ValueError: The folder holds a tokenizer of another fingerprint, or any if the model's is not known.
    """
    readers = (native, tokenizer_json)
    with fetched(directory, [reader.FILE for reader in readers]) as folder:
        for reader in readers:
            if not (folder / reader.FILE).is_file():
                continue
            found = reader.read(folder / reader.FILE).fingerprint
            if found != fingerprint:
                known = "is not known" if fingerprint is None else f"has the fingerprint {fingerprint}"
                raise ValueError(
                    f"{directory / reader.FILE}: has the fingerprint {found}, and the tokenizer of the model to write "
                    f"here {known}; give the tokenizer of the model, or another folder"
                )


def checked_fingerprint(
    config: ModelConfig, fingerprint: str | None, tokenizer: Tokenizer | None, where: str
) -> str | None:
    """Compares a model with a tokenizer.

    Args:
        config: The model's configuration.
        fingerprint: Fingerprint of the model's tokenizer, where it is known.
        tokenizer: The tokenizer to use with the model, if any.
        where: Name of the model for messages.

    Returns:
        The fingerprint of the model's tokenizer, where it is known.

    Raises:
        ValueError: The fingerprints differ, or the tokenizer has more ids than the model.
    """
    if tokenizer is None:
        return fingerprint
    vocabulary = instance_of(tokenizer, Tokenizer, "tokenizer").vocabulary
    if fingerprint is not None and fingerprint != vocabulary.fingerprint:
        raise ValueError(
            f"{where} was trained with the tokenizer of fingerprint {fingerprint}; "
            f"the one given has {vocabulary.fingerprint}"
        )
    if len(vocabulary) > config.vocab_size:
        raise ValueError(f"{where} knows {config.vocab_size} ids; the tokenizer has {len(vocabulary)}")
    return vocabulary.fingerprint


def read_description(directory: str | os.PathLike[str]) -> Description:
    """Reads model.json.

    Raises:
        OSError: The file cannot be read.
        ValueError: The file does not describe a model. The message names the file and the field.
    """
    path = Path(directory) / CONFIG
    content: Any = read_json(path)
    if not isinstance(content, dict) or content.keys() - {_SPECIAL} != {"version", "config", "tokenizer"}:
        raise ValueError(f"{path}: expected an object of version, config and tokenizer")
    if content["version"] != VERSION:
        raise ValueError(f"{path}: version is {content['version']!r}; expected {VERSION}")
    fields, fingerprint = content["config"], content["tokenizer"]
    if not isinstance(fields, dict):
        raise ValueError(f"{path}: config is {fields!r:.80}; expected an object")
    if fingerprint is not None and not isinstance(fingerprint, str):
        raise ValueError(f"{path}: tokenizer is {fingerprint!r:.80}; expected a fingerprint or null")
    config = config_from(path, fields)
    if _SPECIAL not in content:
        return Description(config, fingerprint)
    try:
        return Description(config, fingerprint, SpecialTokenIds.from_dict(content[_SPECIAL], config.vocab_size))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from None
