"""`SentencePieceUnigramTokenizer`, which is refused by name."""

from fastlm.compat.tokenizers.component import refused
from fastlm.compat.tokenizers.implementations.base_tokenizer import BaseTokenizer

SentencePieceUnigramTokenizer = refused("SentencePieceUnigramTokenizer", BaseTokenizer)
