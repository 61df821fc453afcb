"""`fastlm count`: how many tokens files have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg


def count(inputs: Annotated[Positional[tuple[Path, ...]], arg(metavar="INPUT...")], /, tokenizer: Path) -> None:
    """Count the tokens of UTF-8 text, file by file.

    Args:
        inputs: Files of text.
        tokenizer: Directory or file of the tokenizer.
    """
    from fastlm import load
    from fastlm.corpus.block_encoder import count_tokens

    loaded = load(tokenizer)
    total = 0
    for path in inputs:
        found = count_tokens(loaded, path)
        total += found
        print(f"{found:>15,}  {path}")
    if len(inputs) > 1:
        print(f"{total:>15,}  in all")
