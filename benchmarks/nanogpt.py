"""nanoGPT (https://github.com/karpathy/nanoGPT) from a user's checkout, as a contender of the training race.

It is no package: its model.py is loaded from the path that is given. Vocabulary, context, width, layers and heads are
those of the others; biases and dropout are off. Its own remain: LayerNorm, learned positions, a GELU network of four
times the width in place of a gated one, and a tied output layer.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fastlm.model import ModelConfig


def same_products(config: ModelConfig) -> ModelConfig:
    """A configuration of ours with the matrix products of nanoGPT at this width, for counting their FLOPs."""
    return replace(config, ffn="silu", d_ff=4 * config.d_model, rope_theta=None, num_kv_heads=None, d_head=None)


def load(path: Path, config: ModelConfig) -> tuple[torch.nn.Module, Callable[[Tensor, Tensor], Tensor]]:
    """nanoGPT's model of this shape, with weights of its own, and its loss of inputs and targets.

    `path` is a checkout or its model.py, whose code is run. Raises OSError where it is not there, ValueError where it
    is not nanoGPT's.
    """
    file = path / "model.py" if path.is_dir() else path
    if not file.is_file():
        raise FileNotFoundError(f"{file}: expected the model.py of a checkout of nanoGPT")
    module = _run(file)
    if not (hasattr(module, "GPT") and hasattr(module, "GPTConfig")):
        raise ValueError(f"{file}: not nanoGPT's model.py: it has no GPT and GPTConfig")
    shape = {
        "block_size": config.context_length,
        "vocab_size": config.vocab_size,
        "n_layer": config.num_layers,
        "n_head": config.num_heads,
        "n_embd": config.d_model,
    }
    with contextlib.redirect_stdout(io.StringIO()):  # it prints its size
        model = module.GPT(module.GPTConfig(**shape, dropout=0.0, bias=False))
    return model, lambda inputs, targets: model(inputs, targets)[1]


def _run(file: Path) -> Any:
    spec = importlib.util.spec_from_file_location("nanogpt_model", file)
    if spec is None or spec.loader is None:
        raise ValueError(f"{file}: expected a file of Python")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclass and torch.compile look it up there
    spec.loader.exec_module(module)
    return module
