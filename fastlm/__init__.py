"""fastlm: raw text to a trained language model. What is loaded with it is the tokenizer side."""

from typing import TYPE_CHECKING, Any

try:
    from fastlm.bpe_training.trainer import train_bpe
    from fastlm.tokenizer import Tokenizer, load
except ModuleNotFoundError as error:
    from pathlib import Path

    # every extension module has a stub; a stub without a binary means a clone that was not built
    root = Path(__file__).resolve().parents[1]
    if not (root / f"{(error.name or '').replace('.', '/')}.pyi").exists():
        raise
    raise ImportError(
        f"the extension module {error.name} is not built: run `pip install -e .` or "
        f"`python setup.py build_ext --inplace` in {root}"
    ) from error

if TYPE_CHECKING:
    from fastlm.generation import generate

__version__ = "0.1.0"
__all__ = ["Tokenizer", "__version__", "generate", "load", "train_bpe"]


def __getattr__(name: str) -> Any:
    # loads torch, which nothing else of this module needs
    if name == "generate":
        from fastlm.generation import generate

        return generate
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
