"""GGUF, the model file of llama.cpp (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md), version 3.

A file is a header, fields, the description of each tensor, and the tensors, each aligned to 32 bytes. All numbers are
little-endian, and dimensions begin with the innermost.
"""

from __future__ import annotations

import json
import math
import os
import struct
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from fastlm.files.atomic import replacing
from fastlm.files.remote import location
from fastlm.formats import tokenizer_json
from fastlm.model.config import ModelConfig
from fastlm.model.files import checked_fingerprint
from fastlm.model.frequencies import frequencies, plain_frequencies
from fastlm.model.parameters import renamed
from fastlm.model.rope_scaling import RopeScaling
from fastlm.model.special_ids import exported_ids
from fastlm.model.state import to_layout, unwrapped
from fastlm.model.transformer import TransformerLM, check_model
from fastlm.model.weights import saved_weights

if TYPE_CHECKING:
    from fastlm.tokenizer import Tokenizer

GGUFType = Literal["float32", "float16", "bfloat16", "q8_0"]

ALIGNMENT = 32
Q8_BLOCK = 32  # numbers that share a scale
_MAGIC, _VERSION = b"GGUF", 3
# numbers of the types of fields
_UINT32, _INT32, _FLOAT32, _BOOL, _STRING, _ARRAY = 4, 5, 6, 7, 8, 9
# numbers of the types of tensors, and of files that consist of them
_TENSOR_TYPES = {"float32": 0, "float16": 1, "q8_0": 8, "bfloat16": 30}
_FILE_TYPES = {"float32": 0, "float16": 1, "q8_0": 7, "bfloat16": 32}
_NORMAL, _CONTROL, _USER_DEFINED, _UNUSED = 1, 3, 4, 5
# llama.cpp's name of the way to split a text, by our scanner
_SPLITS = {
    "gpt2": "gpt-2",
    "gpt2-digits": "starcoder",
    "starcoder": "smollm",
    "llama3": "llama-bpe",
    "qwen2": "qwen2",
    "tekken": "tekken",
    "o200k": "gpt-4o",
    "deepseek": "deepseek-v3",
    "kimi": "kimi-k2",
}
_NAMES = {
    "token_embeddings.": "token_embd.",
    "layers.": "blk.",
    ".ln1.": ".attn_norm.",
    ".ln2.": ".ffn_norm.",
    ".attn.q_proj.": ".attn_q.",
    ".attn.k_proj.": ".attn_k.",
    ".attn.v_proj.": ".attn_v.",
    ".attn.output_proj.": ".attn_output.",
    ".attn.q_norm.": ".attn_q_norm.",
    ".attn.k_norm.": ".attn_k_norm.",
    ".ffn.w1.": ".ffn_gate.",
    ".ffn.w2.": ".ffn_down.",
    ".ffn.w3.": ".ffn_up.",
    "ln_final.": "output_norm.",
    "lm_head.": "output.",
}


def export_gguf(
    model: TransformerLM,
    path: str | os.PathLike[str],
    tokenizer: Tokenizer,
    *,
    kind: GGUFType = "float32",
    chat_template: str | None = None,
) -> None:
    """Writes a model and its tokenizer as a GGUF file. The file appears whole or not at all.

    Args:
        model: A TransformerLM, or the result of torch.compile for one.
        path: The file, or its address such as s3://bucket/name.
        tokenizer: The tokenizer that makes the ids.
        kind: Type of the matrices; norms and biases are float32. "q8_0" has 8 bits and a scale per 32 numbers, in rows
            of multiples of 32.
        chat_template: Template of conversations, to be stored in the file.

    Raises:
        OSError: The file cannot be written.
        ValueError: llama.cpp does not compute such a model or split texts like the tokenizer, or the tokenizer is not
            the model's. The message names the field.
    """
    check_model(model)
    if kind not in get_args(GGUFType):
        raise ValueError(f"kind is {kind!r}; expected one of {', '.join(get_args(GGUFType))}")
    config = model.config
    architecture = _architecture(config)
    checked_fingerprint(config, model.tokenizer_fingerprint, tokenizer, "the model")
    # llama.cpp turns neighbouring features of a Llama, and halves of a Qwen
    layout: Literal["interleaved", "half"] = "interleaved" if architecture == "llama" else "half"
    weights = saved_weights(to_layout(unwrapped(model.state_dict()), config, config.rope_layout, layout), config)
    tensors = {renamed(name, _NAMES): weight for name, weight in weights.items()}
    if config.rope_scaling is not None and config.rope_scaling.kind == "llama3":
        tensors["rope_freqs.weight"] = _llama3_factors(config, config.rope_scaling)
    fields = _model_fields(config, architecture, kind) | _tokenizer_fields(tokenizer, model, chat_template)
    with replacing(location(path)) as file:
        _write(file, fields, tensors, kind)


