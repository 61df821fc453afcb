"""Trainers: the options of a training. `Tokenizer.train` does it."""

from __future__ import annotations

import dataclasses
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


def _special_tokens(tokens: Any) -> list[AddedToken]:
    return given_tokens(tokens, special=True)


def _first_characters(alphabet: Any) -> list[str]:
    return sorted({string(entry)[0] for entry in sequence(alphabet) if entry != ""})


@dataclasses.dataclass(frozen=True)
class _BpeOptions:
    """The options of a BpeTrainer."""

    vocab_size: int = 30000
    min_frequency: int = 0
    show_progress: bool = True
    progress_format: str = "indicatif"
    special_tokens: list[AddedToken] = dataclasses.field(default_factory=list)
    limit_alphabet: int | None = None
    initial_alphabet: list[str] = dataclasses.field(default_factory=list)
    continuing_subword_prefix: str | None = None
    end_of_word_suffix: str | None = None
    max_token_length: int | None = None


_NAMES = tuple(field.name for field in dataclasses.fields(_BpeOptions))


class Trainer(Component):
    """The options of a training."""


class BpeTrainer(Trainer):
    """The options of training BPE, by keyword.

    vocab_size: number of tokens, special ones included. min_frequency: how often a pair must occur to merge.
    special_tokens: str or AddedToken. initial_alphabet: characters that get a token whether they occur or not.
    limit_alphabet: how many characters get one. max_token_length: the longest token, in characters.
    """

    type_name = "BpeTrainer"
    options: ClassVar[tuple[str, ...]] = _NAMES
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
        given = known_options(options, *_NAMES)
        self.set_parsed(_BpeOptions(**{name: getattr(type(self), name).check(given[name]) for name in given}))

    def get_word_count(self) -> NoReturn:
        """Not supported: raises NotImplementedError."""
        unsupported("trainers.BpeTrainer.get_word_count")

    def json_value(self) -> dict[str, Any]:
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
