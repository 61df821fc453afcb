"""The figures of the write-up, read from then.toml, which names the source of each."""

from __future__ import annotations

import functools
import tomllib
from dataclasses import dataclass
from importlib.resources import files


@dataclass(frozen=True)
class Then:
    """A figure of the write-up.

    Attributes:
        value: The printed value, or a text.
        source: The section of the write-up that prints it.
        derived: How the value follows from printed values, if it is not printed itself.
    """

    value: float | int | str
    source: str
    derived: str = ""


@functools.cache
def _all() -> dict[str, Then]:
    tables = tomllib.loads(files("fastlm.report").joinpath("then.toml").read_text("utf-8"))
    return {
        f"{section}.{name}": Then(figure["value"], section, figure.get("derived", ""))
        for section, figures in tables.items()
        for name, figure in figures.items()
    }


def then(name: str) -> Then:
    """The figure of a name, such as "train_bpe_tinystories.seconds".

    Raises:
        KeyError: There is no figure of this name.
    """
    if name not in _all():
        raise KeyError(f"no figure of the write-up is named {name!r}")
    return _all()[name]
