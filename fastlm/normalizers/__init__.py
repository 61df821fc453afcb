"""Normalizers: steps that change a text before it is split, as Hugging Face's `tokenizers` computes them."""

from fastlm.normalizers.content import normalizers_from_content, normalizers_to_content
from fastlm.normalizers.steps import (
    ByteLevel,
    Nmt,
    Normalizer,
    Prepend,
    Replace,
    Strip,
    UnicodeForm,
    normalize,
    normalize_with_origins,
)

__all__ = [
    "ByteLevel",
    "Nmt",
    "Normalizer",
    "Prepend",
    "Replace",
    "Strip",
    "UnicodeForm",
    "normalize",
    "normalize_with_origins",
    "normalizers_from_content",
    "normalizers_to_content",
]
