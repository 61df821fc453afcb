"""`fastlm account`: computes the cost of a model before it is trained."""

from __future__ import annotations

from dataclasses import replace
from json import dumps
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import Positional, arg

from fastlm._arguments import did_you_mean
from fastlm.commands.inputs import OptionalPath, folder_to_write, model_folder, option
from fastlm.commands.sizes import parse_size
from fastlm.files.reading import read_json, read_toml
from fastlm.model.config import ModelConfig

# a table has all layers one after the other
MOST_LAYERS = 10_000


def account(
    model: Annotated[Positional[str], arg(metavar="MODEL")] = "gpt2-xl",
    /,
    context_length: Annotated[int | None, option("INT", "--context")] = None,
    batch_size: Annotated[int, arg(aliases=["--batch"])] = 1,
    compute_dtype: Annotated[Literal["bfloat16", "float32"], arg(aliases=["--compute"])] = "bfloat16",
    optimizer: Literal["adamw", "muon"] = "adamw",
    kernel: Literal["sdpa", "explicit"] = "sdpa",
    checkpoint_activations: Annotated[bool, arg(aliases=["--checkpointing"])] = False,
    device_memory: Annotated[str, arg(aliases=["--memory"], metavar="SIZE")] = "80GB",
    tokens: Annotated[int | None, option("INT")] = None,
    peak_flops: Annotated[str, arg(aliases=["--peak"], metavar="NUMBER")] = "h100-bfloat16",
    mfu: float = 0.4,
    json: bool = False,
    plot: OptionalPath = None,
    writeup: bool = False,
) -> None:
    """Count the parameters, FLOPs, memory and training time of a model.

    Args:
        model: A preset (gpt2, gpt2-medium, gpt2-large, gpt2-xl, tinystories, llama2-7b, llama3-8b), a model's
            directory, the configuration of a training run, or another .toml or .json file with the fields of a model.
        context_length: Tokens of a sequence. A value above the model's context length replaces it.
        batch_size: Sequences of a training step.
        compute_dtype: Dtype of matrix products; parameters, gradients and optimizer states are float32.
        optimizer: AdamW stores two numbers for each parameter; Muon stores one for each parameter of a layer's
            matrices.
        kernel: Attention: sdpa, or explicit, which stores all scores.
        checkpoint_activations: Recompute the activations of the layers in the backward pass.
        device_memory: Memory of a device, such as 80GB or 24GiB; gives the largest batch.
        tokens: Tokens of a training run; by default 20 for each parameter.
        peak_flops: FLOP/s of a device: a number, or a100-float32, a100-bfloat16, h100-float32, h100-bfloat16.
        mfu: Fraction of the peak that training reaches.
        json: Print JSON.
        plot: Image file to write: shares of FLOPs by model size and by context length.
        writeup: Print the figures of the write-up that fastlm reproduces, each with the computed value.
    """
    from fastlm.model import account as accounting
    from fastlm.model import writeup as printed

    if tokens is not None and tokens < 1:
        raise ValueError(f"tokens is {tokens}; expected at least 1")
    if plot is not None:
        from fastlm.model.shares_plot import plot_shares

        folder_to_write(plot.parent, "--plot")
        try:
            plot_shares(plot)
        except ValueError as error:
            raise ValueError(f"--plot {plot}: {error}") from None
    if writeup:
        claims = printed.claims()
        print(_as_json([claim.to_dict() for claim in claims]) if json else printed.table(claims))
        return
    config = read_model(model)
    if context_length is not None and context_length > config.context_length:
        config = replace(config, context_length=context_length)
    found = accounting.account(
        config,
        length=context_length,
        batch=batch_size,
        compute=compute_dtype,
        optimizer=optimizer,
        kernel=kernel,
        checkpointing=checkpoint_activations,
        device_memory=parse_size(device_memory, "device_memory"),
        tokens=tokens,
        peak_flops=_peak(peak_flops),
        mfu=mfu,
    )
    print(_as_json(found.to_dict()) if json else accounting.table(found))


def _as_json(value: Any) -> str:
    return dumps(value, indent=2)


def read_model(name: str) -> ModelConfig:
    """Reads the shape of a model.

    Args:
        name: A preset, a model's directory, or a .toml or .json file.

    Raises:
        ValueError: for a name or file that describes no model, with the file and the field.
        OSError: for a file that cannot be read.
    """
    from fastlm.model.presets import PRESETS

    if name in PRESETS:
        return PRESETS[name]
    path = Path(name)
    if path.is_dir():
        path = model_folder(path) / "model.json"
    if path.suffix not in (".toml", ".json"):
        hint = did_you_mean(name, PRESETS)
        raise ValueError(f"no model {name!r}{hint}: give one of {', '.join(PRESETS)}, or a folder, .toml or .json file")
    fields: Any = read_toml(path) if path.suffix == ".toml" else read_json(path)
    table = "model" if path.suffix == ".toml" else "config"
    try:
        fields = fields.get(table, fields) if isinstance(fields, dict) else fields
        if not isinstance(fields, dict):
            raise ValueError("expected the fields of a model")
        config = ModelConfig.from_dict(fields)
        if config.num_layers > MOST_LAYERS:
            raise ValueError(f"num_layers is {config.num_layers}; expected at most {MOST_LAYERS}")
        return config
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _peak(text: str) -> float:
    from fastlm.model.account import PEAKS

    try:
        return PEAKS.get(text) or float(text)
    except ValueError:
        raise ValueError(f"peak_flops is {text!r}; expected a number of FLOP/s or one of {', '.join(PEAKS)}") from None
