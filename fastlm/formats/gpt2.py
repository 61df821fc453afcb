"""vocab.json and merges.txt, as published with GPT-2. Bytes are written as printable characters.

Neither file names the pattern or marks the special tokens. vocab.json has special tokens as plain text.
"""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Collection, Iterable, Iterator
from typing import Any

from fastlm.files.reading import read_json, read_text
from fastlm.pretokenize.patterns import Pattern
from fastlm.text.byte_level import CHAR_OF_BYTE, OTHER_BYTES
from fastlm.vocabulary.vocabulary import (
    AddedToken,
    Merge,
    Rules,
    Vocabulary,
    special_bytes,
    vocabulary_from_tokens,
)

VOCAB, MERGES = "vocab.json", "merges.txt"
VERSION_LINE = "#version: 0.2"

_BYTE_OF_CHAR = {char: byte for byte, char in CHAR_OF_BYTE.items()}
# for str.translate to Latin-1: characters of Latin-1 that spell no byte must not be read as one
_TO_LATIN_1 = dict.fromkeys(OTHER_BYTES, 0xFFFF) | {ord(char): byte for char, byte in _BYTE_OF_CHAR.items()}
_CHARS = frozenset(_BYTE_OF_CHAR)
_TO_SPELLING = {byte: ord(char) for byte, char in CHAR_OF_BYTE.items()}


def spell(token: bytes) -> str:
    """A token's bytes as printable characters."""
    return token.decode("latin-1").translate(_TO_SPELLING)


def unspell(spelled: str) -> bytes:
    """The bytes of a spelled token. Raises ValueError naming a character that spells no byte."""
    try:
        return spelled.translate(_TO_LATIN_1).encode("latin-1")
    except UnicodeEncodeError as error:
        raise ValueError(f"{spelled[error.start]!r} in {spelled!r} spells no byte") from None


def unspell_all(spelled: Collection[str]) -> list[bytes]:
    """The bytes of spelled tokens, all of which must spell bytes."""
    blob = "".join(spelled).translate(_TO_LATIN_1).encode("latin-1")
    ends = itertools.accumulate(map(len, spelled), initial=0)
    return [blob[start:end] for start, end in itertools.pairwise(ends)]


def spells_bytes(text: str) -> bool:
    """Whether each character of a text spells a byte."""
    return _CHARS.issuperset(text)


def spelled_vocab(vocabulary: Vocabulary) -> dict[str, int]:
    """Spelled token -> id, with special tokens as plain text.

    Raises ValueError for two tokens that would be spelled alike.
    """
    # an added token is plain text, unless the token of its id has other bytes
    special = {token.id: token.content for token in reversed(vocabulary.added_tokens)}
    spelled: dict[str, int] = {}
    for token_id, token in vocabulary.tokens.items():
        key = special[token_id] if token_id in special and token == special[token_id].encode() else spell(token)
        if key in spelled:
            raise ValueError(
                f"ids {spelled[key]} and {token_id} would both be spelled {key!r} in {VOCAB} and tokenizer.json"
            )
        spelled[key] = token_id
    return spelled


def write(vocabulary: Vocabulary) -> dict[str, bytes]:
    """Name -> content of the two files. Raises ValueError for a vocabulary that they cannot describe."""
    if vocabulary.rules != Rules():
        raise ValueError(f"{VOCAB} and {MERGES} cannot hold the rules {vocabulary.rules.changed()}")
    vocabulary.pattern.check_is_text()
    vocab = json.dumps(spelled_vocab(vocabulary), ensure_ascii=False)
    merges = "".join(f"{spell(left)} {spell(right)}\n" for left, right in vocabulary.merges)
    return {VOCAB: vocab.encode(), MERGES: f"{VERSION_LINE}\n{merges}".encode()}


def read(
    vocab: str | os.PathLike[str], merges: str | os.PathLike[str], special_tokens: Iterable[str], pattern: Pattern
) -> Vocabulary:
    """Reads the two files.

    Args:
        vocab: The path of vocab.json.
        merges: The path of merges.txt.
        special_tokens: The special tokens; those that vocab.json lacks get the next ids.
        pattern: The pattern that splits a text.

    Returns:
        The vocabulary. The id of an empty token, which Whisper's file has, stays unused.

    Raises:
        OSError: If a file cannot be read.
        ValueError: Naming the file and the fault.
    """
    special: list[str | AddedToken] = list(special_tokens)
    entries = read_spelled_vocab(vocab)
    try:
        tokens = parse_vocab(entries.items(), [token for token in special if isinstance(token, str)])
    except ValueError as error:
        raise ValueError(f"{vocab}: {error}") from None
    pairs = read_merges(merges)
    try:
        empty = [token_id for token_id, token in tokens.items() if not token]
        if empty:
            del tokens[empty[0]]
            special = _with_next_ids(special, tokens, max(*empty, *tokens) + 1)
        return vocabulary_from_tokens(tokens, pairs, special, pattern)
    except ValueError as error:
        raise ValueError(f"{vocab} and {merges}: {error}") from None


