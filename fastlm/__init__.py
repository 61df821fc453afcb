"""fastlm: raw text to a trained language model. This module is the face of the tokenizer side."""

from fastlm.tokenizer import Tokenizer, load
from fastlm.trainer import train_bpe

__version__ = "0.1.0"
__all__ = ["Tokenizer", "__version__", "load", "train_bpe"]
