"""Folders of Hugging Face transformers that hold a Llama: config.json, model.safetensors, and the tokenizer's files.

Read are those that mean exactly what a TransformerLM computes; anything else is refused by name.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from fastlm.files.atomic import write_files
from fastlm.files.reading import read_json
from fastlm.formats import hf_json
from fastlm.model.config import ModelConfig
from fastlm.model.files import checked_fingerprint
from fastlm.model.layers import Device
from fastlm.model.parameters import parameter_shapes
from fastlm.model.state import to_layout, unwrapped
from fastlm.model.transformer import TransformerLM
from fastlm.model.weights import (
    CHECKSUM,
    TOKENIZER,
    check_checksum,
    config_from,
    kept_weights,
    model_of,
    read_weights,
    write_weights,
)

if TYPE_CHECKING:
    from fastlm.tokenizer import Tokenizer

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
# transformers keeps a field that it does not know
FINGERPRINT = "fastlm_tokenizer_fingerprint"

_ARCHITECTURE = "LlamaForCausalLM"
_END_OF_TEXT = "<|endoftext|>"
# of the names of weights, ours and those of transformers; "layers." and what stands around is the same
_PARTS = {
    "token_embeddings.": "model.embed_tokens.",
    "layers.": "model.layers.",
    ".ln1.": ".input_layernorm.",
    ".ln2.": ".post_attention_layernorm.",
    ".attn.output_proj.": ".self_attn.o_proj.",
    ".attn.": ".self_attn.",
    ".ffn.w1.": ".mlp.gate_proj.",
    ".ffn.w2.": ".mlp.down_proj.",
    ".ffn.w3.": ".mlp.up_proj.",
    "ln_final.": "model.norm.",
}
# fields of config.json that must be there, and those that have transformers' default where they are not
_SIZES = {
    "vocab_size": "vocab_size",
    "hidden_size": "d_model",
    "num_hidden_layers": "num_layers",
    "num_attention_heads": "num_heads",
    "intermediate_size": "d_ff",
}
_OPTIONAL: dict[str, tuple[str, Any]] = {
    "max_position_embeddings": ("context_length", 2048),
    "num_key_value_heads": ("num_kv_heads", None),
    "head_dim": ("d_head", None),
    "rms_norm_eps": ("norm_eps", 1e-6),
    "tie_word_embeddings": ("tie_embeddings", False),
}
# what else would change the logits, and the only values that are read
_REQUIRED: dict[str, tuple[Any, ...]] = {
    "model_type": ("llama",),
    "architectures": (None, [_ARCHITECTURE]),
    "hidden_act": (None, "silu"),
    "attention_bias": (None, False),
    "mlp_bias": (None, False),
    "rope_scaling": (None,),
    "partial_rotary_factor": (None, 1, 1.0),
    "quantization_config": (None,),
}


def export_llama(model: TransformerLM, directory: str | os.PathLike[str], tokenizer: Tokenizer | None = None) -> None:
    """Writes a folder that transformers loads as a LlamaForCausalLM with the logits of the model.

    Weights of interleaved rotary positions are reordered. With a tokenizer come tokenizer.json and
    tokenizer_config.json, which AutoTokenizer loads with the same ids. Files of these names are replaced; all are on
    disk before the first is, and config.json is the last.

    Args:
        model: A TransformerLM, or what torch.compile made of one.
        directory: The folder, made where it is missing.
        tokenizer: What makes the ids of the model; it must be that which the model was loaded with, if it was.

    Raises OSError where a file cannot be written, ValueError for a model that is no Llama, naming what is not, and for
    a tokenizer that is not the model's or that tokenizer.json cannot hold.
    """
    _refuse_other_shapes(model.config)
    fingerprint = checked_fingerprint(model.config, model.tokenizer_fingerprint, tokenizer, "the model")
    config = _normal(model.config)
    kept = kept_weights(
        to_layout(unwrapped(model.state_dict()), model.config, model.config.rope_layout, "half"), config
    )
    weights = {_foreign(name): weight for name, weight in kept.items()}
    begin, end = _frame(tokenizer)
    ids = {"bos_token_id": begin, "eos_token_id": end, "pad_token_id": None}
    dtype = str(next(iter(weights.values())).dtype).removeprefix("torch.")
    files: dict[str, bytes | Callable[[Path], None]] = {
        WEIGHTS: lambda path: write_weights(path, weights, config, fingerprint),
        "generation_config.json": _json(ids),
    }
    if tokenizer is not None:
        files |= hf_json.write(tokenizer.vocabulary)
        files["tokenizer_config.json"] = _json(_tokenizer_config(tokenizer, config, begin, end))
    files[CONFIG] = _json(_description(config, dtype, fingerprint) | ids)
    write_files(Path(directory), files)


def import_llama(
    directory: str | os.PathLike[str],
    tokenizer: Tokenizer | None = None,
    *,
    device: Device = None,
    dtype: torch.dtype | None = None,
) -> TransformerLM:
    """The Llama in a folder of transformers, of one file of weights or of several with an index.

    Args:
        directory: The folder.
        tokenizer: What makes the ids; it must be that of the folder, where `export_llama` wrote it. So must the
            folder's tokenizer.json.
        device: Where the parameters lie.
        dtype: Type of the parameters; that of the files, which then is one for all, where it is None.

    Raises OSError for a file that cannot be read, ValueError naming the file, and the field or tensor, what was found
    and what was expected, for what is no Llama or is computed in another way.
    """
    directory = Path(directory)
    path = directory / CONFIG
    content = read_json(path)
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected an object")
    config = _config_of(content, path)
    fingerprint = content.get(FINGERPRINT)
    if fingerprint is not None and not isinstance(fingerprint, str):
        raise ValueError(f"{path}: {FINGERPRINT} is {fingerprint!r:.80}; expected a string")
    checked = checked_fingerprint(config, fingerprint, tokenizer, str(directory))
    if fingerprint is not None and (directory / hf_json.FILE).exists():
        _check_tokenizer_file(directory / hf_json.FILE, fingerprint)
    shapes = {_foreign(name): shape for name, shape in parameter_shapes(config).items()}
    weights, metadata = read_weights(_locations(directory, shapes), shapes, dtype)
    if metadata.get(TOKENIZER, fingerprint) != fingerprint:
        raise ValueError(f"{path}: {FINGERPRINT} is {fingerprint}; {WEIGHTS} says {metadata[TOKENIZER]}")
    if CHECKSUM in metadata:
        check_checksum(directory / WEIGHTS, metadata, weights, config, fingerprint)
    model = model_of(config, {name: weights[_foreign(name)] for name in parameter_shapes(config)}, device, dtype)
    model.tokenizer_fingerprint = checked
    return model


def _refuse_other_shapes(config: ModelConfig) -> None:
    for name, found, expected in (
        ("norm", config.norm, "pre"),
        ("ffn", config.ffn, "swiglu"),
        ("qk_norm", config.qk_norm, False),
    ):
        if found != expected:
            raise ValueError(f"{_ARCHITECTURE} cannot express {name}={found!r}, only {expected!r}")
    if config.rope_theta is None:
        raise ValueError(f"{_ARCHITECTURE} cannot express rope_theta=None, a model without positions")
    if config.d_model % config.num_heads:
        raise ValueError(
            f"{_ARCHITECTURE} cannot express d_model={config.d_model} with num_heads={config.num_heads}, "
            "which does not divide it"
        )


def _normal(config: ModelConfig) -> ModelConfig:
    """The one configuration of those that mean the same Llama."""
    assert config.rope_theta is not None
    return replace(
        config,
        rope_layout="half",
        rope_theta=float(config.rope_theta),
        norm_eps=float(config.norm_eps),
        num_kv_heads=config.kv_heads,
        d_head=config.head_width,
    )


def _foreign(name: str) -> str:
    for ours, theirs in _PARTS.items():
        if name.startswith(ours) or ours.startswith("."):
            name = name.replace(ours, theirs)
    return name


def _json(content: Mapping[str, Any]) -> bytes:
    return f"{json.dumps(content, indent=2, ensure_ascii=False)}\n".encode()


def _description(config: ModelConfig, dtype: str, fingerprint: str | None) -> dict[str, Any]:
    """config.json without the ids of special tokens."""
    content: dict[str, Any] = {
        "architectures": [_ARCHITECTURE],
        "model_type": "llama",
        **{theirs: getattr(config, ours) for theirs, ours in _SIZES.items()},
        **{theirs: getattr(config, ours) for theirs, (ours, _) in _OPTIONAL.items()},
        "hidden_act": "silu",
        "attention_bias": False,
        "attention_dropout": 0.0,
        "mlp_bias": False,
        # transformers before 5, llama.cpp and others read the first, transformers 5 the second
        "rope_theta": config.rope_theta,
        "rope_parameters": {"rope_type": "default", "rope_theta": config.rope_theta},
        "torch_dtype": dtype,
        "use_cache": True,
    }
    if fingerprint is not None:
        content[FINGERPRINT] = fingerprint
    return content


def _frame(tokenizer: Tokenizer | None) -> tuple[int | None, int | None]:
    """The ids that begin and end a text: those the vocabulary puts around it, else that of <|endoftext|>, if any."""
    if tokenizer is None:
        return None, None
    rules = tokenizer.vocabulary.rules
    usual = tokenizer.special_tokens.get(_END_OF_TEXT)
    return (rules.begin[0] if rules.begin else usual), (rules.end[-1] if rules.end else usual)


def _tokenizer_config(tokenizer: Tokenizer, config: ModelConfig, begin: int | None, end: int | None) -> dict[str, Any]:
    name_of = {id: token for token, id in tokenizer.special_tokens.items()}
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": config.context_length,
        "clean_up_tokenization_spaces": False,
        "bos_token": None if begin is None else name_of[begin],
        "eos_token": None if end is None else name_of[end],
    }


def _config_of(content: Mapping[str, Any], path: Path) -> ModelConfig:
    for name, allowed in _REQUIRED.items():
        if content.get(name) not in allowed:
            expected = " or ".join("nothing" if value is None else repr(value) for value in allowed)
            raise ValueError(f"{path}: {name} is {content.get(name)!r:.80}; expected {expected}")
    if missing := [name for name in _SIZES if name not in content]:
        raise ValueError(f"{path}: {missing[0]} is missing")
    fields = {ours: content[theirs] for theirs, ours in _SIZES.items()}
    fields |= {ours: content.get(theirs, default) for theirs, (ours, default) in _OPTIONAL.items()}
    try:
        return _normal(config_from(path, {**fields, "rope_theta": _theta(content, path)}))
    except ValueError as error:
        names = {ours: theirs for theirs, ours in _SIZES.items()}
        names |= {ours: theirs for theirs, (ours, _) in _OPTIONAL.items()}
        words = [names.get(word, word) for word in str(error).split(" ")]
        raise ValueError(" ".join(words)) from None


def _theta(content: Mapping[str, Any], path: Path) -> Any:
    parameters = content.get("rope_parameters") or {}
    if not isinstance(parameters, dict):
        raise ValueError(f"{path}: rope_parameters is {parameters!r:.80}; expected an object")
    for name, value in parameters.items():
        if name != "rope_theta" and (name, value) != ("rope_type", "default"):
            raise ValueError(f"{path}: rope_parameters has {name} = {value!r:.80}; expected only plain positions")
    theta = parameters.get("rope_theta", content.get("rope_theta", 10_000.0))
    if theta is None:
        raise ValueError(f"{path}: rope_theta is None; expected a positive number")
    if content.get("rope_theta", theta) != theta:
        raise ValueError(f"{path}: rope_theta is {content['rope_theta']!r}; rope_parameters says {theta!r}")
    return theta


def _check_tokenizer_file(path: Path, fingerprint: str) -> None:
    found = hf_json.read(path).fingerprint
    if found != fingerprint:
        raise ValueError(f"{path}: has the fingerprint {found}; the weights were trained with {fingerprint}")


def _locations(directory: Path, shapes: Mapping[str, Any]) -> dict[str, Path]:
    """The file of each weight."""
    if (directory / WEIGHTS).exists() or not (directory / INDEX).exists():
        return dict.fromkeys(shapes, directory / WEIGHTS)
    path = directory / INDEX
    content = read_json(path)
    files = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(files, dict):
        raise ValueError(f"{path}: expected an object with an object weight_map")
    if missing := [name for name in shapes if name not in files]:
        raise ValueError(f"{path}: tensor {missing[0]!r} is missing")
    for name, file in files.items():
        if name not in shapes:
            raise ValueError(f"{path}: tensor {name!r} belongs to nothing in this model")
        if not isinstance(file, str) or Path(file).name != file or not file.endswith(".safetensors"):
            raise ValueError(f"{path}: tensor {name!r} is in {file!r:.80}; expected the name of a safetensors file")
    return {name: directory / files[name] for name in shapes}
