"""`fastlm account`: what a model costs, before it is made."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from json import dumps, loads
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import Positional, arg

from fastlm.commands.sizes import parse_size
from fastlm.model.config import ModelConfig


def account(
    model: Annotated[Positional[str], arg(metavar="MODEL")] = "gpt2-xl",
    /,
    context: int | None = None,
    batch: int = 1,
    compute: Literal["bfloat16", "float32"] = "bfloat16",
    optimizer: Literal["adamw", "muon"] = "adamw",
    kernel: Literal["sdpa", "explicit"] = "sdpa",
    checkpointing: bool = False,
    memory: str = "80GB",
    tokens: int | None = None,
    peak: str = "h100-bfloat16",
    mfu: float = 0.4,
    json: bool = False,
    plot: Path | None = None,
    writeup: bool = False,
) -> None:
    """Count the parameters, FLOPs, memory and training time of a model.

    Args:
        model: A preset (gpt2, gpt2-medium, gpt2-large, gpt2-xl, tinystories, llama2-7b, llama3-8b), a model's folder,
            the configuration of a training run, or another .toml or .json file with the fields of a model at its top.
        context: Tokens of a sequence, and the context length where it is longer than the model's.
        batch: Sequences of a training step.
        compute: Type of the products; parameters, gradients and moments are float32.
        optimizer: AdamW keeps two numbers a parameter, Muon one of the matrices of the blocks.
        kernel: Of attention; "explicit" keeps all scores.
        checkpointing: Whether the blocks' activations are computed again in the backward pass.
        memory: Of a device, for the largest batch, such as 80GB or 24GiB.
        tokens: Of a training run; 20 a parameter where it is not given.
        peak: FLOP/s of a device: a number, or a100-float32, a100-bfloat16, h100-float32, h100-bfloat16.
        mfu: The part of the peak that training reaches.
        json: Print JSON.
        plot: An image to write: shares of FLOPs against size and context length.
        writeup: Print the figures of the write-up that fastlm grew out of, each computed and compared.
    """
    from fastlm.model import account as accounting
    from fastlm.model import writeup as printed

    if plot is not None:
        from fastlm.model.shares_plot import plot_shares

        plot_shares(plot)
    if writeup:
        claims = printed.claims()
        print(_as_json([claim.to_dict() for claim in claims]) if json else printed.table(claims))
        return
    config = read_model(model)
    if context is not None and context > config.context_length:
        config = replace(config, context_length=context)
    found = accounting.account(
        config,
        length=context,
        batch=batch,
        compute=compute,
        optimizer=optimizer,
        kernel=kernel,
        checkpointing=checkpointing,
        device_memory=parse_size(memory),
        tokens=tokens,
        peak_flops=_peak(peak),
        mfu=mfu,
    )
    print(_as_json(found.to_dict()) if json else accounting.table(found))


def _as_json(value: Any) -> str:
    return dumps(value, indent=2)


def read_model(name: str) -> ModelConfig:
    """The preset of this name, or the model that a .toml or .json file, or a model's folder, describes.

    Raises ValueError that names the file and the field for one that does not describe a model, OSError for one that
    cannot be read.
    """
    from fastlm.model.presets import PRESETS

    if name in PRESETS:
        return PRESETS[name]
    path = Path(name)
    if path.is_dir():
        path = path / "model.json"
    if path.suffix not in (".toml", ".json"):
        raise ValueError(f"{name!r} is no preset; expected one of {', '.join(PRESETS)}, or a .toml or .json file")
    try:
        parse, table = (tomllib.loads, "model") if path.suffix == ".toml" else (loads, "config")
        fields = parse(path.read_text("utf-8"))
        fields = fields.get(table, fields) if isinstance(fields, dict) else fields
        if not isinstance(fields, dict):
            raise ValueError("expected the fields of a model")
        return ModelConfig.from_dict(fields)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _peak(text: str) -> float:
    from fastlm.model.account import PEAKS

    try:
        return PEAKS.get(text) or float(text)
    except ValueError:
        raise ValueError(f"peak is {text!r}; expected a number of FLOP/s or one of {', '.join(PEAKS)}") from None
