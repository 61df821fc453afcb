"""`fastlm export` and `fastlm import`: write a model for other programs, and read the models of other programs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, arg

from fastlm.commands.inputs import OptionalPath, folder_to_write, model_folder, option
from fastlm.commands.output import note, say

if TYPE_CHECKING:
    from fastlm.model.transformer import TransformerLM
    from fastlm.tokenizer import Tokenizer

_SOURCES = "give a folder of transformers with a Llama, or a model file (.bin) of llama2.c"


def export_model(
    model: Annotated[Positional[Path], arg(metavar="DIR")],
    /,
    out: Path,
    format: Literal["llama", "llama2c"] = "llama",  # noqa: A002 - the name of the option
    tokenizer: OptionalPath = None,
) -> None:
    """Write a model for other programs.

    Args:
        model: Directory of the model: model.json and model.safetensors.
        out: Directory to write.
        format: llama: a model directory of transformers; llama2c: model.bin and tokenizer.bin of llama2.c.
        tokenizer: Directory or file of the tokenizer; by default the one in DIR, if there is one.
    """
    from fastlm.files.atomic import write_files
    from fastlm.formats import llama2c
    from fastlm.model.files import load_model
    from fastlm.model.hf import export_llama
    from fastlm.model.llama2c import export_llama2c

    model_folder(model)
    folder_to_write(out)
    known = _tokenizer_in(model) if tokenizer is None else _load(tokenizer)
    loaded = load_model(model, known)
    if format == "llama":
        export_llama(loaded, out, known)
    else:
        if known is None and (out / llama2c.FILE).exists():
            raise ValueError(
                f"{out / llama2c.FILE}: is in the folder of a model to write without a tokenizer; give --tokenizer, or "
                "another folder"
            )
        out.mkdir(parents=True, exist_ok=True)
        export_llama2c(loaded, out / "model.bin")
        if known is not None:
            write_files(out, llama2c.write(known.vocabulary, loaded.config.vocab_size))
    say(f"{_parameters(loaded)} parameters in {out}{'' if known else ', without a tokenizer'}")


def import_model(
    source: Annotated[Positional[Path], arg(metavar="SOURCE")],
    /,
    out: Path,
    tokenizer: OptionalPath = None,
    dtype: Annotated[
        Literal["float32", "bfloat16", "float16", "float64"] | None, option("float32|bfloat16|float16|float64")
    ] = None,
) -> None:
    """Convert a model of another program to fastlm's format.

    Args:
        source: A directory of transformers that holds a Llama, or a model file (.bin) of llama2.c.
        out: Directory for model.json, model.safetensors and, if there is one, the tokenizer.
        tokenizer: Directory or file of the tokenizer; by default tokenizer.json in SOURCE, if fastlm can read it.
        dtype: Dtype of the weights; by default that of the file, or, where weights have several dtypes, the one that
            config.json names.
    """
    import torch

    from fastlm.model.files import save_model
    from fastlm.model.hf import import_llama
    from fastlm.model.llama2c import import_llama2c

    if not source.exists():
        raise FileNotFoundError(f"{source}: no such file or folder; {_SOURCES}")
    if source.is_dir() and not (source / "config.json").exists():
        raise FileNotFoundError(f"no config.json in {source}: {_SOURCES}")
    folder_to_write(out)
    known = None if tokenizer is None else _load(tokenizer)
    kept = None if dtype is None else getattr(torch, dtype)
    if source.is_dir():
        known = known or _tokenizer_in(source)
        model = import_llama(source, known, dtype=kept)
    else:
        try:
            model = import_llama2c(source, known, dtype=kept)
        except ValueError as error:
            raise ValueError(f"{error}; {_SOURCES}") from None
    save_model(model, out, known)
    if known is not None:
        known.save(out)
    say(f"{_parameters(model)} parameters in {out}{'' if known else ', without a tokenizer'}")


def _load(path: Path) -> Tokenizer:
    from fastlm import load

    return load(path)


def _tokenizer_in(directory: Path) -> Tokenizer | None:
    """The tokenizer in a model's directory; None, with a note, for a tokenizer that fastlm cannot read."""
    from fastlm.files.reading import unreadable_model
    from fastlm.formats import native, tokenizer_json

    if (directory / native.FILE).exists():
        return _load(directory / native.FILE)
    if (directory / tokenizer_json.FILE).exists():
        try:
            return _load(directory / tokenizer_json.FILE)
        except ValueError as error:
            note(f"the tokenizer is left out: {error}")
    elif (other := unreadable_model(directory)) is not None:
        note(f"the tokenizer is left out: {other}")
    return None


def _parameters(model: TransformerLM) -> str:
    return f"{sum(parameter.numel() for parameter in model.parameters()):,}"
