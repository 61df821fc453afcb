"""fastlm: raw text to a trained language model. What is loaded with it is the tokenizer side."""

from typing import TYPE_CHECKING, Any

from fastlm.bpe_training.trainer import train_bpe
from fastlm.tokenizer import Tokenizer, load

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
