"""The model of a tokenizer.json: BPE."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fastlm._types import Int64Array
from fastlm.forks import cached_property
from fastlm.formats import gpt2
from fastlm.formats.tokenizer_json.components import Component, Parser, UnsupportedComponentError
from fastlm.formats.tokenizer_json.json_values import Entries

Vocab = dict[str, int]
Merges = list[tuple[str, str]]


@dataclass(frozen=True)
class BPE(Component):
    """Byte-pair encoding. `vocab` maps spelled tokens to ids, `merges` lists pairs of tokens in order of rank.

    Neither is changed after construction. Of a merge that is given twice the last rank counts, as in `tokenizers`.

    Raises:
        ValueError: For a merge whose sides or whose result is not in the vocabulary.
        UnsupportedComponentError: For two tokens with one id.
    """

    type_name = "BPE"

    vocab: Vocab = field(default_factory=dict)
    merges: Merges = field(default_factory=list)
    dropout: float | None = None
    unk_token: str | None = None
    continuing_subword_prefix: str | None = None
    end_of_word_suffix: str | None = None
    fuse_unk: bool = False
    byte_fallback: bool = False
    ignore_merges: bool = False

    def __post_init__(self) -> None:
        vocab = self.vocab
        if len(set(vocab.values())) != len(vocab):
            raise UnsupportedComponentError("models.BPE where two tokens have one id")
        try:
            ids = self.merge_ids
        except KeyError:
            for rank, (left, right) in enumerate(self.merges):
                for token in (left, right, left + right):
                    if token not in vocab:
                        raise ValueError(f"merge {rank}: token `{token}` out of vocabulary") from None
            raise
        if len(np.unique(ids[0] << np.int64(32) | ids[1])) < len(self.merges):
            last = {merge: rank for rank, merge in enumerate(self.merges)}
            object.__setattr__(self, "merges", sorted(last, key=last.__getitem__))
            del self.__dict__["merge_ids"]

    @cached_property
    def merge_ids(self) -> Int64Array:
        """int64 (3, number of merges): the ids of the left sides, of the right sides and of the results."""
        vocab, merges = self.vocab, self.merges
        ids = np.empty((3, len(merges)), np.int64)
        ids[0] = [vocab[left] for left, _ in merges]
        ids[1] = [vocab[right] for _, right in merges]
        ids[2] = [vocab[left + right] for left, right in merges]
        return ids

    def options(self) -> dict[str, Any]:
        """All entries but vocab and merges."""
        return {name: getattr(self, name) for name in OPTIONS}

    def content(self) -> dict[str, Any]:
        return {
            "type": self.type_name,
            **self.options(),
            "vocab": dict(sorted(self.vocab.items(), key=lambda item: item[1])),
            "merges": [list(merge) for merge in self.merges],
        }

    def require_byte_level(self, has_all_bytes: bool) -> None:
        """Raises UnsupportedComponentError for an option that changes the ids of byte-level BPE.

        `has_all_bytes` says whether each byte has a token; without one, bytes can be unknown.
        """
        for name in ("dropout", "continuing_subword_prefix", "end_of_word_suffix"):
            if getattr(self, name):
                raise UnsupportedComponentError(f"models.BPE with {name} = {getattr(self, name)!r}")
        if has_all_bytes:
            return
        for name in ("byte_fallback", "unk_token", "ignore_merges"):
            if getattr(self, name):
                value = getattr(self, name)
                raise UnsupportedComponentError(f"models.BPE with {name} = {value!r} where bytes lack a token")

    def require_only_bytes(self, where: str) -> None:
        """Raises UnsupportedComponentError unless a character that spells no byte changes no id.

        `where` says how such a character can be in a pretoken.
        """
        for name in ("byte_fallback", "unk_token", "ignore_merges"):
            if getattr(self, name):
                raise UnsupportedComponentError(f"models.BPE with {name} = {getattr(self, name)!r} {where}")
        for token, token_id in self.vocab.items():
            if len(token) == 1 and not gpt2.spells_bytes(token):
                raise UnsupportedComponentError(f"models.BPE with token {token!r} of id {token_id} {where}")


OPTIONS = (
    *("dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk", "byte_fallback"),
    "ignore_merges",
)


def _bpe(entries: Entries) -> Component:
    vocab, merges = entries.content.get("vocab"), entries.content.get("merges")
    if not isinstance(vocab, dict) or not isinstance(merges, list):
        raise ValueError(f"{entries.name}: missing vocab or merges")
    vocab = gpt2.spelled_vocab_of(vocab)
    dropout = entries.content.get("dropout")
    if dropout is not None:
        if isinstance(dropout, bool) or not isinstance(dropout, int | float) or not 0 <= dropout <= 1:
            raise ValueError(f"{entries.name}: dropout must be between 0 and 1, got {dropout!r:.80}")
        dropout = float(dropout)
    options: dict[str, Any] = {name: entries.optional_string(name) for name in OPTIONS[1:4]}
    options |= {name: entries.content.get(name) is not None and entries.boolean(name) for name in OPTIONS[4:]}
    return BPE(vocab, parse_merges(merges), dropout, **options)


def parse_merges(merges: list[Any]) -> Merges:
    """Merges of a list of pairs, or of a list of lines as in merges.txt. Raises ValueError naming the malformed one."""
    if merges and isinstance(merges[0], str):
        return merges_of_lines(merges)
    # one look at all of the usual types is faster than one at each
    are_pairs = set(map(type, merges)) <= {list} and set(map(len, merges)) <= {2}
    if are_pairs and set(map(type, itertools.chain.from_iterable(merges))) <= {str}:
        return list(map(tuple, merges))
    rank, pair = next((rank, pair) for rank, pair in enumerate(merges) if not _is_pair(pair))
    raise ValueError(f"merge {rank} is {pair!r:.80}, expected two tokens")


def _is_pair(pair: Any) -> bool:
    return isinstance(pair, list) and len(pair) == 2 and all(isinstance(side, str) for side in pair)


def merges_of_lines(lines: Iterable[Any]) -> Merges:
    """Merges of lines with two tokens each. Lines that begin with `#version` are skipped, as in `tokenizers`."""
    merges: Merges = []
    for rank, line in enumerate(lines):
        if not isinstance(line, str):
            raise ValueError(f"merge {rank} is {line!r:.80}, expected a string as the first merge is")
        if line.startswith("#version"):
            continue
        sides = line.split(" ")
        if len(sides) != 2:
            raise ValueError(f"merge {rank} is {line!r:.80}, expected two tokens with one space between")
        merges.append((sides[0], sides[1]))
    return merges


UNSUPPORTED = ("Unigram", "WordLevel", "WordPiece")
_parse_model: Parser[Component] = Parser("model", "models", {"BPE": _bpe}, UNSUPPORTED)


def parse_model(content: Any) -> BPE:
    """The model of a JSON object; one without a type is BPE, as in the oldest files.

    Raises:
        ValueError: For malformed content.
        UnsupportedComponentError: For another model.
    """
    if isinstance(content, dict) and "type" not in content:
        content = {"type": "BPE", **content}
    model = _parse_model(content)
    assert isinstance(model, BPE)
    return model
