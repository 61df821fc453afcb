"""tiktoken's interface on fastlm's core: `import fastlm.compat.tiktoken as tiktoken`.

The token ids equal tiktoken's. Rank files are read from local folders and never downloaded; see `load`.
"""

from fastlm.compat.tiktoken.core import Encoding
from fastlm.compat.tiktoken.model import encoding_for_model, encoding_name_for_model
from fastlm.compat.tiktoken.registry import get_encoding, list_encoding_names

__version__ = "0.14.0"
"""The version of tiktoken that this interface follows."""

__all__ = [
    "Encoding",
    "encoding_for_model",
    "encoding_name_for_model",
    "get_encoding",
    "list_encoding_names",
]
