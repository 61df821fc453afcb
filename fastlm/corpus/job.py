"""Deprecated name of fastlm.corpus.encode_corpus."""

from __future__ import annotations

import warnings
from typing import Any


def __getattr__(name: str) -> Any:
    if name != "encode_corpus":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from fastlm.corpus.encode_corpus import encode_corpus

    warnings.warn(f"{__name__} is deprecated; use fastlm.encode_corpus", DeprecationWarning, stacklevel=2)
    return encode_corpus
