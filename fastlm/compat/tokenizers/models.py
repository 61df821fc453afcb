"""Models: byte-level BPE."""

from __future__ import annotations

import json
import os
from typing import Any, NoReturn

from fastlm.compat.tokenizers.arguments import (
    boolean,
    is_instance,
    known_options,
    one_of_kinds,
    sequence,
    string,
    unsigned,
)
from fastlm.compat.tokenizers.component import (
    Component,
    Option,
    changed,
    component_from,
    field,
    refused,
    unsupported,
)
from fastlm.files.atomic import write_files
from fastlm.files.reading import read_json, read_text
from fastlm.formats.gpt2 import VERSION_LINE

Vocab = dict[str, int]
Merges = list[tuple[str, str]]

_OPTIONS = (
    *("dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk", "byte_fallback"),
    "ignore_merges",
)


class Model(Component):
    """What makes ids of pretokens."""

    def __new__(cls, *_: Any, **__: Any) -> Any:
        # tokenizers gives an empty BPE for the bare class
        return object.__new__(BPE if cls is Model else cls)

    def token_to_id(self, tokens: str) -> int | None:
        raise NotImplementedError(type(self).__name__)

    def id_to_token(self, id: int) -> str | None:
        raise NotImplementedError(type(self).__name__)

    def save(self, folder: str, prefix: str | None = None, **options: Any) -> list[str]:
        raise NotImplementedError(type(self).__name__)

    def get_trainer(self) -> Any:
        raise NotImplementedError(type(self).__name__)

    def tokenize(self, sequence: str) -> Any:
        raise NotImplementedError(type(self).__name__)


def _off(name: str) -> Any:
    """A check that lets an option only be off."""

    def check(value: Any) -> Any:
        if value:
            unsupported(f"models.BPE with {name}")
        return value

    return Option(check)


class BPE(Model):
    """Byte-pair encoding with `vocab`, token -> id, and `merges`, pairs of tokens in order of rank, or files of these.

    Raises ValueError where one is given without the other, or a merge has a token that is not in the vocabulary;
    NotImplementedError for dropout, byte_fallback, continuing_subword_prefix and end_of_word_suffix.
    """

    vocab: Vocab
    merges: Merges
    tokens: dict[int, str]
    """id -> token"""

    type_name = "BPE"
    dropout = _off("dropout")
    byte_fallback = _off("byte_fallback")
    continuing_subword_prefix = _off("continuing_subword_prefix")
    end_of_word_suffix = _off("end_of_word_suffix")
    unk_token = Option(lambda value: None if value is None else string(value))
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
        self.dropout, self.unk_token, self.fuse_unk = dropout, unk_token, fuse_unk or False
        self.continuing_subword_prefix, self.end_of_word_suffix = continuing_subword_prefix, end_of_word_suffix
        self.byte_fallback, self.ignore_merges = boolean(byte_fallback), ignore_merges
        self.set_tables(
            _checked_vocab({} if vocab is None else vocab), _checked_merges([] if merges is None else merges)
        )

    def set_tables(self, vocab: Vocab, merges: Merges) -> None:
        """Takes checked tables. Raises ValueError where they do not fit together."""
        if len(set(vocab.values())) != len(vocab):
            unsupported("models.BPE where two tokens have one id")
        for rank, (left, right) in enumerate(merges):
            for token in (left, right, left + right):
                if token not in vocab:
                    raise ValueError(f"merge {rank}: token `{token}` out of vocabulary")
        # of a pair given twice tokenizers keeps the last rank
        last = {merge: rank for rank, merge in enumerate(merges)}
        self.__dict__.update(
            vocab=vocab,
            merges=merges if len(last) == len(merges) else sorted(last, key=last.__getitem__),
            tokens={id: token for token, id in vocab.items()},
        )
        changed()

    @staticmethod
    def read_file(vocab: str, merges: str) -> tuple[Vocab, Merges]:
        """The content of vocab.json and merges.txt. Raises OSError, or ValueError naming what is malformed."""
        entries = read_json(string(vocab))
        if not isinstance(entries, dict):
            raise ValueError(f"{vocab}: expected an object of tokens and ids")
        pairs: Merges = []
        for number, line in enumerate(read_text(string(merges)).splitlines(), 1):
            if line.startswith("#version"):
                continue
            sides = line.split(" ")
            if len(sides) != 2:
                raise ValueError(f"{merges}, line {number}: {line[:80]!r}: expected two tokens with one space between")
            pairs.append((sides[0], sides[1]))
        return _checked_vocab(entries), pairs

    @classmethod
    def from_file(cls, vocab: str, merges: str, **options: Any) -> BPE:
        """The model of vocab.json and merges.txt. Raises as `read_file` and the constructor."""
        return cls(*cls.read_file(vocab, merges), **options)

    def content(self) -> dict[str, Any]:
        return {
            "type": self.type_name,
            **{option: getattr(self, option) for option in _OPTIONS},
            "vocab": {token: id for id, token in sorted(self.tokens.items())},
            "merges": [list(merge) for merge in self.merges],
        }

    @classmethod
    def from_content(cls, content: dict[str, Any]) -> BPE:
        vocab, merges = content.get("vocab"), content.get("merges")
        if not isinstance(vocab, dict) or not isinstance(merges, list):
            raise ValueError("Missing vocab/merges")
        old = bool(merges) and isinstance(merges[0], str)
        options = {option: content[option] for option in _OPTIONS if content.get(option) is not None}
        return cls(vocab, _merges_of_lines(merges) if old else _merges_of_lists(merges), **options)

    def token_to_id(self, tokens: str) -> int | None:
        """The id of a token, or None."""
        return self.vocab.get(string(tokens))

    def id_to_token(self, id: int) -> str | None:
        """The token of an id, or None."""
        return self.tokens.get(unsigned(id, 32))

    def save(self, folder: str, prefix: str | None = None, **options: Any) -> list[str]:
        """Writes vocab.json and merges.txt into a folder and returns their paths. Raises OSError."""
        prefix = known_options(options, "name").get("name", prefix)
        start = f"{string(prefix)}-" if prefix is not None else ""
        vocab = json.dumps(self.content()["vocab"], ensure_ascii=False, separators=(",", ":"))
        merges = "".join(f"{left} {right}\n" for left, right in self.merges)
        files = {f"{start}vocab.json": vocab.encode(), f"{start}merges.txt": f"{VERSION_LINE}\n{merges}".encode()}
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
        """Nothing: what is remembered is bounded, and lies elsewhere."""

    def _resize_cache(self, capacity: int) -> None:
        unsigned(capacity)

    def shown_fields(self) -> dict[str, Any]:
        vocab = {token: id for id, token in sorted(self.tokens.items())}
        return {**{option: getattr(self, option) for option in _OPTIONS}, "vocab": vocab, "merges": self.merges}


