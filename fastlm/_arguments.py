"""Checks of arguments, with errors that name them."""

from __future__ import annotations

from typing import TypeVar

Kind = TypeVar("Kind")


def instance_of(value: object, kind: type[Kind], name: str) -> Kind:
    """Returns the value of an argument. Raises TypeError naming the argument unless it is of this kind."""
    if not isinstance(value, kind):
        raise TypeError(f"{name} must be a {kind.__name__}, got {type(value).__name__}")
    return value


def positive_number(value: object, name: str) -> None:
    """Raises TypeError or ValueError naming an argument unless it is a positive number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} must be a number, got {type(value).__name__}")
    if not value > 0:
        raise ValueError(f"{name} is {value!r}; expected a positive number")
