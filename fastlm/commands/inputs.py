"""How the commands are told what to read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from tyro.conf import OmitArgPrefixes, Positional, arg

from fastlm.corpus.read import Corpus
from fastlm.corpus.read_options import ReadOptions

Inputs = Annotated[Positional[tuple[str, ...]], arg(metavar="INPUT...")]


ReadingOptions = OmitArgPrefixes[ReadOptions]
AS_NAMED = ReadOptions()


def corpus_of(inputs: Sequence[str], options: ReadOptions) -> Corpus:
    """The inputs as a corpus. Raises ValueError where there is none."""
    if not inputs:
        raise ValueError("give at least one INPUT")
    return Corpus(list(inputs), **vars(options))


def skipped_line(skipped: dict[str, int]) -> str:
    """What was skipped, to be printed."""
    return "skipped: " + ", ".join(f"{count:,} x {reason}" for reason, count in sorted(skipped.items()))
