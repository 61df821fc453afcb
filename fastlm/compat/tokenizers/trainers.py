"""Trainers: what is asked of training. `Tokenizer.train` does it."""

from __future__ import annotations

from typing import Any, ClassVar, NoReturn

from fastlm.compat.tokenizers.added_tokens import AddedToken, given_tokens
from fastlm.compat.tokenizers.arguments import (
    boolean,
    known_options,
    optional_string,
    optional_unsigned,
    sequence,
    string,
    unsigned,
)
from fastlm.compat.tokenizers.component import Component, Option, refused, unsupported

_DEFAULTS: dict[str, Any] = {
    "vocab_size": 30000,
    "min_frequency": 0,
    "show_progress": True,
    "progress_format": "indicatif",
    "special_tokens": [],
    "limit_alphabet": None,
    "initial_alphabet": [],
    "continuing_subword_prefix": None,
    "end_of_word_suffix": None,
    "max_token_length": None,
}


def _special_tokens(tokens: Any) -> list[AddedToken]:
    return given_tokens(tokens, special=True)


def _first_characters(alphabet: Any) -> list[str]:
    return sorted({string(entry)[0] for entry in sequence(alphabet) if entry != ""})


class Trainer(Component):
    """What is asked of training."""


class BpeTrainer(Trainer):
    """What is asked of training BPE, by keyword.

    vocab_size: number of tokens, special ones included. min_frequency: how often a pair must occur to merge.
    special_tokens: str or AddedToken. initial_alphabet: characters that get a token whether they occur or not.
    limit_alphabet: how many characters get one. max_token_length: the longest token, in characters.
    """

    type_name = "BpeTrainer"
    options: ClassVar[tuple[str, ...]] = tuple(_DEFAULTS)
    vocab_size = Option(unsigned)
    min_frequency = Option(unsigned)
    show_progress = Option(boolean)
    progress_format = Option(string)
    special_tokens = Option(_special_tokens)
    limit_alphabet = Option(optional_unsigned)
    initial_alphabet = Option(_first_characters)
    continuing_subword_prefix = Option(optional_string)
    end_of_word_suffix = Option(optional_string)
    max_token_length = Option(optional_unsigned)

    def __init__(self, **options: Any) -> None:
        for name, value in {**_DEFAULTS, **known_options(options, *_DEFAULTS)}.items():
            setattr(self, name, value)

    def get_word_count(self) -> NoReturn:
        """Not supported: raises NotImplementedError."""
        unsupported("trainers.BpeTrainer.get_word_count")

    def content(self) -> dict[str, Any]:
        content = {option: getattr(self, option) for option in self.options}
        return {**content, "special_tokens": [token.__getstate__() for token in self.special_tokens]}

    @classmethod
    def from_content(cls, content: dict[str, Any]) -> BpeTrainer:
        special = [AddedToken(**token) for token in content["special_tokens"]]
        return cls(**{**content, "special_tokens": special})


ParityBpeTrainer = refused("trainers.ParityBpeTrainer", Trainer)
UnigramTrainer = refused("trainers.UnigramTrainer", Trainer)
WordLevelTrainer = refused("trainers.WordLevelTrainer", Trainer)
WordPieceTrainer = refused("trainers.WordPieceTrainer", Trainer)
