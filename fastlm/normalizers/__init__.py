"""Normalizers: steps that change a text before it is split, as Hugging Face's `tokenizers` computes them."""

from fastlm.normalizers.steps import (
    ByteLevel,
    Nmt,
    Normalizer,
    Prepend,
    Replace,
    Strip,
    UnicodeForm,
    keeps,
    normalize,
    normalize_str,
    normalize_with_origins,
    simplified,
)

__all__ = [
    "ByteLevel",
    "Nmt",
    "Normalizer",
    "Prepend",
    "Replace",
    "Strip",
    "UnicodeForm",
    "keeps",
    "normalize",
    "normalize_str",
    "normalize_with_origins",
    "simplified",
]
