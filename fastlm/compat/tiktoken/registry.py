"""Encodings by name."""

from __future__ import annotations

from fastlm.compat.tiktoken.core import ENCODINGS, get_encoding
from fastlm.compat.tiktoken.plugins import ENCODING_CONSTRUCTORS, find_plugins

__all__ = ["ENCODINGS", "ENCODING_CONSTRUCTORS", "get_encoding", "list_encoding_names"]


def list_encoding_names() -> list[str]:
    """Lists the names that `get_encoding` accepts.

    Returns:
        The names, including the names from plugins.

    Raises:
        ValueError: A plugin does not define ENCODING_CONSTRUCTORS, or repeats a name.
    """
    find_plugins()
    return list(ENCODING_CONSTRUCTORS)
