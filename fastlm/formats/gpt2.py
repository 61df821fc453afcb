"""vocab.json and merges.txt, as published with GPT-2: bytes are written as printable characters.

Neither file names the pattern or says which tokens are special; special tokens stand in vocab.json as themselves.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterable
from typing import Any

from fastlm.files.reading import read_json, read_text
from fastlm.pretokenize.patterns import Pattern
from fastlm.vocabulary.vocabulary import (
    OTHER_BYTES,
    PRINTABLE_BYTES,
    Merge,
    Rules,
    Vocabulary,
    special_bytes,
    vocabulary_from_tokens,
)

VOCAB, MERGES = "vocab.json", "merges.txt"
VERSION_LINE = "#version: 0.2"

# bytes that Latin-1 prints keep their character, the others follow from U+0100 on
CHAR_OF_BYTE = {b: chr(b) for b in PRINTABLE_BYTES} | {b: chr(0x100 + k) for k, b in enumerate(OTHER_BYTES)}
_BYTE_OF_CHAR = {char: byte for byte, char in CHAR_OF_BYTE.items()}
# for str.translate to Latin-1; what stands for another byte in Latin-1 is no spelling, and must not pass for one
_TO_LATIN_1 = dict.fromkeys(OTHER_BYTES, 0xFFFF) | {ord(char): byte for char, byte in _BYTE_OF_CHAR.items()}
_CHARS = frozenset(_BYTE_OF_CHAR)
_TO_SPELLING = {byte: ord(char) for byte, char in CHAR_OF_BYTE.items()}


def spell(token: bytes) -> str:
    """A token's bytes as printable characters."""
    return token.decode("latin-1").translate(_TO_SPELLING)


def unspell(spelled: str) -> bytes:
    """The bytes of a token so spelled. Raises ValueError naming the character that spells no byte."""
    try:
        return spelled.translate(_TO_LATIN_1).encode("latin-1")
    except UnicodeEncodeError as error:
        raise ValueError(f"{spelled[error.start]!r} in {spelled!r} spells no byte") from None


def spells_bytes(text: str) -> bool:
    """Whether each character of a text stands for a byte."""
    return _CHARS.issuperset(text)


def spelled_vocab(vocabulary: Vocabulary) -> dict[str, int]:
    """Spelled token -> id, special tokens as themselves.

    Raises ValueError for two tokens that would be spelled alike.
    """
    # an added token stands as itself, unless its id is that of a token spelled otherwise
    special = {token.id: token.content for token in reversed(vocabulary.added_tokens)}
    spelled: dict[str, int] = {}
    for id, token in vocabulary.tokens.items():
        key = special[id] if id in special and token == special[id].encode() else spell(token)
        if key in spelled:
            raise ValueError(f"ids {spelled[key]} and {id} would both be spelled {key!r} in {VOCAB} and tokenizer.json")
        spelled[key] = id
    return spelled


def write(vocabulary: Vocabulary) -> dict[str, bytes]:
    """Name -> content of the two files. Raises ValueError for a vocabulary that they cannot describe."""
    if vocabulary.rules != Rules():
        raise ValueError(f"{VOCAB} and {MERGES} cannot say {vocabulary.rules}")
    vocab = json.dumps(spelled_vocab(vocabulary), ensure_ascii=False)
    merges = "".join(f"{spell(left)} {spell(right)}\n" for left, right in vocabulary.merges)
    return {VOCAB: vocab.encode(), MERGES: f"{VERSION_LINE}\n{merges}".encode()}


def read(
    vocab: str | os.PathLike[str], merges: str | os.PathLike[str], special_tokens: Iterable[str], pattern: Pattern
) -> Vocabulary:
    """The vocabulary of the two files. Raises OSError, or ValueError naming the file and what is wrong in it."""
    special = list(special_tokens)
    tokens, pairs = read_vocab(vocab, special), read_merges(merges)
    try:
        return vocabulary_from_tokens(tokens, pairs, special, pattern)
    except ValueError as error:
        raise ValueError(f"{vocab} and {merges}: {error}") from None


def read_vocab(path: str | os.PathLike[str], special_tokens: Collection[str]) -> dict[int, bytes]:
    """id -> bytes. Raises OSError, or ValueError naming the file and the entry that is malformed."""
    entries = read_json(path)
    if not isinstance(entries, dict):
        raise ValueError(f"{path}: expected an object of tokens and ids, found {type(entries).__name__}")
    try:
        return parse_vocab(entries.items(), special_tokens)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def parse_vocab(entries: Iterable[tuple[Any, Any]], special_tokens: Collection[str]) -> dict[int, bytes]:
    """id -> bytes of spelled token -> id. Raises ValueError naming the entry that is malformed."""
    tokens: dict[int, bytes] = {}
    special = set(special_tokens)
    for spelled, id in entries:
        if not isinstance(id, int) or isinstance(id, bool) or id < 0:
            raise ValueError(f"token {spelled!r} has id {id!r}, expected a non-negative integer")
        if id in tokens:
            raise ValueError(f"id {id} is given twice, the second time to {spelled!r}")
        try:
            tokens[id] = special_bytes(spelled) if spelled in special else unspell(spelled)
        except ValueError as error:
            raise ValueError(f"token of id {id}: {error} (is it a special token?)") from None
    return tokens


def read_merges(path: str | os.PathLike[str]) -> list[Merge]:
    """The merges in order. Raises OSError, or ValueError naming the file and line that is malformed."""
    merges: list[Merge] = []
    lines = read_text(path).split("\n")
    for number, line in enumerate(lines, 1):
        # only a first line may be a version: "#" also begins merges
        if (number == 1 and line.startswith("#version")) or (number == len(lines) and not line):
            continue
        try:
            left, right = line.removesuffix("\r").split(" ")
            merges.append((unspell(left), unspell(right)))
        except ValueError as error:
            reason = str(error) if "spells no byte" in str(error) else "expected two tokens with one space between"
            raise ValueError(f"{path}, line {number}: {line[:80]!r}: {reason}") from None
    return merges
