"""Ready-made tokenizers."""

from fastlm.compat.tokenizers.implementations.base_tokenizer import BaseTokenizer
from fastlm.compat.tokenizers.implementations.bert_wordpiece import BertWordPieceTokenizer
from fastlm.compat.tokenizers.implementations.byte_level_bpe import ByteLevelBPETokenizer
from fastlm.compat.tokenizers.implementations.char_level_bpe import CharBPETokenizer
from fastlm.compat.tokenizers.implementations.sentencepiece_bpe import SentencePieceBPETokenizer
from fastlm.compat.tokenizers.implementations.sentencepiece_unigram import SentencePieceUnigramTokenizer

__all__ = [
    "BaseTokenizer",
    "BertWordPieceTokenizer",
    "ByteLevelBPETokenizer",
    "CharBPETokenizer",
    "SentencePieceBPETokenizer",
    "SentencePieceUnigramTokenizer",
]
