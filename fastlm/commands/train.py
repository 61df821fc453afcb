"""`fastlm train`: trains a model on files of token ids."""

from __future__ import annotations

import dataclasses
import functools
import operator
import types
import typing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

from tyro.conf import Positional, arg

from fastlm.commands.helps import one_line_helps
from fastlm.commands.inputs import option
from fastlm.commands.logs import resumes_with
from fastlm.commands.output import say
from fastlm.training.config import TrainingConfig, load_config
from fastlm.training.config_values import ALIASES, NO_VALUE, may_be_none

# The value of an option that was not given, so that the file decides. It is compared by identity, because a directory
# may have the same name.
FROM_FILE = "".join(("from ", "CONFIG"))

# fields of lists and tables of numbers, which a file or the model of init_from gives
FILE_ONLY = ("rope_scaling", "layers_without_rope", "sliding_layers")
# what a text is, by the name of its field
METAVARS = dict.fromkeys(("out", "init_from", "train_data", "validation_data", "tokenizer"), "PATH")
METAVARS["device"] = "DEVICE"


def _options(config: type) -> type:
    """A dataclass with the fields of a configuration. By default each field is left to the file."""
    fields: list[Any] = []
    for name, hint in typing.get_type_hints(config).items():
        if name in FILE_ONLY:
            continue
        if dataclasses.is_dataclass(hint):
            fields.append((name, kind := _options(typing.cast(type, hint)), dataclasses.field(default_factory=kind)))
        else:
            # the metavar names the type only; every option may be left to the file
            aliases = tuple(f"--{old.replace('_', '-')}" for old, new in ALIASES.items() if new == name)
            metavar = _metavar(hint).replace("STR", METAVARS.get(name, "TEXT"))
            shown = arg(metavar=metavar, help_behavior_hint="", aliases=aliases or None)
            fields.append((name, Annotated[_option(hint), shown], FROM_FILE))
    options = dataclasses.make_dataclass(f"{config.__name__}Options", fields, namespace={"__doc__": config.__doc__})
    return one_line_helps(options)


def _option(hint: Any) -> Any:
    """The type of an option: the field's, with "none" for None, or FROM_FILE."""
    members = [member for member in _members(hint) if member is not types.NoneType]
    if may_be_none(hint) and str not in members:  # a text "none" needs no type of its own
        members.append(Literal[NO_VALUE])
    return functools.reduce(operator.or_, [*members, Literal["from CONFIG"]])


def _members(hint: Any) -> tuple[Any, ...]:
    return typing.get_args(hint) if typing.get_origin(hint) in (types.UnionType, typing.Union) else (hint,)


def _metavar(hint: Any) -> str:
    """The type of a field for the help text, such as INT, FLOAT|None or {ddp,fsdp}."""
    members = [member for member in typing.get_args(hint) if member is not type(None)]
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        return "|".join([*map(_metavar, members), "none"])
    if typing.get_origin(hint) is Literal:
        return "{" + ",".join(map(str, members)) + "}"
    if typing.get_origin(hint) is tuple:
        return f"[{_metavar(members[0])} ...]"
    return "{True,False}" if hint is bool else getattr(hint, "__name__", str(hint)).upper()


def _given(options: Any) -> dict[str, Any]:
    """The values of the options that were given, by name."""
    given = {}
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        if dataclasses.is_dataclass(value):
            if inner := _given(value):
                given[field.name] = inner
        elif value is not FROM_FILE:
            given[field.name] = value
    return given


if TYPE_CHECKING:
    Options: TypeAlias = Any
    NOTHING_GIVEN: Any
else:
    Options = _options(TrainingConfig)
    NOTHING_GIVEN = Options()


def train(
    config: Annotated[Positional[Path | None], arg(metavar="CONFIG.toml", help_behavior_hint="(optional)")] = None,
    /,
    options: Annotated[Options, arg(name="")] = NOTHING_GIVEN,
    preset: Annotated[str | None, option("NAME")] = None,
    depth: Annotated[int | None, option("INT")] = None,
    params: Annotated[str | None, option("NUMBER")] = None,
    dry_run: bool = False,
) -> None:
    """Train a language model, or resume an interrupted run.

    Options take precedence over the file. Start the command with torchrun to share the work among processes.

    Args:
        config: TOML file with the fields below; the fields of the model are in a table [model].
        options: Fields.
        preset: Size of the model by name: gpt2, gpt2-medium, gpt2-large, gpt2-xl, tinystories, llama2-7b, llama3-8b.
        depth: Size of the model by its number of layers; d_model is 64 times as much.
        params: Size of the model by its number of parameters, such as 50M; the nearest depth is taken.
        dry_run: Make all checks, print the plan with memory and time, measure a step, and write nothing.
    """
    from fastlm.training.hardware import explained

    given = _given(options)
    sizes = {"preset": preset, "depth": depth, "params": params}
    if chosen := {name: value for name, value in sizes.items() if value is not None}:
        given["model"] = {**chosen, **given.get("model", {})}
    settings = load_config(config, given)
    try:
        with resumes_with(f"{settings.out}: the same command resumes from the last checkpoint"):
            _run(settings, dry_run)
    except (RuntimeError, MemoryError) as error:
        if (line := explained(error)) is None:
            raise
        raise ValueError(line) from error


def _run(settings: TrainingConfig, dry: bool) -> None:
    if dry:
        from fastlm.training.dry_run import dry_run

        for line in dry_run(settings).lines():
            say(line)
        return
    from fastlm.training.loop import train as run

    say(f"model in {run(settings)}")
