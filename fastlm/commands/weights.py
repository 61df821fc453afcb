"""`fastlm export` and `fastlm import`: write a model for other programs, and read the models of other programs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, arg

from fastlm.commands.inputs import OptionalPathOrAddress, PathOrAddress, folder_to_write, model_folder, option
from fastlm.commands.output import note, say
from fastlm.files.remote import Location, fetched, location

if TYPE_CHECKING:
    from fastlm.model.transformer import TransformerLM
    from fastlm.tokenizer import Tokenizer

_SOURCES = "give a folder of transformers with a Llama or a relative, or a model file (.bin) of llama2.c"


def export_model(
    model: Annotated[Positional[str], arg(metavar="DIR|ADDRESS")],
    /,
    out: PathOrAddress,
    format: Literal["llama", "llama2c", "gguf"] = "llama",  # noqa: A002 - the name of the option
    tokenizer: OptionalPathOrAddress = None,
) -> None:
    """Write a model for other programs.

    Args:
        model: Directory of the model: model.json and model.safetensors.
        out: Directory to write, or its address such as s3://bucket/name.
        format: llama: a model directory of transformers; llama2c: model.bin and tokenizer.bin of llama2.c; gguf:
            model.gguf of llama.cpp, with weights in the dtype of the model.
        tokenizer: Directory or file of the tokenizer; by default the one in DIR, if there is one.
    """
    from fastlm.files.atomic import write_files
    from fastlm.formats import llama2c
    from fastlm.generation.chat_template import TEMPLATE
    from fastlm.model.files import load_model
    from fastlm.model.hf import export_llama
    from fastlm.model.llama2c import export_llama2c

    target = location(out)
    with fetched(location(model)) as folder:
        model_folder(folder)
        folder_to_write(target)
        known = _tokenizer_in(folder) if tokenizer is None else _load(tokenizer)
        template = _template_files(folder)
        loaded = load_model(folder, known)
    if format == "llama":
        export_llama(loaded, str(target), known)
        # tokenizer_config.json is that of the tokenizer
        if template:
            write_files(target, {TEMPLATE: template[TEMPLATE]})
    elif format == "gguf":
        _export_gguf(loaded, target, known, template)
    else:
        if known is None and (target / llama2c.FILE).exists():
            raise ValueError(
                f"{target / llama2c.FILE}: is in the folder of a model to write without a tokenizer; give --tokenizer, "
                "or another folder"
            )
        if isinstance(target, Path):
            target.mkdir(parents=True, exist_ok=True)
        export_llama2c(loaded, str(target / "model.bin"))
        if known is not None:
            write_files(target, llama2c.write(known.vocabulary, loaded.config.vocab_size))
    say(f"{_parameters(loaded)} parameters in {target}{'' if known else ', without a tokenizer'}")


def import_model(
    source: Annotated[Positional[str], arg(metavar="SOURCE")],
    /,
    out: PathOrAddress,
    tokenizer: OptionalPathOrAddress = None,
    dtype: Annotated[
        Literal["float32", "bfloat16", "float16", "float64"] | None, option("float32|bfloat16|float16|float64")
    ] = None,
) -> None:
    """Convert a model of another program to fastlm's format.

    Args:
        source: A directory of transformers that holds a Llama or a relative (docs/open_models.md), or a model file
            (.bin) of llama2.c.
        out: Directory, or its address such as s3://bucket/name, for model.json, model.safetensors and, if there are
            any, the tokenizer and the chat template.
        tokenizer: Directory or file of the tokenizer; by default tokenizer.json in SOURCE, if fastlm can read it.
        dtype: Dtype of the weights; by default that of the file, or, where weights have several dtypes, the one that
            config.json names.
    """
    import torch

    from fastlm.files.atomic import write_files
    from fastlm.model.files import save_model
    from fastlm.model.hf import import_llama
    from fastlm.model.llama2c import import_llama2c

    target = location(out)
    with fetched(location(source)) as local:
        if not local.exists():
            raise FileNotFoundError(f"{source}: no such file or folder; {_SOURCES}")
        if local.is_dir() and not (local / "config.json").exists():
            raise FileNotFoundError(f"no config.json in {source}: {_SOURCES}")
        folder_to_write(target)
        known = None if tokenizer is None else _load(tokenizer)
        kept = None if dtype is None else getattr(torch, dtype)
        template = _template_files(local) if local.is_dir() else {}
        if local.is_dir():
            known = known or _tokenizer_in(local)
            model = import_llama(local, known, dtype=kept)
        else:
            try:
                model = import_llama2c(local, known, dtype=kept)
            except ValueError as error:
                raise ValueError(f"{error}; {_SOURCES}") from None
    save_model(model, str(target), known)
    if known is not None:
        known.save(str(target))
    if template:
        write_files(target, template)
    say(f"{_parameters(model)} parameters in {target}{'' if known else ', without a tokenizer'}")


def _export_gguf(
    model: TransformerLM, target: Location, tokenizer: Tokenizer | None, template: dict[str, bytes]
) -> None:
    from fastlm.generation.chat_template import TEMPLATE
    from fastlm.model.gguf import GGUFType, export_gguf

    if tokenizer is None:
        raise ValueError("a GGUF file holds the tokenizer; give --tokenizer")
    kinds: dict[str, GGUFType] = {"torch.bfloat16": "bfloat16", "torch.float16": "float16"}
    if isinstance(target, Path):
        target.mkdir(parents=True, exist_ok=True)
    kind = kinds.get(str(model.lm_head.weight.dtype), "float32")
    source = template[TEMPLATE].decode() if template else None
    export_gguf(model, str(target / "model.gguf"), tokenizer, kind=kind, chat_template=source)


def _template_files(folder: Path) -> dict[str, bytes]:
    """The files of a folder's chat template; none, with a note, where they are not as they should be."""
    from fastlm.generation.chat_template import template_files

    try:
        return template_files(folder)
    except ValueError as error:
        note(f"the chat template is left out: {error}")
        return {}


def _load(path: str | Path) -> Tokenizer:
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
