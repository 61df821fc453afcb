"""Llama folders of Hugging Face transformers: config.json, model.safetensors, and the tokenizer's files.

A folder is imported only if transformers computes the logits that a TransformerLM computes. Anything else is refused by
name.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
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
from fastlm.model.layers import Device
from fastlm.model.parameters import parameter_shapes
from fastlm.model.state import to_layout, unwrapped
from fastlm.model.transformer import TransformerLM, check_model
from fastlm.model.weights import (
    CHECKSUM,
    TOKENIZER,
    Description,
    Shape,
    check_checksum,
    check_tables,
    config_from,
    model_of,
    read_weights,
    saved_weights,
    write_weights,
)

if TYPE_CHECKING:
    from fastlm.tokenizer import Tokenizer

CONFIG = "config.json"
GENERATION = "generation_config.json"
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
# transformers keeps a field that it does not know
FINGERPRINT = "fastlm_tokenizer_fingerprint"

_ARCHITECTURE = "LlamaForCausalLM"
_END_OF_TEXT = "<|endoftext|>"
_LM_HEAD, _EMBEDDING = "lm_head.weight", "model.embed_tokens.weight"
# parts of the names of weights, ours and transformers'; the rest of a name is the same
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
# required fields of config.json, and fields that have transformers' default where they are missing
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
# other fields that would change the logits, and the only values that are accepted
_REQUIRED: dict[str, tuple[Any, ...]] = {
    "model_type": ("llama",),
    "architectures": (None, [_ARCHITECTURE]),
    "hidden_act": (None, "silu", "swish"),
    "attention_bias": (None, False),
    "mlp_bias": (None, False),
    "partial_rotary_factor": (None, 1, 1.0),
    "quantization_config": (None,),
}
# transformers' defaults for a Llama
_SPECIAL_IDS = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": None}
_DTYPES = {str(dtype).removeprefix("torch."): dtype for dtype in (torch.float64, torch.float32, torch.float16)}
_DTYPES |= {"bfloat16": torch.bfloat16, "float": torch.float32, "double": torch.float64, "half": torch.float16}
# weights in forms that execute code when they are read, or that fastlm cannot read
_OTHER_WEIGHTS = ("pytorch_model*.bin", "*.pth", "*.pt", "*.ckpt", "*.gguf", "*.h5", "*.msgpack", "*.npz")


def export_llama(model: TransformerLM, directory: str | os.PathLike[str], tokenizer: Tokenizer | None = None) -> None:
    """Writes a folder that transformers loads as a LlamaForCausalLM with the logits of the model.

    Weights of interleaved rotary positions are reordered. With a tokenizer, tokenizer.json and tokenizer_config.json
    are written, which AutoTokenizer loads with the same ids. The ids that begin and end a text and pad a batch are the
    model's; where the model has none that ends a text, the tokenizer's. Files of these names are replaced after all new
    ones are on disk; config.json is the last.

    Args:
        model: A TransformerLM, or the result of torch.compile for one.
        directory: The folder, made if it is missing.
        tokenizer: The tokenizer that makes the ids. It must be the model's, where the model knows its tokenizer.

    Raises:
        OSError: A file cannot be written.
        ValueError: The model is no Llama, the tokenizer is not the model's, tokenizer.json cannot represent it, or none
            is given and the folder holds another one.
    """
    check_model(model)
    _refuse_other_shapes(model.config)
    fingerprint = checked_fingerprint(model.config, model.tokenizer_fingerprint, tokenizer, "the model")
    if tokenizer is None:
        refuse_other_tokenizer(location(directory), fingerprint)
    config = _normalized(model.config)
    weights = saved_weights(
        to_layout(unwrapped(model.state_dict()), model.config, model.config.rope_layout, "half"), config
    )
    weights = {_foreign(name): weight for name, weight in weights.items()}
    special = _exported_ids(model.special_token_ids, tokenizer)
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
    files[CONFIG] = _json(_config_json(config, dtype, fingerprint) | ids)
    write_files(location(directory), files)


def import_llama(
    directory: str | os.PathLike[str],
    tokenizer: Tokenizer | None = None,
    *,
    device: Device = None,
    dtype: torch.dtype | None = None,
) -> TransformerLM:
    """Loads the Llama in a folder of transformers, with one file of weights or several with an index.

    Args:
        directory: The folder.
        tokenizer: The tokenizer that makes the ids. Where `export_llama` wrote the folder, it must be the folder's, and
            without it the folder's tokenizer.json must be the one that was exported.
        device: Device of the parameters.
        dtype: Dtype of the parameters. By default the files' common dtype, or, where weights have several, the dtype
            that config.json names, which is the one that transformers computes with.

    Returns:
        The model, with the special token ids of generation_config.json or config.json.

    Raises:
        OSError: A file cannot be read.
        ValueError: The folder holds no Llama, or one that is computed in another way. The message names the file, the
            field or tensor, what was found and what was expected.
    """
    directory = Path(directory)
    path = directory / CONFIG
    content = _read_object(path)
    config = _config_of(content, path)
    special = _special_ids(content, directory, config.vocab_size)
    fingerprint = content.get(FINGERPRINT)
    if fingerprint is not None and not isinstance(fingerprint, str):
        raise ValueError(f"{path}: {FINGERPRINT} is {fingerprint!r:.80}; expected a string")
    checked = checked_fingerprint(config, fingerprint, tokenizer, str(directory))
    if tokenizer is None and fingerprint is not None and (directory / tokenizer_json.FILE).exists():
        _check_tokenizer_file(directory / tokenizer_json.FILE, fingerprint)
    names = {_foreign(name): name for name in parameter_shapes(config)}
    shapes = {foreign: parameter_shapes(config)[name] for foreign, name in names.items()}
    dtype = _config_dtype(content, path) if dtype is None else dtype
    weights, metadata = _read(directory, config, shapes, dtype)
    if metadata.get(TOKENIZER, fingerprint) != fingerprint:
        raise ValueError(f"{path}: {FINGERPRINT} is {fingerprint}; {WEIGHTS} says {metadata[TOKENIZER]}")
    if CHECKSUM in metadata:
        check_checksum(directory / WEIGHTS, metadata, weights, Description(config, fingerprint))
    check_tables(path, "max_position_embeddings", config, weights)
    return model_of(
        Description(config, checked, special),
        {name: weights[foreign] for foreign, name in names.items()},
        device,
        dtype,
    )


def _read(
    directory: Path, config: ModelConfig, shapes: Mapping[str, Shape], dtype: torch.dtype | None
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The weights of a folder, and the files' metadata. A tied output layer in a file must equal the embedding."""
    tied = {_LM_HEAD: shapes[_EMBEDDING]} if config.tie_embeddings else {}
    weights, metadata = read_weights(
        _files(directory, shapes, tied),
        shapes,
        optional=tied,
        any_dtype=dtype is not None,
        # transformers computes these tables itself
        is_ignored=lambda name: name.endswith(".rotary_emb.inv_freq"),
    )
    if tied and (head := weights.pop(_LM_HEAD, None)) is not None:
        kept = dtype or head.dtype
        if not torch.equal(head.to(kept), weights[_EMBEDDING].to(kept)):
            raise ValueError(
                f"{directory}: tensor {_LM_HEAD!r} differs from {_EMBEDDING!r}, though tie_word_embeddings is true"
            )
    return weights, metadata


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