def _architecture(config: ModelConfig) -> str:
    """llama.cpp's name of the architecture."""
    fixed: list[tuple[str, Any, Any]] = [
        ("norm", config.norm, "pre"),
        ("ffn", config.ffn, "swiglu"),
        ("sliding_window", config.sliding_window, None),
        ("layers_without_rope", config.layers_without_rope, ()),
        ("qk_norm_width", config.qk_norm_width, "head"),
    ]
    for name, found, expected in fixed:
        if found != expected:
            raise ValueError(f"GGUF: llama.cpp's llama and qwen cannot express {name}={found!r}, only {expected!r}")
    if config.rope_theta is None:
        raise ValueError("GGUF: llama.cpp's llama and qwen cannot express rope_theta=None, a model without positions")
    if config.rope_scaling is not None and config.rope_scaling.kind == "dynamic":
        raise ValueError("GGUF: llama.cpp cannot express dynamic rope_scaling")
    if config.qk_norm and config.attention_bias == "none":
        return "qwen3"
    if config.attention_bias == "qkv" and not config.qk_norm:
        return "qwen2"
    if config.attention_bias == "none":
        return "llama"
    raise ValueError(
        f"GGUF: llama.cpp has no architecture with attention_bias={config.attention_bias!r} and "
        f"qk_norm={config.qk_norm}"
    )


def _model_fields(config: ModelConfig, architecture: str, kind: str) -> dict[str, tuple[int, Any]]:
    fields: dict[str, tuple[int, Any]] = {
        "general.architecture": (_STRING, architecture),
        "general.alignment": (_UINT32, ALIGNMENT),
        "general.file_type": (_UINT32, _FILE_TYPES[kind]),
        "general.quantization_version": (_UINT32, 2),
    }
    numbers = {
        "vocab_size": config.vocab_size,
        "context_length": config.context_length,
        "embedding_length": config.d_model,
        "block_count": config.num_layers,
        "feed_forward_length": config.d_ff,
        "attention.head_count": config.num_heads,
        "attention.head_count_kv": config.kv_heads,
        "attention.key_length": config.head_width,
        "attention.value_length": config.head_width,
        "rope.dimension_count": config.head_width,
    }
    fields |= {f"{architecture}.{name}": (_UINT32, number) for name, number in numbers.items()}
    fields[f"{architecture}.attention.layer_norm_rms_epsilon"] = (_FLOAT32, config.norm_eps)
    fields[f"{architecture}.rope.freq_base"] = (_FLOAT32, config.rope_theta)
    scaling = config.rope_scaling
    if scaling is not None and scaling.kind in ("linear", "yarn"):
        if scaling != RopeScaling(kind=scaling.kind, factor=scaling.factor, original_context=scaling.original_context):
            raise ValueError("GGUF: llama.cpp computes yarn rope_scaling with its default numbers only")
        prefix = f"{architecture}.rope.scaling"
        fields[f"{prefix}.type"] = (_STRING, scaling.kind)
        fields[f"{prefix}.factor"] = (_FLOAT32, scaling.factor)
        fields[f"{prefix}.original_context_length"] = (_UINT32, scaling.original_context)
    return fields


def _llama3_factors(config: ModelConfig, scaling: RopeScaling) -> Tensor:
    """The divisors of the frequencies, which llama.cpp reads from a tensor."""
    assert config.rope_theta is not None
    plain = plain_frequencies(config.rope_theta, config.head_width, torch.float32, None)
    return plain / frequencies(config.rope_theta, config.head_width, scaling, torch.float32, None)


def _tokenizer_fields(
    tokenizer: Tokenizer, model: TransformerLM, chat_template: str | None
) -> dict[str, tuple[int, Any]]:
    pattern = tokenizer.vocabulary.pattern
    split = _SPLITS.get(getattr(pattern, "scanner", None) or "")
    if split is None:
        name = getattr(pattern, "name", None) or "of the tokenizer"
        raise ValueError(
            f"GGUF: llama.cpp does not split texts by the pattern {name}; expected a scanner of {', '.join(_SPLITS)}"
        )
    content = json.loads(tokenizer_json.write(tokenizer.vocabulary)[tokenizer_json.FILE])
    if content.get("normalizer") is not None and split != "qwen2":
        raise ValueError("GGUF: llama.cpp does not normalize texts; expected a tokenizer without a normalizer")
    size = model.config.vocab_size
    tokens, types = [f"[PAD{number}]" for number in range(size)], [_UNUSED] * size
    for token, token_id in content["model"]["vocab"].items():
        tokens[token_id], types[token_id] = token, _NORMAL
    for added in content["added_tokens"]:
        tokens[added["id"]] = added["content"]
        types[added["id"]] = _CONTROL if added["special"] else _USER_DEFINED
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in content["model"]["merges"]]
    fields: dict[str, tuple[int, Any]] = {
        "tokenizer.ggml.model": (_STRING, "gpt2"),
        "tokenizer.ggml.pre": (_STRING, split),
        "tokenizer.ggml.tokens": (_ARRAY, (_STRING, tokens)),
        "tokenizer.ggml.token_type": (_ARRAY, (_INT32, types)),
        "tokenizer.ggml.merges": (_ARRAY, (_STRING, merges)),
    }
    special, begin = exported_ids(model.special_token_ids, tokenizer), tokenizer.vocabulary.rules.begin
    ids = {
        # what add_bos_token adds is the tokenizer's, whatever the model names
        "bos": begin[0] if begin else special.bos,
        "eos": special.eos[0] if special.eos else None,
        "padding": special.pad,
    }
    for name, token_id in ids.items():
        if token_id is not None:
            fields[f"tokenizer.ggml.{name}_token_id"] = (_UINT32, token_id)
    fields["tokenizer.ggml.add_bos_token"] = (_BOOL, bool(begin))
    if chat_template is not None:
        fields["tokenizer.chat_template"] = (_STRING, chat_template)
    return fields


