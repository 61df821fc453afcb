"""Compatibility layer for Hugging Face's `tokenizers`, for byte-level BPE.

>>> import fastlm.compat.tokenizers as tokenizers

>>> from fastlm.compat import tokenizers
>>> from fastlm.compat.tokenizers import decoders, models, pre_tokenizers
>>> vocab = {char: id for id, char in enumerate(pre_tokenizers.ByteLevel.alphabet())}
>>> tokenizer = tokenizers.Tokenizer(models.BPE(vocab | {"he": 256}, [("h", "e")]))
>>> tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
>>> tokenizer.decoder = decoders.ByteLevel()
>>> encoding = tokenizer.encode("he he")
>>> encoding.tokens, encoding.offsets
(['he', 'Ġ', 'he'], [(0, 2), (2, 3), (3, 5)])
>>> tokenizer.decode(encoding.ids)
'he he'

Classes that are not for byte-level BPE can be imported. Making one raises NotImplementedError.
"""

from enum import Enum

from fastlm.compat.tokenizers import (
    decoders,
    implementations,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    tools,
    trainers,
)
from fastlm.compat.tokenizers.added_tokens import AddedToken
from fastlm.compat.tokenizers.component import Regex, refused
from fastlm.compat.tokenizers.encoding import Encoding
from fastlm.compat.tokenizers.implementations import (
    BertWordPieceTokenizer,
    ByteLevelBPETokenizer,
    CharBPETokenizer,
    SentencePieceBPETokenizer,
    SentencePieceUnigramTokenizer,
)
from fastlm.compat.tokenizers.tokenizer import Tokenizer

__version__ = "0.23.3"

Offsets = tuple[int, int]
TextInputSequence = str
PreTokenizedInputSequence = list[str] | tuple[str, ...]
TextEncodeInput = str | tuple[str, str] | list[str]
PreTokenizedEncodeInput = (
    PreTokenizedInputSequence
    | tuple[PreTokenizedInputSequence, PreTokenizedInputSequence]
    | list[PreTokenizedInputSequence]
)
InputSequence = TextInputSequence | PreTokenizedInputSequence
EncodeInput = TextEncodeInput | PreTokenizedEncodeInput


class OffsetReferential(Enum):
    ORIGINAL = "original"
    NORMALIZED = "normalized"


class OffsetType(Enum):
    BYTE = "byte"
    CHAR = "char"


class SplitDelimiterBehavior(Enum):
    REMOVED = "removed"
    ISOLATED = "isolated"
    MERGED_WITH_PREVIOUS = "merged_with_previous"
    MERGED_WITH_NEXT = "merged_with_next"
    CONTIGUOUS = "contiguous"


NormalizedString = refused("NormalizedString", object)
PreTokenizedString = refused("PreTokenizedString", object)
Token = refused("Token", object)

__all__ = [
    "AddedToken",
    "BertWordPieceTokenizer",
    "ByteLevelBPETokenizer",
    "CharBPETokenizer",
    "EncodeInput",
    "Encoding",
    "InputSequence",
    "NormalizedString",
    "OffsetReferential",
    "OffsetType",
    "Offsets",
    "PreTokenizedEncodeInput",
    "PreTokenizedInputSequence",
    "PreTokenizedString",
    "Regex",
    "SentencePieceBPETokenizer",
    "SentencePieceUnigramTokenizer",
    "SplitDelimiterBehavior",
    "TextEncodeInput",
    "TextInputSequence",
    "Token",
    "Tokenizer",
    "decoders",
    "implementations",
    "models",
    "normalizers",
    "pre_tokenizers",
    "processors",
    "tools",
    "trainers",
]
