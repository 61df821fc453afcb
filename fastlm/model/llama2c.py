"""The legacy model file of karpathy's llama2.c (https://github.com/karpathy/llama2.c, export.py and run.c).

All numbers are little-endian. The header is seven int32: d_model, d_ff, num_layers, num_heads, num_kv_heads, vocab_size
(negative if the output layer is not tied) and context_length. Then follow float32 arrays: the embedding; each kind of
layer weight, for all layers; the last norm; cosines and sines of the positions; and the output layer if it is not tied.
The format has no field for a checksum or the fingerprint of a tokenizer.
"""

from __future__ import annotations

import math
import os
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

from fastlm.files.atomic import replacing
from fastlm.files.remote import location
from fastlm.model.config import NO_IDS, ModelConfig, SpecialTokenIds
from fastlm.model.files import checked_fingerprint
from fastlm.model.layers import Device
from fastlm.model.parameters import parameter_shapes
from fastlm.model.rope import RotaryPositionalEmbedding
from fastlm.model.state import to_layout, unwrapped
from fastlm.model.transformer import TransformerLM, check_model
from fastlm.model.weights import Description, Shape, config_from, model_of, saved_weights

if TYPE_CHECKING:
    from fastlm.tokenizer import Tokenizer

_HEADER = struct.Struct("<7i")
_LAYER = ("ln1", "attn.q_proj", "attn.k_proj", "attn.v_proj", "attn.output_proj", "ln2", "ffn.w1", "ffn.w2", "ffn.w3")
# llama2.c computes with these values for every file
_COMPUTED: dict[str, Any] = {
    "norm": "pre",
    "norm_eps": 1e-5,
    "ffn": "swiglu",
    "qk_norm": False,
    "rope_theta": 10_000.0,
}
# its program begins and ends a text with this id
_SPECIAL_ID = 1
# a file's tables may round the angle of a far position differently; a wrong theta differs by far more
_TABLE_TOLERANCE = 1e-2


def export_llama2c(model: TransformerLM, path: str | os.PathLike[str]) -> None:
    """Writes a model as llama2.c's legacy `.bin`, in float32. The file appears whole or not at all.

    Args:
        model: A TransformerLM, or the result of torch.compile for one.
        path: The file.

    Raises:
        OSError: The file cannot be written.
        ValueError: llama2.c does not compute such a model. The message names the field.
    """
    check_model(model)
    config = model.config
    for name, expected in _COMPUTED.items():
        if getattr(config, name) != expected:
            raise ValueError(f"llama2.c cannot express {name}={getattr(config, name)!r}, only {expected!r}")
    if config.head_width * config.num_heads != config.d_model:
        raise ValueError(
            f"llama2.c cannot express d_head={config.d_head}, only d_model / num_heads, {config.d_model} / "
            f"{config.num_heads}"
        )
    state = to_layout(unwrapped(model.state_dict()), config, config.rope_layout, "interleaved")
    contents = saved_weights(state, config) | _tables(config)
    sizes = (config.d_model, config.d_ff, config.num_layers, config.num_heads, config.kv_heads)
    vocab_size = config.vocab_size if config.tie_embeddings else -config.vocab_size
    with replacing(location(path)) as file:
        file.write(_HEADER.pack(*sizes, vocab_size, config.context_length))
        for name in _layout(config):
            file.write(contents[name].float().numpy().astype("<f4").data)


def import_llama2c(
    path: str | os.PathLike[str],
    tokenizer: Tokenizer | None = None,
    *,
    device: Device = None,
    dtype: torch.dtype | None = None,
) -> TransformerLM:
    """Loads the model in a legacy `.bin` of llama2.c, with interleaved rotary positions.

    Args:
        path: The file.
        tokenizer: The tokenizer that makes the ids. The model gets its fingerprint, and, where id 1 is a special token,
            that id as begin and end of a text, as llama2.c's program uses it.
        device: Device of the parameters.
        dtype: Dtype of the parameters; float32 by default.

    Returns:
        The model.

    Raises:
        OSError: The file cannot be read.
        ValueError: The file is malformed. The message names the file and the reason.
    """
    path = Path(path)
    with open(path, "rb") as file:
        config = _config_of(file.read(_HEADER.size), path)
        layout = _layout(config)
        expected = _HEADER.size + 4 * sum(math.prod(shape) for shape in layout.values())
        size = os.fstat(file.fileno()).st_size
        if size != expected:
            raise ValueError(f"{path}: has {size} bytes; its header asks for {expected}")
        contents = {name: _read(file, shape) for name, shape in layout.items()}
    for name, table in _tables(config).items():
        if not torch.allclose(contents.pop(name), table, rtol=0, atol=_TABLE_TOLERANCE):
            raise ValueError(f"{path}: positions are not rotated by theta = {config.rope_theta}, as llama2.c does")
    fingerprint = checked_fingerprint(config, None, tokenizer, str(path))
    special = NO_IDS
    if tokenizer is not None and _SPECIAL_ID in tokenizer.special_tokens.values():
        special = SpecialTokenIds(bos=_SPECIAL_ID, eos=(_SPECIAL_ID,))
    return model_of(Description(config, fingerprint, special), contents, device, dtype)


def _config_of(header: bytes, path: Path) -> ModelConfig:
    if len(header) < _HEADER.size:
        raise ValueError(f"{path}: ends within the header; expected {_HEADER.size} bytes of it")
    d_model, d_ff, num_layers, num_heads, num_kv_heads, vocab_size, context_length = _HEADER.unpack(header)
    return config_from(
        path,
        {
            "d_model": d_model,
            "d_ff": d_ff,
            "num_layers": num_layers,
            "num_heads": num_heads,
            "num_kv_heads": num_kv_heads,
            "vocab_size": abs(vocab_size),
            "context_length": context_length,
            "tie_embeddings": vocab_size > 0,
            "rope_layout": "interleaved",
            **_COMPUTED,
        },
    )


def _layout(config: ModelConfig) -> dict[str, Shape]:
    """Name and shape of each array of a file, in order."""
    shapes = parameter_shapes(config)
    names = ["token_embeddings.weight"]
    names += [f"layers.{layer}.{part}.weight" for part in _LAYER for layer in range(config.num_layers)]
    names += ["ln_final.weight", "cos", "sin"]
    names += [] if config.tie_embeddings else ["lm_head.weight"]
    table = (config.context_length, config.head_width // 2)
    return {name: table if name in ("cos", "sin") else shapes[name] for name in names}


def _tables(config: ModelConfig) -> dict[str, Tensor]:
    rope = RotaryPositionalEmbedding(
        _COMPUTED["rope_theta"], config.head_width, config.context_length, dtype=torch.float32
    )
    return {"cos": rope.cos, "sin": rope.sin}


def _read(file: BinaryIO, shape: Shape) -> Tensor:
    array = np.fromfile(file, "<f4", math.prod(shape))
    return torch.from_numpy(array.astype(np.float32, copy=False)).reshape(shape)