def _normalized(config: ModelConfig) -> ModelConfig:
    """One configuration for all configurations of the same Llama."""
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
    """transformers' name of a weight."""
    for ours, theirs in _PARTS.items():
        if name.startswith(ours) or ours.startswith("."):
            name = name.replace(ours, theirs)
    return name


def _json(content: Mapping[str, Any]) -> bytes:
    return f"{json.dumps(content, indent=2, ensure_ascii=False)}\n".encode()


def _read_object(path: Path) -> dict[str, Any]:
    content = read_json(path)
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected an object")
    return content


def _config_json(config: ModelConfig, dtype: str, fingerprint: str | None) -> dict[str, Any]:
    """The content of config.json without special token ids."""
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


def _exported_ids(known: SpecialTokenIds, tokenizer: Tokenizer | None) -> SpecialTokenIds:
    """The model's special token ids. A model that knows none begins and ends a text as the tokenizer's template does,
    else with its <|endoftext|>, at which fastlm's generation stops too.
    """
    if tokenizer is None:
        return known
    rules = tokenizer.vocabulary.rules
    usual = tokenizer.special_tokens.get(_END_OF_TEXT)
    begin = rules.begin[0] if rules.begin else usual
    end = rules.end[-1] if rules.end else usual
    # a model that knows how a text ends begins it with no id unless it has one, so that an import changes nothing
    return SpecialTokenIds(known.bos if known else begin, known.eos or (() if end is None else (end,)), known.pad)


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
        return _normalized(config_from(path, {**fields, "rope_theta": _theta(content, path)}))
    except ValueError as error:
        names = {ours: theirs for theirs, ours in _SIZES.items()}
        names |= {ours: theirs for theirs, (ours, _) in _OPTIONAL.items()}
        words = [names.get(word, word) for word in str(error).split(" ")]
        raise ValueError(" ".join(words)) from None


