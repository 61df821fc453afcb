"""`fastlm demo`: train, encode, decode and compare."""

from __future__ import annotations

from pathlib import Path

from tyro.conf import Positional


def demo(input: Positional[Path | None] = None, /, out: Path | None = None, model: bool = False) -> None:
    """Train, encode, decode and compare, and print what it took: on English that comes with CPython, or on a file.

    Args:
        input: A UTF-8 file to use instead.
        out: Directory that keeps what is made.
        model: Train a small language model too, and let it write; some two minutes on two cores.
    """
    if model:
        from fastlm.demo.model import run_model_demo

        run_model_demo(input, out)
    else:
        from fastlm.demo.tokenizer import run_demo

        run_demo(input, out)