def _with_next_ids(special: list[str | AddedToken], tokens: dict[int, bytes], next_id: int) -> list[str | AddedToken]:
    """The special tokens, those that `tokens` lacks with ids from `next_id` on. They are added to `tokens`."""
    known = set(tokens.values())
    found: list[str | AddedToken] = []
    for token in special:
        if not isinstance(token, str) or token.encode() in known:
            found.append(token)
            continue
        tokens[next_id] = token.encode()
        found.append(AddedToken(token, next_id))
        next_id += 1
    return found


def read_spelled_vocab(path: str | os.PathLike[str]) -> dict[str, int]:
    """Reads vocab.json: spelled token -> id.

    Raises:
        OSError: If the file cannot be read.
        ValueError: Naming the file, and the entry that is malformed.
    """
    content = read_json(path)
    try:
        return spelled_vocab_of(content)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def spelled_vocab_of(content: Any) -> dict[str, int]:
    """The vocab of a JSON value. Raises ValueError unless it is an object of tokens with ids of 32 bits."""
    if not isinstance(content, dict):
        raise ValueError(f"expected an object of tokens and ids, found {type(content).__name__}")
    ids = content.values()
    # one look at all of the usual types is faster than one at each
    if not (set(map(type, ids)) <= {int} and min(ids, default=0) >= 0 and max(ids, default=0) < 1 << 32):
        for spelled, token_id in content.items():
            if type(token_id) is not int or not 0 <= token_id < 1 << 32:
                raise ValueError(f"token {spelled!r:.80} has id {token_id!r:.80}, expected a non-negative integer")
    return content


def parse_vocab(entries: Iterable[tuple[str, int]], special_tokens: Collection[str]) -> dict[int, bytes]:
    """id -> bytes of spelled token -> id. Raises ValueError naming the entry that is malformed."""
    tokens: dict[int, bytes] = {}
    special = set(special_tokens)
    for spelled, token_id in entries:
        if token_id in tokens:
            raise ValueError(f"id {token_id} is given twice, the second time to {spelled!r}")
        try:
            tokens[token_id] = special_bytes(spelled) if spelled in special else unspell(spelled)
        except ValueError as error:
            raise ValueError(f"token of id {token_id}: {error} (is it a special token?)") from None
    return tokens


def read_merges(path: str | os.PathLike[str]) -> list[Merge]:
    """Reads merges.txt: the merges as bytes, in order. Raises as `read_spelled_merges`."""
    merges: list[Merge] = []
    for number, left, right in _merge_lines(read_text(path), path):
        try:
            merges.append((unspell(left), unspell(right)))
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: {left + ' ' + right!r:.80}: {error}") from None
    return merges


def read_spelled_merges(path: str | os.PathLike[str], every_version_line: bool = False) -> list[tuple[str, str]]:
    """Reads merges.txt: the merges as spelled tokens, in order.

    Args:
        path: The file.
        every_version_line: Whether each line that begins with `#version` is skipped, as `tokenizers` does, and not
            the first line alone. `#` also begins merges.

    Raises:
        OSError: If the file cannot be read.
        ValueError: Naming the file and the line that is malformed.
    """
    return spelled_merges_of(read_text(path), path, every_version_line)


def spelled_merges_of(
    text: str, path: str | os.PathLike[str], every_version_line: bool = False
) -> list[tuple[str, str]]:
    """The merges of the text of a merges.txt. `path` is for errors."""
    return [(left, right) for _, left, right in _merge_lines(text, path, every_version_line)]


def _merge_lines(
    text: str, path: str | os.PathLike[str], every_version_line: bool = False
) -> Iterator[tuple[int, str, str]]:
    """Line number and the two sides of each merge."""
    lines = text.split("\n")
    for number, line in enumerate(lines, 1):
        is_version = line.startswith("#version") and (number == 1 or every_version_line)
        if is_version or (number == len(lines) and not line):
            continue
        sides = line.removesuffix("\r").split(" ")
        if len(sides) != 2:
            raise ValueError(f"{path}, line {number}: {line[:80]!r}: expected two tokens with one space between")
        yield number, sides[0], sides[1]
