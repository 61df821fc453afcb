"""Folders of Hugging Face transformers: config.json, safetensors files, and the tokenizer's files.

A folder is imported only if transformers computes the logits that a TransformerLM computes. Anything else is refused by
name. `hf_architectures` lists the architectures.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from fastlm.files.atomic import write_files
from fastlm.files.reading import read_json
from fastlm.files.remote import location
from fastlm.formats import tokenizer_json, transformers_config
from fastlm.model.config import ModelConfig, SpecialTokenIds
from fastlm.model.files import checked_fingerprint, refuse_other_tokenizer
from fastlm.model.hf_architectures import Architecture
from fastlm.model.hf_config import architecture_of, normalized, read_config, written_config
from fastlm.model.hf_weights import EMBEDDING, LM_HEAD, WEIGHTS, foreign_weights, own_weights, read_folder
from fastlm.model.layers import Device
from fastlm.model.special_ids import exported_ids
from fastlm.model.state import to_layout, unwrapped
from fastlm.model.transformer import TransformerLM, check_model
from fastlm.model.weights import (
    CHECKSUM,
    TOKENIZER,
    Description,
    check_checksum,
    check_tables,
    model_of,
    saved_weights,
    write_weights,
)

if TYPE_CHECKING:
    from fastlm.tokenizer import Tokenizer

CONFIG = "config.json"
GENERATION = "generation_config.json"
# transformers keeps a field that it does not know
FINGERPRINT = "fastlm_tokenizer_fingerprint"

_SPECIAL_IDS = ("bos_token_id", "eos_token_id", "pad_token_id")
_DTYPES = {str(dtype).removeprefix("torch."): dtype for dtype in (torch.float64, torch.float32, torch.float16)}
_DTYPES |= {"bfloat16": torch.bfloat16, "float": torch.float32, "double": torch.float64, "half": torch.float16}


def export_llama(
    model: TransformerLM,
    directory: str | os.PathLike[str],
    tokenizer: Tokenizer | None = None,
    *,
    architecture: str | None = None,
) -> None:
    """Writes a folder that transformers loads, as a LlamaForCausalLM or a relative, with the logits of the model.

    Weights of interleaved rotary positions are reordered. With a tokenizer, tokenizer.json and tokenizer_config.json
    are written, which AutoTokenizer loads with the same ids. The ids that begin and end a text and pad a batch are the
    model's; where the model has none that ends a text, the tokenizer's. Files of these names are replaced after all new
    ones are on disk; config.json is the last.

    Args:
        model: A TransformerLM, or the result of torch.compile for one.
        directory: The folder, made if it is missing.
        tokenizer: The tokenizer that makes the ids. It must be the model's, where the model knows its tokenizer.
        architecture: The model_type of transformers to write; by default the first of `hf_architectures` that expresses
            the model.

    Raises:
        OSError: A file cannot be written.
        ValueError: The architecture, or none of them, expresses the model; the tokenizer is not the model's;
            tokenizer.json cannot represent it; or none is given and the folder holds another one.
    """
    check_model(model)
    target = architecture_of(model.config, architecture)
    fingerprint = checked_fingerprint(model.config, model.tokenizer_fingerprint, tokenizer, "the model")
    if tokenizer is None:
        refuse_other_tokenizer(location(directory), fingerprint)
    config = normalized(model.config)
    weights = saved_weights(
        to_layout(unwrapped(model.state_dict()), model.config, model.config.rope_layout, "half"), config
    )
    weights = foreign_weights(weights, target)
    special = exported_ids(model.special_token_ids, tokenizer)
    eos = special.eos[0] if len(special.eos) == 1 else list(special.eos) or None
    ids = {"bos_token_id": special.bos, "eos_token_id": eos, "pad_token_id": special.pad}
    dtype = str(next(iter(weights.values())).dtype).removeprefix("torch.")
    files: dict[str, bytes | Callable[[Path], None]] = {
        WEIGHTS: lambda path: write_weights(path, weights, Description(config, fingerprint)),
        GENERATION: _json(ids),
    }
    if tokenizer is not None:
        files |= tokenizer_json.write(tokenizer.vocabulary)
        end = special.eos[0] if special.eos else None
        length = config.context_length
        content = transformers_config.content(tokenizer.vocabulary, special.bos, end, special.pad, length)
        files[transformers_config.FILE] = content
    files[CONFIG] = _json(_config_json(config, target, dtype, fingerprint) | ids)
    write_files(location(directory), files)


def import_llama(
    directory: str | os.PathLike[str],
    tokenizer: Tokenizer | None = None,
    *,
    device: Device = None,
    dtype: torch.dtype | None = None,
    mapped: bool = False,
) -> TransformerLM:
    """Loads the model in a folder of transformers, with one file of weights or several with an index.

    Args:
        directory: The folder.
        tokenizer: The tokenizer that makes the ids. Where `export_llama` wrote the folder, it must be the folder's, and
            without it the folder's tokenizer.json must be the one that was exported.
        device: Device of the parameters.
        dtype: Dtype of the parameters. By default the files' common dtype, or, where weights have several, the dtype
            that config.json names, which is the one that transformers computes with.
        mapped: Whether weights whose dtype stays the same are the pages of the mapped files, which are read when they
            are needed, and must not change meanwhile. A checksum of `export_llama` is then not compared.

    Returns:
        The model, with the special token ids of generation_config.json or config.json.

    Raises:
        OSError: A file cannot be read.
        ValueError: The folder holds a model of another architecture, or one that is computed in another way. The
            message names the file, the field or tensor, what was found and what was expected.
    """
    directory = Path(directory)
    path = directory / CONFIG
    content = _read_object(path)
    config, architecture = read_config(content, path)
    special = _special_ids(content, directory, architecture, config.vocab_size)
    fingerprint = content.get(FINGERPRINT)
    if fingerprint is not None and not isinstance(fingerprint, str):
        raise ValueError(f"{path}: {FINGERPRINT} is {fingerprint!r:.80}; expected a string")
    checked = checked_fingerprint(config, fingerprint, tokenizer, str(directory))
    if tokenizer is None and fingerprint is not None and (directory / tokenizer_json.FILE).exists():
        _check_tokenizer_file(directory / tokenizer_json.FILE, fingerprint)
    dtype = _config_dtype(content, path) if dtype is None else dtype
    weights, metadata = _read(directory, config, architecture, dtype, mapped)
    if metadata.get(TOKENIZER, fingerprint) != fingerprint:
        raise ValueError(f"{path}: {FINGERPRINT} is {fingerprint}; {WEIGHTS} says {metadata[TOKENIZER]}")
    if CHECKSUM in metadata and not mapped:
        check_checksum(directory / WEIGHTS, metadata, weights, Description(config, fingerprint))
    check_tables(path, "max_position_embeddings", config, weights)
    own = own_weights(weights, config, architecture, mapped=mapped)
    return model_of(Description(config, checked, special), own, device, dtype)


def _read(
    directory: Path, config: ModelConfig, architecture: Architecture, dtype: torch.dtype | None, mapped: bool
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The weights of a folder, and the files' metadata. A tied output layer in a file must equal the embedding."""
    weights, metadata = read_folder(directory, config, architecture, dtype=dtype, mapped=mapped)
    if config.tie_embeddings and (head := weights.pop(LM_HEAD, None)) is not None:
        kept = dtype or head.dtype
        if not torch.equal(head.to(kept), weights[EMBEDDING].to(kept)):
            raise ValueError(
                f"{directory}: tensor {LM_HEAD!r} differs from {EMBEDDING!r}, though tie_word_embeddings is true"
            )
    return weights, metadata


