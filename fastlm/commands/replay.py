"""`fastlm replay`: prints the windows of a past step of a run."""

from __future__ import annotations

from collections.abc import Iterator
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, arg

from fastlm.commands.inputs import option
from fastlm.commands.output import say

if TYPE_CHECKING:
    from fastlm.training.replay import Replay, ReplayedDocument, ReplayedWindow

TOKENS_PER_LINE = 6


def replay(
    run: Annotated[Positional[Path], arg(metavar="RUN")],
    /,
    step: int,
    windows: Annotated[int | None, option("INT")] = None,
    device: str = "auto",
    json: bool = False,
) -> None:
    """Print the windows of a past step: their text, the documents they come from, and each token's loss.

    The losses are exactly the losses of the step if RUN has the checkpoint of the step before it, and for step 1.
    Otherwise the weights of the nearest checkpoint compute them, and the output says so.

    Args:
        run: Directory of the run.
        step: The step, from 1.
        windows: Number of windows to print; all by default.
        device: Device, as torch names it, or auto.
        json: Print JSON.
    """
    from fastlm.training.replay import replay as replayed

    if windows is not None and windows < 1:
        raise ValueError(f"windows must be at least 1, got {windows}")
    found = replayed(run, step, device)
    if json:
        content = found.to_dict()
        content["windows"] = content["windows"][:windows]
        print(dumps(content))
        return
    for line in _lines(found, windows):
        say(line)


def _lines(found: Replay, most: int | None) -> Iterator[str]:
    logged = "" if found.logged_loss is None else f", logged as {found.logged_loss:.6f}"
    yield (
        f"step {found.step}: {len(found.windows)} windows, learning rate {found.learning_rate:.4g}, "
        f"loss {found.loss:.6f}{logged}"
    )
    exact = "which the step used" if found.is_exact else f"not the step's weights, which had done {found.step - 1}"
    yield f"weights: {found.weights}, after {found.weights_step} steps, {exact}"
    for number, window in enumerate(found.windows[:most], 1):
        yield ""
        stop = window.start + len(window.ids)
        yield f"window {number}: ids {window.start:,} to {stop:,}, loss {window.loss:.4f}"
        for document in window.documents or ():
            yield f"  {_document(document)}"
        if window.text is not None:
            yield f"  {window.text!r}"
        yield from _tokens(window)


def _document(document: ReplayedDocument) -> str:
    before = f" after {document.skipped_tokens:,} others" if document.skipped_tokens else ""
    source = "" if document.source is None else f": {document.source} at {document.position:,}"
    return (
        f"tokens {document.first_token} to {document.first_token + document.tokens} are {document.tokens:,} tokens"
        f"{before} of document {document.number:,} of {document.shard}{source}"
    )


def _tokens(window: ReplayedWindow) -> Iterator[str]:
    """The tokens and their losses. The first token has none."""
    names = [str(token_id) for token_id in window.ids] if window.tokens is None else map(repr, window.tokens)
    losses = ["", *(f" {loss:.3f}" for loss in window.losses)]
    cells = [f"{name}{loss}" for name, loss in zip(names, losses, strict=True)]
    for first in range(0, len(cells), TOKENS_PER_LINE):
        yield "    " + " | ".join(cells[first : first + TOKENS_PER_LINE])
