"""minbpe's `.model`: a version, the pattern, the special tokens, and the two ids of each merge, all as lines of text.

The bytes have the ids 0 to 255, merges the following ids.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from fastlm.files.reading import read_text
from fastlm.pretokenize.patterns import find_pattern
from fastlm.vocabulary.vocabulary import AddedToken, Rules, Vocabulary, vocabulary_from_tokens

FILE, SUFFIX = "tokenizer.model", ".model"
FIRST_LINE = "minbpe v1"
# Each merge may double a token, so a file of 50 lines could describe a token of 2^50 bytes. A file is refused if its
# tokens have more bytes together than this: far more than a vocabulary that was trained on text has
LEAST_BYTES = 1 << 20
BYTES_PER_LINE = 256


def write(vocabulary: Vocabulary) -> dict[str, bytes]:
    """Name -> content of the file. Raises ValueError for a vocabulary that it cannot describe."""
    if vocabulary.rules != Rules():
        raise ValueError(f"{SUFFIX} cannot hold the rules {vocabulary.rules.changed()}")
    vocabulary.pattern.check_is_text()
    if vocabulary.pattern.syntax == "oniguruma":
        raise ValueError(f"{SUFFIX} cannot hold expressions in Oniguruma's syntax: {vocabulary.pattern.splits}")
    if vocabulary.byte_ids.tolist() != list(range(256)):
        raise ValueError(f"in {SUFFIX} the bytes have the ids 0 to 255, but here they do not")
    if vocabulary.merge_new.tolist() != list(range(256, 256 + len(vocabulary.merge_new))):
        raise ValueError(f"in {SUFFIX} merges have the ids that follow the bytes, but here they do not")
    lines = [FIRST_LINE, vocabulary.pattern.regex, str(len(vocabulary.added_tokens))]
    for token in vocabulary.added_tokens:
        if token != AddedToken(token.content, token.id) or len(token.content.split()) != 1:
            raise ValueError(f"{SUFFIX} cannot hold the special token {token.content!r} with whitespace or options")
        lines.append(f"{token.content} {token.id}")
    if any("\n" in line or line != line.strip() for line in lines):
        raise ValueError(f"{SUFFIX} cannot hold a pattern with whitespace around it: {vocabulary.pattern.regex!r}")
    pairs = zip(vocabulary.merge_left.tolist(), vocabulary.merge_right.tolist(), strict=True)
    return {FILE: "".join(f"{line}\n" for line in (*lines, *(f"{a} {b}" for a, b in pairs))).encode()}


def read(path: str | os.PathLike[str]) -> Vocabulary:
    """The vocabulary of a file. Raises OSError, or ValueError naming the file and the line that is malformed."""
    lines = read_text(path).split("\n")
    numbered = iter(enumerate(lines, 1))
    try:
        return _parse(numbered, LEAST_BYTES + BYTES_PER_LINE * len(lines))
    except ValueError as error:
        number = next(numbered, (len(lines) + 1, ""))[0] - 1
        raise ValueError(f"{path}, line {number}: {error}") from None


def _parse(lines: Iterator[tuple[int, str]], most_bytes: int) -> Vocabulary:
    version, regex, number = (next(lines, (0, ""))[1].strip() for _ in range(3))
    if version != FIRST_LINE:
        raise ValueError(f"expected {FIRST_LINE!r}, found {version[:80]!r}")
    if not number.isdigit():
        raise ValueError(f"expected the number of special tokens, found {number[:80]!r}")
    special: list[AddedToken] = []
    for _ in range(int(number)):
        content, token_id = _two(next(lines, (0, ""))[1], "a special token and its id")
        special.append(AddedToken(content, _id(token_id)))
    tokens = {token_id: bytes([token_id]) for token_id in range(256)}
    merges = []
    size = 0
    for _, line in lines:
        if not line.strip():
            continue
        left, right = (_id(field) for field in _two(line, "two ids"))
        for side in (left, right):
            if side not in tokens:
                raise ValueError(f"id {side} is not made by an earlier line")
        size += len(tokens[left]) + len(tokens[right])
        if size > most_bytes:
            raise ValueError(f"the merges make tokens of more than {most_bytes} bytes together")
        merges.append((tokens[left], tokens[right]))
        tokens[len(tokens)] = tokens[left] + tokens[right]
    for token in special:
        if tokens.setdefault(token.id, token.content.encode()) != token.content.encode():
            raise ValueError(f"special token {token.content!r} has id {token.id}, which is {tokens[token.id]!r}")
    # an empty line is BasicTokenizer's: it does not split
    return vocabulary_from_tokens(tokens, merges, special, find_pattern(regex or r"(?s:.+)"))


def _two(line: str, expected: str) -> list[str]:
    fields = line.split()
    if len(fields) != 2:
        raise ValueError(f"expected {expected}, found {line[:80]!r}")
    return fields


def _id(text: str) -> int:
    if not text.isdigit() or not text.isascii():
        raise ValueError(f"expected an id, found {text[:80]!r}")
    return int(text)
