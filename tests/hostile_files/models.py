"""Hostile models, checkpoints and configurations."""

from __future__ import annotations

import hashlib
import json
import math
import struct
import tempfile
import warnings
from pathlib import Path
from typing import Any

from tests.hostile_files import readers
from tests.hostile_files.readers import HostileFile

LLAMA = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": 8,
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 8,
    "max_position_embeddings": 16,
    "rms_norm_eps": 1e-5,
    "hidden_act": "silu",
    "tie_word_embeddings": True,
}


def _safetensors(header: Any, body: bytes = b"", size: int | None = None) -> bytes:
    text = json.dumps(header).encode() if not isinstance(header, bytes) else header
    return struct.pack("<Q", len(text) if size is None else size) + text + body


def good_llama(**changes: Any) -> dict[str, bytes]:
    """A folder of transformers whose weights are those of LLAMA."""
    layer = "model.layers.0."
    square, vector = [8, 8], [8]
    shapes = {"model.embed_tokens.weight": square, "model.norm.weight": vector}
    shapes |= {f"{layer}self_attn.{name}_proj.weight": square for name in "qkvo"}
    shapes |= {f"{layer}mlp.{name}_proj.weight": square for name in ("gate", "up", "down")}
    shapes |= {f"{layer}{name}_layernorm.weight": vector for name in ("input", "post_attention")}
    header, at = {}, 0
    for name, shape in shapes.items():
        size = 4 * math.prod(shape)
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [at, at + size]}
        at += size
    weights = _safetensors(header, bytes(at))
    return {"config.json": json.dumps(LLAMA | changes).encode(), "model.safetensors": weights}


def _model_json(**changes: Any) -> bytes:
    config = {"vocab_size": 8, "context_length": 8, "d_model": 8, "num_layers": 1, "num_heads": 2, "d_ff": 8}
    return json.dumps({"version": 1, "config": config | changes, "tokenizer": None}).encode()


def _state(content: str) -> bytes:
    return f"{hashlib.sha256(content.encode()).hexdigest()}\n{content}\n".encode()


def _doubling() -> dict[str, bytes]:
    """A checkpoint whose merges each double a token."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        readers.resume_training(Path(folder))
        files = {path.name: path.read_bytes() for path in Path(folder).iterdir()}
    content = json.loads(files["state.json"].decode().split("\n")[1])
    content["state"]["merges"] = [[0, 0], *([k, k] for k in range(256, 300))]
    return {"state.json": _state(json.dumps(content)), **{name: files[name] for name in files if name != "state.json"}}


def model_files() -> list[HostileFile]:
    """Models, checkpoints and configurations."""
    none = {"F": {"dtype": "F32", "shape": [1 << 40, 1 << 40], "data_offsets": [0, 4]}}
    tensors = {
        "header-beyond-the-file": _safetensors({}, size=1 << 62),
        "header-of-100-mb": _safetensors(b"{", size=100_000_000),
        "shape-2-to-the-80": _safetensors(none, bytes(4)),
        "offsets-beyond-the-file": _safetensors({"F": {"dtype": "F32", "shape": [9], "data_offsets": [0, 36]}}, b"ab"),
        "nested": _safetensors(b"[" * 100_000),
        "empty": b"",
    }
    model = _model_json()
    files = [
        HostileFile(
            f"safetensors-{name}", readers.load_model, {"model.safetensors": content, "model.json": model}, True
        )
        for name, content in tensors.items()
    ]
    files += [
        HostileFile(f"checkpoint-{name}", readers.load_checkpoint, {"a.safetensors": tensors[name]})
        for name in ("nested", "empty", "header-of-100-mb")
    ]
    most = (1 << 31) - 1
    digits = b'{"version":' + b"9" * 100_000 + b"}"
    for name in ("num_layers", "d_model", "vocab_size", "context_length", "num_heads", "d_ff"):
        contents = {
            "model.json": _model_json(**{name: most - 1}),
            "model.safetensors": good_llama()["model.safetensors"],
        }
        files.append(HostileFile(f"model-{name}", readers.load_model, contents, True))
    for name in ("num_hidden_layers", "max_position_embeddings", "vocab_size", "intermediate_size", "hidden_size"):
        files.append(HostileFile(f"llama-{name}", readers.import_llama, good_llama(**{name: most - 1}), True))
    files += [
        HostileFile("llama-digits", readers.import_llama, {**good_llama(), "config.json": digits}, True),
        HostileFile("llama-rope-theta", readers.import_llama, good_llama(rope_theta=-1.0), True),
        HostileFile("llama2c-counts", readers.import_llama2c, {"a.bin": struct.pack("<7i", *[most] * 7)}),
        HostileFile("llama2c-layers", readers.import_llama2c, {"a.bin": struct.pack("<7i", 8, 8, most, 2, 2, 8, 8)}),
        HostileFile("llama2c-positions", readers.import_llama2c, {"a.bin": struct.pack("<7i", 8, 8, 1, 2, 2, 8, most)}),
        HostileFile("llama2c-negative", readers.import_llama2c, {"a.bin": struct.pack("<7i", *[-1] * 7)}),
        HostileFile("llama2c-cut-short", readers.import_llama2c, {"a.bin": b"abc"}),
        HostileFile("toml-nested", readers.read_config, {"a.toml": b"steps = " + b"[" * 100_000}),
        HostileFile("toml-digits", readers.read_config, {"a.toml": b"steps = " + b"9" * 100_000}),
        HostileFile("toml-key-twice", readers.read_config, {"a.toml": b"steps = 1\nsteps = 2\n"}),
        HostileFile("toml-dotted", readers.read_config, {"a.toml": b"a." * 50_000 + b"a = 1\n"}),
        HostileFile("account-layers", readers.read_account, {"model.json": _model_json(num_layers=most)}, True),
        HostileFile("account-nested", readers.read_account, {"a.toml": b"[model]\nd_ff = " + b"[" * 100_000}),
        HostileFile("state-doubling", readers.resume_training, _doubling(), True),
        HostileFile("state-nested", readers.resume_training, {"state.json": _state("[" * 100_000)}, True),
        HostileFile("state-digits", readers.resume_training, {"state.json": _state(digits.decode())}, True),
        HostileFile("state-other-checksum", readers.resume_training, {"state.json": b"0" * 64 + b"\n{}\n"}, True),
        HostileFile("state-binary", readers.resume_training, {"state.json": b"\xff" * 1000}, True),
    ]  # fmt: skip
    return files
