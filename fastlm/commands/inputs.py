"""Options that several commands share."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import OmitArgPrefixes, Positional, arg

from fastlm.corpus.read import Corpus
from fastlm.corpus.read_options import ReadOptions


def option(metavar: str, *aliases: str) -> Any:
    """An optional argument for Annotated, whose help shows `metavar` and no default."""
    return arg(metavar=metavar, aliases=list(aliases) or None, help_behavior_hint="")


Inputs = Annotated[Positional[tuple[str, ...]], arg(metavar="INPUT...", help_behavior_hint="(required)")]
NumThreads = Annotated[int | None, option("INT", "--threads")]
OptionalPath = Annotated[Path | None, option("PATH")]
Address = Annotated[str | None, option("ADDRESS")]

TOKENIZER_MARK = "tokenizer.fastlm"
TOKENIZER_FILES = (TOKENIZER_MARK, "tokenizer.json", "vocab.json", "merges.txt", "tokenizer_config.json")

ReadingOptions = OmitArgPrefixes[ReadOptions]
AS_NAMED = ReadOptions()


def corpus_of(inputs: Sequence[str], options: ReadOptions) -> Corpus:
    """The inputs as a corpus. Raises ValueError where there is none."""
    if not inputs:
        raise ValueError("give at least one INPUT")
    return Corpus(list(inputs), **vars(options))


def skipped_line(skipped: dict[str, int]) -> str:
    """The numbers of skipped records as a line of text."""
    return "skipped: " + ", ".join(f"{count:,} x {reason}" for reason, count in sorted(skipped.items()))


def refuse_to_overwrite(folder: Path, names: Sequence[str], mark: str, force: bool) -> None:
    """Protects files that this command did not write.

    Args:
        folder: The folder to write to.
        names: The names of the files that the command writes.
        mark: The name of a file that is in the folder if the command wrote to it before.
        force: Overwrite them.

    Raises:
        FileExistsError: names the first file that would be overwritten.
    """
    if force or (folder / mark).exists():
        return
    for name in names:
        if os.path.lexists(folder / name):
            raise FileExistsError(f"{folder / name} exists and was not written by this command; --force overwrites it")
