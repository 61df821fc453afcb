"""A mutant: a small change of the source that some test must notice."""

from __future__ import annotations

from typing import NamedTuple


class Mutant(NamedTuple):
    """A change of one place of a file. With a reason why no result changes, it is equivalent, and survives."""

    file: str
    old: str
    new: str
    equivalent: str = ""

    @property
    def key(self) -> str:
        """What names the mutant where its number may change."""
        return f"{self.file}: {self.old.strip()} -> {self.new.strip()}"


def of(file: str, *changes: tuple[str, str]) -> list[Mutant]:
    """Mutants of one file."""
    return [Mutant(file, old, new) for old, new in changes]