def _theta(content: Mapping[str, Any], path: Path) -> Any:
    """The base of the rotary position angles; ValueError for positions that are scaled."""
    _refuse_scaled_positions(content.get("rope_scaling"), "rope_scaling", path)
    parameters = content.get("rope_parameters") or {}
    _refuse_scaled_positions(parameters, "rope_parameters", path)
    theta = parameters.get("rope_theta", content.get("rope_theta", 10_000.0))
    if theta is None:
        raise ValueError(f"{path}: rope_theta is None; expected a positive number")
    if content.get("rope_theta", theta) != theta:
        raise ValueError(f"{path}: rope_theta is {content['rope_theta']!r}; rope_parameters says {theta!r}")
    return theta


def _refuse_scaled_positions(parameters: Any, name: str, path: Path) -> None:
    if parameters is None:
        return
    if not isinstance(parameters, dict):
        raise ValueError(f"{path}: {name} is {parameters!r:.80}; expected an object")
    # the scaling first, which the message must name, then its numbers
    for key in ("rope_type", "type"):
        if parameters.get(key, "default") != "default":
            verb = "is of" if name == "rope_scaling" else "has"
            raise ValueError(
                f"{path}: {name} {verb} rope_type = {parameters[key]!r:.80}, a scaling of positions that fastlm does "
                "not compute; expected 'default'"
            )
    plain = {"rope_theta", "rope_type", "type"}
    for key, value in parameters.items():
        if key not in plain and (key, value) != ("partial_rotary_factor", 1.0):
            raise ValueError(f"{path}: {name} has {key} = {value!r:.80}; expected only plain positions")


def _special_ids(content: Mapping[str, Any], directory: Path, vocab_size: int) -> SpecialTokenIds:
    """The ids that generation_config.json names, else the ids of config.json, else transformers' defaults.

    Ids that the model lacks are dropped, since it can never produce them; -1 is a usual way to say none.
    """
    generation = _read_object(directory / GENERATION) if (directory / GENERATION).exists() else {}
    found: dict[str, tuple[int, ...]] = {}
    for name, default in _SPECIAL_IDS.items():
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
        if name not in known and not name.endswith(".rotary_emb.inv_freq"):
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
            raise ValueError(
                f"{path}: fastlm reads weights from safetensors files only; load the folder with transformers and "
                f"write it again by save_pretrained, which makes {WEIGHTS}"
            )
