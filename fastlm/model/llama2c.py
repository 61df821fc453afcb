"""Files of karpathy's llama2.c (https://github.com/karpathy/llama2.c): the legacy `.bin` of a model, and tokenizer.bin.

A model: seven int32 (d_model, d_ff, num_layers, num_heads, num_kv_heads, vocab_size, negative where the output layer
has a weight of its own, context_length), then float32: the embedding, each weight of a block for all layers in the
order of _BLOCK, the last norm, cosines and sines of the positions, the output layer if it has its own. A tokenizer: the
length of the longest token, uint32, then for each id a score, float32, its length, int32, and its bytes. All are
little-endian. No place is left for a checksum, nor for the fingerprint of a tokenizer.
"""

from __future__ import annotations

import os
import struct
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
import torch
from torch import Tensor

from fastlm.formats.atomic import replacing
from fastlm.model.config import ModelConfig
from fastlm.model.files import checked_fingerprint
from fastlm.model.layers import Device
from fastlm.model.rope import RotaryPositionalEmbedding
from fastlm.model.state import to_layout, unwrapped
from fastlm.model.transformer import TransformerLM
from fastlm.model.weights import Shape, config_from, kept_weights, model_of, weight_shapes

if TYPE_CHECKING:
    from fastlm.tokenizer import Tokenizer

_HEADER = struct.Struct("<7i")
_BLOCK = (
    "ln1",
    "attn.q_proj",
    "attn.k_proj",
    "attn.v_proj",
    "attn.output_proj",
    "ln2",
    "ffn.w1",
    "ffn.w2",
    "ffn.w3",
)
# what llama2.c computes with, whatever a file says
_EPS = 1e-5
_THETA = 10_000.0
# tables of positions are computed anew; theirs may round the angle of a far position otherwise
_TABLE_TOLERANCE = 1e-2
# the score of a token that no merge makes: llama2.c merges only what has more
_NEVER = -1e10


def export_llama2c(model: TransformerLM, path: str | os.PathLike[str], tokenizer: Tokenizer | None = None) -> None:
    """Writes a model as llama2.c's legacy `.bin`, in float32, which appears whole or not at all.

    Args:
        model: A TransformerLM, or what torch.compile made of one.
        path: The file.
        tokenizer: Only checked to be the model's; `export_tokenizer` writes it.

    Raises OSError where the file cannot be written, ValueError for a model that llama2.c does not compute, naming what
    is otherwise.
    """
    config = model.config
    _refuse_other_shapes(config)
    checked_fingerprint(config, model.tokenizer_fingerprint, tokenizer, "the model")
    state = to_layout(unwrapped(model.state_dict()), config, config.rope_layout, "interleaved")
    weights = kept_weights(state, config)
    sign = 1 if config.tie_embeddings else -1
    with replacing(Path(path)) as file:
        file.write(
            _HEADER.pack(
                config.d_model,
                config.d_ff,
                config.num_layers,
                config.num_heads,
                config.kv_heads,
                sign * config.vocab_size,
                config.context_length,
            )
        )
        tables = dict(zip(("cos", "sin"), _tables(config), strict=True))
        for name, _ in _contents(config):
            (tables.get(name) if name in tables else weights[name]).float().numpy().astype("<f4").tofile(file)
