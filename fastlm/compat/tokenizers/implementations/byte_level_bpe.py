"""`ByteLevelBPETokenizer`, as for GPT-2 and RoBERTa."""

from __future__ import annotations

from typing import Any

from fastlm.compat.tokenizers import decoders, pre_tokenizers, processors
from fastlm.compat.tokenizers.added_tokens import AddedToken
from fastlm.compat.tokenizers.implementations.base_tokenizer import BaseTokenizer
from fastlm.compat.tokenizers.models import BPE
from fastlm.compat.tokenizers.normalizers import Lowercase, Sequence, unicode_normalizer_from_str
from fastlm.compat.tokenizers.tokenizer import Tokenizer
from fastlm.compat.tokenizers.trainers import BpeTrainer


class ByteLevelBPETokenizer(BaseTokenizer):
    """Byte-level BPE that splits as GPT-2 does, from tables, from files of them, or to be trained.

    Raises NotImplementedError for dropout, continuing_subword_prefix and end_of_word_suffix.
    """

    def __init__(
        self,
        vocab: str | dict[str, int] | None = None,
        merges: str | list[tuple[str, str]] | None = None,
        add_prefix_space: bool = False,
        lowercase: bool = False,
        dropout: float | None = None,
        unicode_normalizer: str | None = None,
        continuing_subword_prefix: str | None = None,
        end_of_word_suffix: str | None = None,
        trim_offsets: bool = False,
    ) -> None:
        model = BPE()
        if vocab is not None and merges is not None:
            affixes = (continuing_subword_prefix or "", end_of_word_suffix or "")
            model = BPE(vocab, merges, None, dropout, None, *affixes)
        tokenizer = Tokenizer(model)
        steps = [unicode_normalizer_from_str(unicode_normalizer)] if unicode_normalizer else []
        if lowercase:
            steps.append(Lowercase())
        if steps:
            tokenizer.normalizer = steps[0] if len(steps) == 1 else Sequence(steps)
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=add_prefix_space)
        tokenizer.decoder = decoders.ByteLevel()
        tokenizer.post_processor = processors.ByteLevel(trim_offsets=trim_offsets)
        parameters = {
            "model": "ByteLevelBPE",
            "add_prefix_space": add_prefix_space,
            "lowercase": lowercase,
            "dropout": dropout,
            "unicode_normalizer": unicode_normalizer,
            "continuing_subword_prefix": continuing_subword_prefix,
            "end_of_word_suffix": end_of_word_suffix,
            "trim_offsets": trim_offsets,
        }
        super().__init__(tokenizer, parameters)

    @staticmethod
    def from_file(vocab_filename: str, merges_filename: str, **options: Any) -> ByteLevelBPETokenizer:
        """The tokenizer of vocab.json and merges.txt. Raises OSError, or ValueError for a malformed file."""
        return ByteLevelBPETokenizer(*BPE.read_file(vocab_filename, merges_filename), **options)

    def train(
        self,
        files: str | list[str],
        vocab_size: int = 30000,
        min_frequency: int = 2,
        show_progress: bool = True,
        special_tokens: list[str | AddedToken] | None = None,
    ) -> None:
        """Trains on files; all bytes get a token. See `Tokenizer.train`."""
        trainer = _trainer(vocab_size, min_frequency, show_progress, special_tokens)
        self._tokenizer.train([files] if isinstance(files, str) else files, trainer)

    def train_from_iterator(
        self,
        iterator: Any,
        vocab_size: int = 30000,
        min_frequency: int = 2,
        show_progress: bool = True,
        special_tokens: list[str | AddedToken] | None = None,
        length: int | None = None,
    ) -> None:
        """Trains on texts; all bytes get a token. See `Tokenizer.train_from_iterator`."""
        trainer = _trainer(vocab_size, min_frequency, show_progress, special_tokens)
        self._tokenizer.train_from_iterator(iterator, trainer, length)


def _trainer(
    vocab_size: int, min_frequency: int, show_progress: bool, special_tokens: list[str | AddedToken] | None
) -> BpeTrainer:
    return BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=min_frequency,
        show_progress=show_progress,
        special_tokens=[] if special_tokens is None else special_tokens,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
