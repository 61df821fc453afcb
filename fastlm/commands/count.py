"""`fastlm count`: counts the tokens of texts."""

from __future__ import annotations

import functools
import sys
from typing import Annotated

from tyro.conf import Positional, arg

from fastlm.commands.inputs import AS_NAMED, PathOrAddress, ReadingOptions
from fastlm.commands.output import say
from fastlm.progress import shown


def count(
    inputs: Annotated[Positional[tuple[str, ...]], arg(metavar="[INPUT...]", help_behavior_hint="")] = (),
    /,
    *,
    tokenizer: PathOrAddress,
    reading: ReadingOptions = AS_NAMED,
) -> None:
    """Count the tokens of files, or of standard input.

    Args:
        inputs: Files, directories, globs, addresses such as s3://bucket/name, or - for standard input, which is read
            if there is no INPUT. The names tell text, JSON lines, Parquet and Arrow apart.
        tokenizer: Directory or file of the tokenizer, or name of a model in the Hub's local cache.
        reading: How the inputs are read.
    """
    from fastlm import Corpus, load
    from fastlm.corpus.block_encoder import count_tokens
    from fastlm.corpus.sources import STDIN, find_files

    if not inputs and sys.stdin.isatty():
        raise ValueError("give at least one INPUT, or - for standard input")
    loaded = load(tokenizer)
    names = [file.name for file in find_files(inputs or [STDIN])]
    counts = []
    for name in names:
        with shown() as report:
            corpus = Corpus([name], **vars(reading))
            counts.append(count_tokens(loaded, corpus, functools.partial(report, "count")))
        say(f"{counts[-1]:>15,}  {name}")
    if len(names) > 1:
        say(f"{sum(counts):>15,}  total")
