"""Rank files (`.tiktoken`): a line for each token with its bytes in base64, a space and its rank.

A file names neither the pattern nor the special tokens. Published files are recognized by their content.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from fastlm.files.recognize import refuse_foreign
from fastlm.pretokenize.patterns import Pattern, find_pattern
from fastlm.vocabulary.from_ranks import ranks_of, vocabulary_from_ranks
from fastlm.vocabulary.published import Encoding, find_encoding
from fastlm.vocabulary.vocabulary import Rules, Vocabulary

FILE = "tokenizer.tiktoken"
SUFFIX = ".tiktoken"
# digits of a rank; Python refuses to read thousands of them
MOST_DIGITS = 20


def write(vocabulary: Vocabulary) -> dict[str, bytes]:
    """Name -> content of the file. Raises ValueError for a vocabulary that ranks cannot describe."""
    vocabulary.pattern.check_is_text()
    return {FILE: content_of(ranks_of(vocabulary))}


def content_of(ranks: Mapping[bytes, int]) -> bytes:
    """The content that tiktoken writes for token -> rank."""
    in_order = sorted(ranks.items(), key=lambda item: item[1])
    return b"".join(base64.b64encode(token) + b" %d\n" % rank for token, rank in in_order)


def read(
    path: str | os.PathLike[str],
    special_tokens: Mapping[str, int] | Iterable[str] | None = None,
    pattern: Pattern | None = None,
) -> Vocabulary:
    """Reads a file.

    Args:
        path: The file.
        special_tokens: Special token -> id, or special tokens that get the next ids. By default the tokens of
            the published encoding.
        pattern: The pattern that splits a text. By default the pattern of the published encoding.

    Returns:
        The vocabulary. The id of an empty token, which Whisper's files have, stays unused.

    Raises:
        OSError: If the file cannot be read.
        ValueError: Naming the file and the line that is malformed, or asking for the pattern.
    """
    content = Path(path).read_bytes()
    ranks = parse(content, path)
    # as published, or with other line ends or another order of lines
    known = _encoding_of(content) or _encoding_of(content_of(ranks))
    if known is None and pattern is None:
        raise ValueError(f"{path} is no published rank file and does not say how text is split: give pattern=")
    rules = Rules(ignore_merges=True)
    if known is not None:
        special_tokens = known.special_tokens if special_tokens is None else special_tokens
        if pattern is None:
            pattern = find_pattern(known.pattern)
            rules = Rules(ignore_merges=True, normalization=known.normalization)
    assert pattern is not None
    special = {} if special_tokens is None else special_tokens
    if b"" in ranks and not isinstance(special, Mapping | str):
        # the next id is that after the last rank, also where this is the rank of the empty token
        special = {token: max(ranks.values()) + 1 + k for k, token in enumerate(special)}
    try:
        return vocabulary_from_ranks({token: rank for token, rank in ranks.items() if token}, special, pattern, rules)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


class MalformedRankError(ValueError):
    """A line of a rank file is malformed. `line` is its content."""

    def __init__(self, message: str, line: bytes) -> None:
        super().__init__(message)
        self.line = line

    def __reduce__(self) -> tuple[type[MalformedRankError], tuple[str, bytes]]:
        return MalformedRankError, (str(self), self.line)


def _encoding_of(content: bytes) -> Encoding | None:
    return find_encoding(hashlib.sha256(content).hexdigest())


def parse(content: bytes, path: str | os.PathLike[str]) -> dict[bytes, int]:
    """The ranks of the content of a file.

    Args:
        content: The content.
        path: The file, for errors.

    Returns:
        Token -> rank. One token may be empty, written as `=`.

    Raises:
        ValueError: Naming the file and the malformed line, or the kind of the file if it is recognized.
    """
    try:
        refuse_foreign(content)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    ranks: dict[bytes, int] = {}
    for number, line in enumerate(content.splitlines(), 1):
        if not line:
            continue
        try:
            spelled, rank = line.split()
            token = b"" if spelled == b"=" else base64.b64decode(spelled, validate=True)
            if not rank.isdigit() or len(rank) > MOST_DIGITS:
                raise ValueError
        except (ValueError, binascii.Error):
            reason = f"{path}, line {number}: {line[:80]!r}: expected a token in base64, a space and its rank"
            raise MalformedRankError(reason, line) from None
        if token in ranks:
            raise ValueError(f"{path}, line {number}: token {token!r} is given twice")
        ranks[token] = int(rank)
    if not ranks:
        raise ValueError(f"{path}: holds no tokens")
    return ranks
