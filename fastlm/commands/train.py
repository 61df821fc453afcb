"""`fastlm train`: a model from files of token ids."""

from __future__ import annotations

import dataclasses
import typing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

from tyro.conf import Positional, arg

from fastlm.training.config import TrainingConfig, load_config

# what an option is that was not given: then the file decides
FROM_FILE = "from CONFIG"


def _options(config: type) -> type:
    """A dataclass with the fields of a configuration, each of which may also be left to the file."""
    fields: list[Any] = []
    for name, hint in typing.get_type_hints(config).items():
        if dataclasses.is_dataclass(hint):
            fields.append((name, kind := _options(typing.cast(type, hint)), dataclasses.field(default_factory=kind)))
        else:
            fields.append((name, hint | Literal[FROM_FILE], FROM_FILE))
    return dataclasses.make_dataclass(f"{config.__name__}Options", fields, namespace={"__doc__": config.__doc__})


def _given(options: Any) -> dict[str, Any]:
    """The values of the options that were given, by name."""
    given = {}
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        if dataclasses.is_dataclass(value):
            if inner := _given(value):
                given[field.name] = inner
        elif value != FROM_FILE:
            given[field.name] = value
    return given


if TYPE_CHECKING:
    Options: TypeAlias = Any
else:
    Options = _options(TrainingConfig)


def train(
    config: Annotated[Positional[Path], arg(metavar="CONFIG.toml")],
    /,
    options: Annotated[Options, arg(name="")],
) -> None:
    """Train a language model, or go on with a run that was stopped.

    Options stand above the fields of the file. Start it by torchrun to share the work among processes.

    Args:
        config: TOML with the fields below, those of the model in a table [model].
        options: Fields.
    """
    from fastlm.training.loop import train as run

    print(f"model in {run(load_config(config, _given(options)))}")
