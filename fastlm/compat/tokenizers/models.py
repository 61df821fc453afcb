"""Models: byte-level BPE."""

from __future__ import annotations

import dataclasses
import json
import os
from typing import Any, NoReturn

from fastlm._arguments import items_of
from fastlm.compat.tokenizers.arguments import (
    boolean,
    is_instance,
    known_options,
    one_of_kinds,
    sequence,
    string,
    unsigned,
)
from fastlm.compat.tokenizers.component import Component, Option, refused, supported, unsupported
from fastlm.files.atomic import write_files
from fastlm.formats import gpt2
from fastlm.formats.tokenizer_json import models as parsed_models
from fastlm.formats.tokenizer_json.models import Merges, Vocab


class Model(Component):
    """A model: it makes ids of pretokens."""

    @classmethod
    def from_content(cls, content: dict[str, Any]) -> Any:
        return model_of(supported(parsed_models.parse_model, content))

    def __new__(cls, *_: Any, **__: Any) -> Any:
        # tokenizers gives an empty BPE for the bare class
        return object.__new__(BPE if cls is Model else cls)

    def token_to_id(self, tokens: str) -> int | None:
        raise NotImplementedError(type(self).__name__)

    def id_to_token(self, id: int) -> str | None:  # noqa: A002 - the name in tokenizers
        raise NotImplementedError(type(self).__name__)

    def save(self, folder: str, prefix: str | None = None, **options: Any) -> list[str]:
        raise NotImplementedError(type(self).__name__)

    def get_trainer(self) -> Any:
        raise NotImplementedError(type(self).__name__)

    def tokenize(self, sequence: str) -> Any:
        raise NotImplementedError(type(self).__name__)


def _off(name: str) -> Any:
    """An option that can only be off."""

    def check(value: Any) -> Any:
        if value:
            unsupported(f"models.BPE with {name}")
        return value

    return Option(check)


def _optional_string(value: Any) -> str | None:
    return None if value is None else string(value)