def _json(content: Mapping[str, Any]) -> bytes:
    return f"{json.dumps(content, indent=2, ensure_ascii=False)}\n".encode()


def _read_object(path: Path) -> dict[str, Any]:
    content = read_json(path)
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected an object")
    return content


def _config_json(
    config: ModelConfig, architecture: Architecture, dtype: str, fingerprint: str | None
) -> dict[str, Any]:
    """The content of config.json without special token ids."""
    content = written_config(config, architecture, dtype)
    return content if fingerprint is None else {**content, FINGERPRINT: fingerprint}


def _special_ids(
    content: Mapping[str, Any], directory: Path, architecture: Architecture, vocab_size: int
) -> SpecialTokenIds:
    """The ids that generation_config.json names, else the ids of config.json, else transformers' defaults.

    Ids that the model lacks are dropped, since it can never produce them; -1 is a usual way to say none.
    """
    generation = _read_object(directory / GENERATION) if (directory / GENERATION).exists() else {}
    found: dict[str, tuple[int, ...]] = {}
    for name, default in zip(_SPECIAL_IDS, architecture.special_ids, strict=True):
        file = directory / (GENERATION if name in generation else CONFIG)
        value = generation[name] if name in generation else content.get(name, default)
        several = value if isinstance(value, list) else [] if value is None else [value]
        if any(type(token_id) is not int for token_id in several):
            raise ValueError(f"{file}: {name} is {value!r:.80}; expected an integer, a list of integers, or null")
        found[name] = tuple(token_id for token_id in several if 0 <= token_id < vocab_size)
    bos, pad = (next(iter(found[name]), None) for name in ("bos_token_id", "pad_token_id"))
    return SpecialTokenIds(bos, found["eos_token_id"], pad)


def _config_dtype(content: Mapping[str, Any], path: Path) -> torch.dtype | None:
    """The dtype that config.json names, if any, under its name before or since transformers 5."""
    name = content.get("dtype", content.get("torch_dtype"))
    if name is None:
        return None
    if not isinstance(name, str) or (dtype := _DTYPES.get(name.removeprefix("torch."))) is None:
        raise ValueError(f"{path}: dtype is {name!r:.80}; expected one of {', '.join(_DTYPES)}")
    return dtype


def _check_tokenizer_file(path: Path, fingerprint: str) -> None:
    found = tokenizer_json.read(path).fingerprint
    if found != fingerprint:
        raise ValueError(f"{path}: has the fingerprint {found}; the weights were trained with {fingerprint}")
