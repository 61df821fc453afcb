"""How the commands are told what to read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from tyro.conf import OmitArgPrefixes, Positional, arg

from fastlm.corpus.read import Corpus

Inputs = Annotated[Positional[tuple[str, ...]], arg(metavar="INPUT...")]


@dataclass(frozen=True)
class Reading:
    """How inputs are read."""

    field: str = "text"
    """Field of JSON lines, or column of Parquet and Arrow files, that holds the text."""
    separator: str | None = None
    """What stands between the documents of a text; without it a file is one document."""
    kind: Literal["text", "jsonl", "parquet", "arrow"] | None = None
    """What all inputs are, where their names do not say it."""
    on_error: Literal["raise", "skip"] = "raise"
    """Whether what cannot be read ends the run or is skipped and counted."""

    def corpus(self, inputs: Sequence[str]) -> Corpus:
        """The inputs, to be read so. Raises ValueError where there is none."""
        if not inputs:
            raise ValueError("give at least one INPUT")
        return Corpus(list(inputs), self.field, self.separator, self.kind, self.on_error)


ReadingOptions = OmitArgPrefixes[Reading]
AS_NAMED = Reading()


def skipped_line(skipped: dict[str, int]) -> str:
    """What was skipped, to be printed."""
    return "skipped: " + ", ".join(f"{count:,} x {reason}" for reason, count in sorted(skipped.items()))