class BPE(Model):
    """Byte-pair encoding with `vocab`, token -> id, and `merges`, pairs of tokens in order of rank, or files of these.

    Raises ValueError where one is given without the other, or a merge has a token that is not in the vocabulary;
    NotImplementedError for dropout, continuing_subword_prefix and end_of_word_suffix.
    """

    type_name = "BPE"
    dropout = _off("dropout")
    continuing_subword_prefix = _off("continuing_subword_prefix")
    end_of_word_suffix = _off("end_of_word_suffix")
    byte_fallback = Option(boolean)
    unk_token = Option(_optional_string)
    fuse_unk = Option(boolean)
    ignore_merges = Option(boolean)

    def __init__(
        self,
        vocab: Vocab | str | None = None,
        merges: Merges | str | None = None,
        cache_capacity: int | None = None,
        dropout: float | None = None,
        unk_token: str | None = None,
        continuing_subword_prefix: str | None = None,
        end_of_word_suffix: str | None = None,
        fuse_unk: bool | None = None,
        byte_fallback: bool = False,
        ignore_merges: bool = False,
        **_: Any,
    ) -> None:
        if (vocab is None) != (merges is None):
            raise ValueError("`vocab` and `merges` must be both specified")
        for given in (vocab, merges):
            if isinstance(given, str):
                one_of_kinds(given)
        if isinstance(vocab, str) != isinstance(merges, str):
            raise ValueError("vocab and merges must both be files, or neither")
        if isinstance(vocab, str) and isinstance(merges, str):
            vocab, merges = self.read_file(vocab, merges)
        if cache_capacity is not None:
            unsigned(cache_capacity)
        if dropout is not None and not 0 <= dropout <= 1:
            raise ValueError(f"Dropout should be between 0 and 1, inclusive, not {dropout}")
        options = {
            "dropout": dropout,
            "unk_token": unk_token,
            "continuing_subword_prefix": continuing_subword_prefix,
            "end_of_word_suffix": end_of_word_suffix,
            "fuse_unk": fuse_unk or False,
            "byte_fallback": byte_fallback,
            "ignore_merges": ignore_merges,
        }
        checked = {name: getattr(type(self), name).check(value) for name, value in options.items()}
        tables = _checked_vocab({} if vocab is None else vocab), _checked_merges([] if merges is None else merges)
        self.set_parsed(supported(lambda: parsed_models.BPE(*tables, **checked)))

    def set_parsed(self, parsed: parsed_models.BPE) -> None:
        tokens = self.__dict__.get("_tokens")
        if tokens is None or parsed.vocab is not self.vocab:
            self._tokens = {token_id: token for token, token_id in parsed.vocab.items()}
        super().set_parsed(parsed)

    @classmethod
    def of_parsed(cls, parsed: parsed_models.BPE) -> BPE:
        for name in ("dropout", "continuing_subword_prefix", "end_of_word_suffix"):
            getattr(cls, name).check(getattr(parsed, name))
        made: BPE = super().of_parsed(parsed)
        return made

    @property
    def vocab(self) -> Vocab:
        """Token -> id. Not to be changed."""
        vocab: Vocab = self._parsed.vocab
        return vocab

    @property
    def merges(self) -> Merges:
        """The merges in order of rank. Not to be changed."""
        merges: Merges = self._parsed.merges
        return merges

    @property
    def tokens(self) -> dict[int, str]:
        """Id -> token. Not to be changed."""
        tokens: dict[int, str] = self._tokens
        return tokens

    def set_trained(self, vocab: Vocab, merges: Merges, prefix: str | None, suffix: str | None) -> None:
        """Takes the result of a training and the affixes of its trainer. Raises ValueError if merges lack tokens."""
        affixes = {"continuing_subword_prefix": prefix, "end_of_word_suffix": suffix}
        self.set_parsed(supported(lambda: dataclasses.replace(self._parsed, vocab=vocab, merges=merges, **affixes)))

    @staticmethod
    def read_file(vocab: str, merges: str) -> tuple[Vocab, Merges]:
        """The content of vocab.json and merges.txt. Raises OSError, or ValueError for malformed content."""
        return gpt2.read_spelled_vocab(string(vocab)), gpt2.read_spelled_merges(string(merges), every_version_line=True)

    @classmethod
    def from_file(cls, vocab: str, merges: str, **options: Any) -> BPE:
        """The model of vocab.json and merges.txt. Raises as `read_file` and the constructor."""
        return cls(*cls.read_file(vocab, merges), **options)

    def token_to_id(self, tokens: str) -> int | None:
        """The id of a token, or None."""
        return self.vocab.get(string(tokens))

    def id_to_token(self, id: int) -> str | None:  # noqa: A002 - the name in tokenizers
        """The token of an id, or None."""
        return self.tokens.get(unsigned(id, 32))

    def save(self, folder: str, prefix: str | None = None, **options: Any) -> list[str]:
        """Writes vocab.json and merges.txt into a folder and returns their paths. Raises OSError."""
        prefix = known_options(options, "name").get("name", prefix)
        start = f"{string(prefix)}-" if prefix is not None else ""
        vocab = json.dumps(self.json_value()["vocab"], ensure_ascii=False, separators=(",", ":"))
        merges = "".join(f"{left} {right}\n" for left, right in self.merges)
        files = {f"{start}vocab.json": vocab.encode(), f"{start}merges.txt": f"{gpt2.VERSION_LINE}\n{merges}".encode()}
        if not os.path.isdir(string(folder) or os.curdir):
            raise FileNotFoundError(f"No such directory: {folder!r}")
        from pathlib import Path

        write_files(Path(folder), files)
        return [os.path.join(folder, name) for name in files]

    def get_trainer(self) -> Any:
        """A trainer with the usual options."""
        from fastlm.compat.tokenizers.trainers import BpeTrainer

        return BpeTrainer()

    def tokenize(self, sequence: str) -> NoReturn:
        """Not supported: raises NotImplementedError."""
        unsupported("models.BPE.tokenize")

    def _clear_cache(self) -> None:
        """Does nothing: the pretoken cache is bounded, and belongs to the encoder."""

    def _resize_cache(self, capacity: int) -> None:
        unsigned(capacity)

    def shown_fields(self) -> dict[str, Any]:
        vocab = {token: token_id for token_id, token in sorted(self.tokens.items())}
        return {**self._parsed.options(), "vocab": vocab, "merges": self.merges}


def _checked_vocab(vocab: Any) -> Vocab:
    is_instance(vocab, dict)
    for token, token_id in vocab.items():
        if type(token) is not str or not token.isascii() or type(token_id) is not int or not 0 <= token_id < 1 << 32:
            try:
                string(token), unsigned(token_id, 32)
            except (TypeError, ValueError, OverflowError) as error:
                raise TypeError(f"vocab has {token!r:.80} with id {token_id!r}: {error}") from None
    return {str(token): int(token_id) for token, token_id in vocab.items()}


def _checked_merges(merges: Any) -> Merges:
    checked = items_of(sequence(merges))
    for rank, merge in enumerate(checked):
        if type(merge) is not tuple or len(merge) != 2 or type(merge[0]) is not str or type(merge[1]) is not str:
            raise TypeError(f"merge {rank} is {merge!r:.80}, not a tuple of two str")
    return checked


Unigram = refused("models.Unigram", Model)
WordLevel = refused("models.WordLevel", Model)
WordPiece = refused("models.WordPiece", Model)


def model_of(parsed: parsed_models.BPE) -> BPE:
    """The model of a frozen dataclass."""
    return BPE.of_parsed(parsed)
