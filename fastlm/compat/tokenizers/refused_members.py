"""The methods and attributes of the classes of `tokenizers` that are refused by name."""

from __future__ import annotations

_AFFIXES = "continuing_subword_prefix end_of_word_suffix "
_TRAINER = "show_progress special_tokens "
_STRING_METHODS = (
    "append clear filter for_each lowercase lstrip map nfc nfd nfkc nfkd prepend replace rstrip slice split"
)

# class -> (methods, attributes) that its base class lacks
REFUSED_MEMBERS: dict[str, tuple[str, str]] = {
    "BertWordPieceTokenizer": ("from_file train train_from_iterator", ""),
    "CharBPETokenizer": ("from_file train train_from_iterator", ""),
    "NormalizedString": (f"__getitem__ {_STRING_METHODS} strip uppercase", "normalized original"),
    "PreTokenizedString": ("get_splits normalize split to_encoding tokenize", ""),
    "SentencePieceBPETokenizer": ("from_file train train_from_iterator", ""),
    "SentencePieceUnigramTokenizer": ("from_spm train train_from_iterator", ""),
    "Token": ("as_tuple", "id offsets value"),
    "decoders.BPEDecoder": ("", "suffix"),
    "decoders.CTC": ("", "cleanup pad_token word_delimiter_token"),
    "decoders.Metaspace": ("", "prepend_scheme replacement split"),
    "decoders.Strip": ("", "content start stop"),
    "decoders.WordPiece": ("", "cleanup prefix"),
    "models.Unigram": ("_clear_cache _resize_cache", "alpha nbest_size"),
    "models.WordLevel": ("from_file read_file", "unk_token"),
    "models.WordPiece": ("from_file read_file", "continuing_subword_prefix max_input_chars_per_word unk_token"),
    "normalizers.BertNormalizer": ("", "clean_text handle_chinese_chars lowercase strip_accents"),
    "tools.EncodingVisualizer": ("__call__ calculate_label_colors consecutive_chars_to_html", "unk_token_regex"),
    "trainers.ParityBpeTrainer": (
        "train_from_iterator",
        f"{_AFFIXES}{_TRAINER}alpha global_merges initial_alphabet limit_alphabet max_token_length min_frequency "
        "num_merges total_symbols variant window_size",
    ),
    "trainers.UnigramTrainer": ("", f"{_TRAINER}initial_alphabet vocab_size"),
    "trainers.WordLevelTrainer": ("", f"{_TRAINER}min_frequency vocab_size"),
    "trainers.WordPieceTrainer": (
        "",
        f"{_AFFIXES}{_TRAINER}initial_alphabet limit_alphabet min_frequency vocab_size",
    ),
}