def _write(file: BinaryIO, fields: Mapping[str, tuple[int, Any]], tensors: Mapping[str, Tensor], kind: str) -> None:
    kinds = {name: kind if tensor.dim() == 2 else "float32" for name, tensor in tensors.items()}
    for name, tensor in tensors.items():
        if kinds[name] == "q8_0" and tensor.shape[1] % Q8_BLOCK:
            raise ValueError(f"GGUF: {name} has rows of {tensor.shape[1]} numbers; q8_0 needs multiples of {Q8_BLOCK}")
    head = [_MAGIC, struct.pack("<IQQ", _VERSION, len(tensors), len(fields))]
    for name, (field_type, value) in fields.items():
        head += [_string(name), struct.pack("<I", field_type), _value(field_type, value)]
    offset = 0
    for name, tensor in tensors.items():
        dimensions = tuple(reversed(tensor.shape))
        head += [_string(name), struct.pack(f"<I{len(dimensions)}Q", len(dimensions), *dimensions)]
        head.append(struct.pack("<IQ", _TENSOR_TYPES[kinds[name]], offset))
        offset += _padded(_bytes_of(tensor, kinds[name]))
    header = b"".join(head)
    file.write(header + b"\0" * (_padded(len(header)) - len(header)))
    for name, tensor in tensors.items():
        for content in _contents(tensor, kinds[name]):
            file.write(content)
        size = _bytes_of(tensor, kinds[name])
        file.write(b"\0" * (_padded(size) - size))


def _padded(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


def _string(text: str) -> bytes:
    content = text.encode("utf-8", "surrogatepass")
    return struct.pack("<Q", len(content)) + content


def _value(field_type: int, value: Any) -> bytes:
    if field_type == _STRING:
        return _string(value)
    if field_type == _ARRAY:
        item_type, items = value
        return struct.pack("<IQ", item_type, len(items)) + b"".join(_value(item_type, item) for item in items)
    return struct.pack({_UINT32: "<I", _INT32: "<i", _FLOAT32: "<f", _BOOL: "<?"}[field_type], value)


def _bytes_of(tensor: Tensor, kind: str) -> int:
    if kind == "q8_0":
        return math.prod(tensor.shape) // Q8_BLOCK * (Q8_BLOCK + 2)
    return math.prod(tensor.shape) * (4 if kind == "float32" else 2)


def _contents(tensor: Tensor, kind: str) -> Iterator[bytes | memoryview]:
    """The bytes of a tensor, some rows at a time."""
    flat = tensor.reshape(-1)
    block = 1 << 22  # numbers, a multiple of Q8_BLOCK
    for start in range(0, flat.numel(), block):
        numbers = flat[start : start + block]
        if kind == "bfloat16":
            yield numbers.bfloat16().view(torch.int16).numpy().astype("<i2").data
        elif kind == "q8_0":
            yield quantized_q8_0(numbers.float().numpy())
        else:
            yield numbers.float().numpy().astype("<f4" if kind == "float32" else "<f2").data


def quantized_q8_0(numbers: Any) -> bytes:
    """Numbers as blocks of a float16 scale and 32 int8, which are rounded half away from zero, as llama.cpp does."""
    blocks = numbers.reshape(-1, Q8_BLOCK)
    scale = (np.abs(blocks).max(1, keepdims=True) / np.float32(127)).astype(np.float32)
    inverse = np.divide(1, scale, out=np.zeros_like(scale), where=scale > 0)
    scaled = blocks * inverse
    rounded = np.trunc(scaled + np.copysign(np.float32(0.5), scaled)).astype(np.int8)
    packed = np.empty((len(blocks), Q8_BLOCK + 2), np.uint8)
    packed[:, :2] = scale.astype("<f2").view(np.uint8)
    packed[:, 2:] = rounded.view(np.uint8)
    return packed.tobytes()
