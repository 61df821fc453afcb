"""What a program printed, and what is right."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Run:
    """A program that has ended.

    Attributes:
        out: Its standard output.
        err: Its standard error.
        returncode: Its exit status; None if it was killed because it took too long.
        root: The checkout of fastlm that it used.
    """

    out: str
    err: str
    returncode: int | None
    root: Path

    def page(self, name: str) -> str:
        """The text of a page of the documentation, in one line, so that a sentence can be searched for."""
        return " ".join((self.root / "docs" / name).read_text().split())

    def numbers(self, pattern: str) -> list[float]:
        """The numbers that a pattern with one group finds in the standard output."""
        return [float(found) for found in re.findall(pattern, self.out, re.MULTILINE)]


Check = Callable[[Run], Iterable[str]]


@dataclass(frozen=True)
class Right:
    """The right outcome of a program.

    Attributes:
        shows: Regular expressions that standard output has.
        errors: Regular expressions that standard error has.
        never: Regular expressions that neither has.
        check: A function that yields what else is wrong.
        returncode: Exit status.
        arguments: Arguments that the program needs.
    """

    shows: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()
    never: tuple[str, ...] = ()
    check: Check | None = None
    returncode: int = 0
    arguments: tuple[str, ...] = ()

    def complaints(self, run: Run) -> list[str]:
        """What is wrong about a run; empty if it is right."""
        if run.returncode is None:
            return ["killed: it took too long"]
        found = []
        if run.returncode != self.returncode:
            found.append(f"exit status {run.returncode}, expected {self.returncode}")
        for stream, patterns in ((run.out, self.shows), (run.err, self.errors)):
            found += [f"no match of {one!r}" for one in patterns if not re.search(one, stream, re.MULTILINE)]
        for pattern in self.never:
            match = re.search(pattern, run.out + run.err, re.MULTILINE)
            found += [f"printed {match[0]!r}"] if match else []
        if self.check is not None and not found:
            found += self.check(run)
        return found
