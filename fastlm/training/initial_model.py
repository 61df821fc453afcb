"""The model that a run starts from: a folder of fastlm, a folder of transformers, or a file of llama2.c."""

from __future__ import annotations

import errno
import os
from dataclasses import fields
from pathlib import Path

import torch

from fastlm.formats import native
from fastlm.model import files, hf
from fastlm.model.attention import MultiHeadSelfAttention
from fastlm.model.config import ModelConfig
from fastlm.model.files import load_model
from fastlm.model.hf import import_llama
from fastlm.model.llama2c import import_llama2c
from fastlm.model.transformer import TransformerLM, rope_of
from fastlm.tokenizer import Tokenizer
from fastlm.tokenizer_files import load


def load_initial_model(source: str | os.PathLike[str]) -> TransformerLM:
    """Loads a model in float32 to main memory.

    Args:
        source: A folder of fastlm or of transformers, or a .bin file of llama2.c.

    Returns:
        The model.

    Raises:
        OSError: A file cannot be read.
        ValueError: The source holds no model that fastlm computes.
    """
    path = Path(source)
    if not path.is_dir():
        return import_llama2c(path, dtype=torch.float32)
    if (path / files.CONFIG).exists():
        return load_model(path, dtype=torch.float32)
    if (path / hf.CONFIG).exists():
        return import_llama(path, dtype=torch.float32)
    raise FileNotFoundError(errno.ENOENT, f"No {files.CONFIG} or {hf.CONFIG} in the folder of init_from", str(path))


def initial_model(source: str, config: ModelConfig) -> TransformerLM:
    """Loads a model, and changes its context length to that of a configuration.

    Raises:
        OSError: A file cannot be read.
        ValueError: The model differs from the configuration in another field.
    """
    model = load_initial_model(source)
    # None and the number that it means are equal
    numbers = {"num_kv_heads": "kv_heads", "d_head": "head_width"}
    for field in fields(ModelConfig):
        name = numbers.get(field.name, field.name)
        found, expected = getattr(model.config, name), getattr(config, name)
        if field.name != "context_length" and found != expected:
            raise ValueError(f"init_from is {source!r}, a model with {field.name} {found!r}; [model] has {expected!r}")
    model.config = config
    rope = rope_of(config, None, model.lm_head.weight.dtype)
    for module in model.modules():
        if isinstance(module, MultiHeadSelfAttention):
            module.rope = rope
    return model


def initial_tokenizer(source: str) -> Tokenizer | None:
    """Loads the tokenizer in a folder of fastlm, if there is one."""
    path = Path(source) / native.FILE
    return load(path) if path.exists() else None
