"""The options that decide how sources are read: the same fields in Python, on the command line and in manifests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from fastlm.corpus.skipped import OnError

Kind: TypeAlias = Literal["text", "jsonl", "parquet", "arrow"]


@dataclass(frozen=True, kw_only=True)
class ReadOptions:
    """How sources are read."""

    field: str = "text"
    """Field of JSON lines, or column of Parquet and Arrow files, that holds the text."""
    separator: str | None = None
    """Text between two documents of a file; without it a text file is one document."""
    kind: Kind | None = None
    """Kind of all inputs, where their names do not tell it."""
    on_error: OnError = "raise"
    """Whether input that cannot be read ends the run, or is skipped and counted."""

    def __post_init__(self) -> None:
        if not isinstance(self.field, str):
            raise TypeError(f"field must be a str, got {type(self.field).__name__}")
        if not isinstance(self.separator, str | None):
            raise TypeError(f"separator must be a str or None, got {type(self.separator).__name__}")
        if self.separator == "":
            raise ValueError("separator must not be empty")
        if self.kind is not None and self.kind not in get_args(Kind):
            raise ValueError(f"kind must be one of {', '.join(get_args(Kind))}, got {self.kind!r}")
        if self.on_error not in get_args(OnError):
            raise ValueError(f"on_error must be 'raise' or 'skip', got {self.on_error!r}")