def _checked_vocab(vocab: Any) -> Vocab:
    is_instance(vocab, dict)
    for token, id in vocab.items():
        if type(token) is not str or not token.isascii() or type(id) is not int or not 0 <= id < 1 << 32:
            try:
                string(token), unsigned(id, 32)
            except (TypeError, ValueError, OverflowError) as error:
                raise TypeError(f"vocab has {token!r:.80} with id {id!r}: {error}") from None
    return {str(token): int(id) for token, id in vocab.items()}


def _checked_merges(merges: Any) -> Merges:
    for rank, merge in enumerate(sequence(merges)):
        if type(merge) is not tuple or len(merge) != 2 or type(merge[0]) is not str or type(merge[1]) is not str:
            raise TypeError(f"merge {rank} is {merge!r:.80}, not a tuple of two str")
    return list(merges)


def _merges_of_lines(lines: list[Any]) -> Merges:
    merges: Merges = []
    for rank, line in enumerate(lines):
        if not isinstance(line, str):
            raise ValueError(f"merge {rank} is {line!r:.80}, not a str as the first")
        if line.startswith("#version"):
            continue
        sides = line.split(" ")
        if len(sides) != 2:
            raise ValueError(f"merge {rank} is {line!r:.80}, not two tokens with one space between")
        merges.append((sides[0], sides[1]))
    return merges


def _merges_of_lists(pairs: list[Any]) -> Merges:
    for rank, pair in enumerate(pairs):
        if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(side, str) for side in pair):
            raise ValueError(f"merge {rank} is {pair!r:.80}, not two tokens")
    return [(left, right) for left, right in pairs]


Unigram = refused("models.Unigram", Model)
WordLevel = refused("models.WordLevel", Model)
WordPiece = refused("models.WordPiece", Model)

_KINDS: dict[str, type[Component]] = {kind.type_name: kind for kind in (BPE, Unigram, WordLevel, WordPiece)}


def model_from(content: Any) -> BPE:
    """The model that tokenizer.json describes. Raises ValueError or NotImplementedError."""
    if isinstance(content, dict) and "type" not in content:
        content = {"type": "BPE", **content}
    made: BPE = component_from(_KINDS, content, "model")
    field(content, "vocab")
    return made
