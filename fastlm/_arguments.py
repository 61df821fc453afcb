"""Checks of arguments, with errors that name them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

Kind = TypeVar("Kind")
Item = TypeVar("Item")

# the ratio of difflib from which on a known name is suggested for an unknown one
LEAST_SIMILAR = 0.7


def instance_of(value: object, kind: type[Kind], name: str) -> Kind:
    """Returns the value of an argument. Raises TypeError naming the argument unless it is of this kind."""
    if not isinstance(value, kind):
        raise TypeError(f"{name} must be a {kind.__name__}, got {type(value).__name__}")
    return value


def items_of(value: Iterable[Item]) -> list[Item]:
    """The items of an iterable. `list` would allocate for the length that the iterable reports."""
    return [item for item in value]  # noqa: C416 - see above


def positive_number(value: object, name: str) -> None:
    """Raises TypeError or ValueError naming an argument unless it is a positive number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} must be a number, got {type(value).__name__}")
    if not value > 0:
        raise ValueError(f"{name} is {value!r}; expected a positive number")


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """A hint for an error about an unknown name: " (did you mean 'gpt2'?)", or "" if no known name is similar."""
    from difflib import SequenceMatcher

    matcher = SequenceMatcher(b=str(name).lower())
    ratios = {}
    for candidate in known:
        matcher.set_seq1(candidate.lower())
        ratios[candidate] = matcher.ratio()
    best = max(ratios.values(), default=0.0)
    if best < LEAST_SIMILAR:
        return ""
    names = sorted(candidate for candidate, ratio in ratios.items() if ratio == best)
    return f" (did you mean {' or '.join(map(repr, names[:3]))}?)"
