"""`fastlm count`: counts the tokens of files."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from fastlm.commands.output import say
from fastlm.progress import shown


def count(
    inputs: Annotated[Positional[tuple[Path, ...]], arg(metavar="INPUT...", help_behavior_hint="(required)")],
    /,
    tokenizer: Path,
) -> None:
    """Count the tokens of files.

    Args:
        inputs: Files of text, JSON lines, Parquet or Arrow.
        tokenizer: Directory or file of the tokenizer, or name of a model in the Hub's local cache.
    """
    from fastlm import load
    from fastlm.corpus.block_encoder import count_tokens

    if not inputs:
        raise ValueError("give at least one INPUT")
    loaded = load(tokenizer)
    total = 0
    for path in inputs:
        with shown() as report:
            found = count_tokens(loaded, path, functools.partial(report, "count"))
        total += found
        say(f"{found:>15,}  {path}")
    if len(inputs) > 1:
        say(f"{total:>15,}  total")
