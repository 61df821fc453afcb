"""`fastlm view`: writes a page that shows how a tokenizer encodes text."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from fastlm.commands.inputs import folder_to_write
from fastlm.commands.output import say


def view(
    tokenizer: Annotated[Positional[Path], arg(metavar="TOKENIZER")],
    other: Annotated[Positional[Path | None], arg(metavar="[OTHER]", help_behavior_hint="")] = None,
    /,
    out: Path = Path("tokens.html"),
    text: Annotated[str | None, arg(metavar="TEXT", help_behavior_hint="")] = None,
) -> None:
    """Write an HTML page that shows the tokens of a text while it is typed. With two tokenizers, compare them.

    Args:
        tokenizer: Directory or file of a tokenizer, or name of a model in the Hub's local cache.
        other: A second tokenizer. The page shows where the two first differ, and why.
        out: The HTML file. It needs no other file and no network.
        text: The text with which the page starts.
    """
    from fastlm import load
    from fastlm.files.atomic import replacing
    from fastlm.view import view_page
    from fastlm.view.page import SAMPLE

    folder_to_write(out.parent)
    paths = [tokenizer] if other is None else [tokenizer, other]
    loaded = [load(path) for path in paths]
    names = (str(tokenizer), str(other)) if other != tokenizer else (f"{tokenizer} (1)", f"{other} (2)")
    second = loaded[1] if other is not None else None
    page = view_page(loaded[0], second, names=names, text=SAMPLE if text is None else text).encode()
    with replacing(out) as file:
        file.write(page)
    say(f"wrote {out}, {len(page) / 1e6:.1f} MB; open it in a browser")
