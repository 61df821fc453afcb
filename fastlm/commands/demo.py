"""`fastlm demo`: trains, encodes, decodes and compares."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from fastlm.commands.inputs import TOKENIZER_FILES, OptionalPathOrAddress, refuse_to_overwrite
from fastlm.files.remote import local_path

_DEMO_FILES = (*TOKENIZER_FILES, "corpus.txt", "report.txt", "ids")
_MODEL_FILES = (*TOKENIZER_FILES, "train.npy", "valid.npy", "log.jsonl", "report.txt", "model", "checkpoints")


def demo(
    source: Annotated[Positional[Path | None], arg(metavar="FILE", help_behavior_hint="(optional)")] = None,
    /,
    out: OptionalPathOrAddress = None,
    model: bool = False,
    force: bool = False,
) -> None:
    """Train a tokenizer, encode, decode and compare, and print the measurements.

    The text is English that comes with CPython, or a file.

    Args:
        source: A UTF-8 file to use instead of the built-in text.
        out: Directory that keeps the results.
        model: Also train a small language model and generate text; takes about two minutes on two cores.
        force: Overwrite files in OUT that the demo did not write.
    """
    folder = None if out is None else local_path(out, "out")
    if folder is not None:
        names, mark = (_MODEL_FILES, "log.jsonl") if model else (_DEMO_FILES, "report.txt")
        refuse_to_overwrite(folder, names, mark, force)
    if model:
        from fastlm.demo.model import run_model_demo

        run_model_demo(source, folder)
    else:
        from fastlm.demo.tokenizer import run_demo

        run_demo(source, folder)
