"""tokenizer.bin of karpathy's llama2.c (https://github.com/karpathy/llama2.c).

Little-endian: the length of the longest token, uint32; then for each id from 0 a score, float32, the length of its
token, int32, and the token. llama2.c merges the two neighbours whose token has the greatest score, anywhere in a text:
here the score is the rank of a merge, negated. It knows no pattern, and no special tokens but the ids 1 and 2.
"""

from __future__ import annotations

import math
import os
import struct
from pathlib import Path

import numpy as np

from fastlm.files.reading import check_content
from fastlm.pretokenize.patterns import Pattern
from fastlm.vocabulary._rank_merges import merges_of_ranks
from fastlm.vocabulary.vocabulary import Vocabulary, vocabulary_from_tokens

FILE = "tokenizer.bin"

_LONGEST = struct.Struct("<I")
_ENTRY = struct.Struct("<fi")
# of tokens that no merge makes: llama2.c merges only to a token that has more
_NEVER = -1e10


def write(vocabulary: Vocabulary, vocab_size: int | None = None) -> dict[str, bytes]:
    """Name -> content of the file.

    Args:
        vocabulary: The vocabulary.
        vocab_size: The number of ids; llama2.c reads as many as its model has. An id without a token gets a text that
            says so. By default the ids of the vocabulary.
    """
    size = len(vocabulary) if vocab_size is None else vocab_size
    scores: dict[int, float] = {}
    for rank, token_id in enumerate(vocabulary.merge_new.tolist()):
        scores.setdefault(token_id, -float(rank))
    tokens = [vocabulary.tokens.get(token_id, _unused(token_id)) for token_id in range(size)]
    parts = [_LONGEST.pack(max(map(len, tokens)))]
    for token_id, token in enumerate(tokens):
        score = scores.get(token_id, 0.0 if len(token) == 1 else _NEVER)
        parts += [_ENTRY.pack(score, len(token)), token]
    return {FILE: b"".join(parts)}


def read(path: str | os.PathLike[str], pattern: Pattern) -> Vocabulary:
    """The vocabulary of a file in which each byte has a token, as `write` makes it; ranks are in order of the scores.

    Tokens that llama2.c never merges to become special tokens. Files made of SentencePiece's models are refused:
    llama2.c encodes with them in a way that no Vocabulary has. Raises OSError, or ValueError naming the file and what
    is wrong with it.
    """
    check_content(path)
    entries = _parse(Path(path).read_bytes(), path)
    tokens: dict[int, bytes] = {}
    special: dict[int, bytes] = {}
    for token_id, (score, token) in enumerate(entries):
        if token != _unused(token_id):
            (special if len(token) > 1 and score <= _NEVER else tokens)[token_id] = token
    single = {token for token in tokens.values() if len(token) == 1}
    if len(single) < 256:
        lacking = next(byte for byte in range(256) if bytes([byte]) not in single)
        raise ValueError(f"{path}: byte 0x{lacking:02x} is no token; expected a vocabulary of bytes")
    order = sorted(tokens, key=lambda token_id: (len(tokens[token_id]) > 1, -entries[token_id][0], token_id))
    in_order = [tokens[token_id] for token_id in order]
    text = np.frombuffer(b"".join(in_order), np.uint8)
    left, right, _ = merges_of_ranks(text, np.cumsum([0, *map(len, in_order)], dtype=np.int64))
    merges = [(in_order[a], in_order[b]) for a, b in zip(left.tolist(), right.tolist(), strict=True)]
    try:
        added = [token.decode() for token in special.values()]
        return vocabulary_from_tokens({**tokens, **special}, merges, added, pattern)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _unused(token_id: int) -> bytes:
    return b"<|unused %d|>" % token_id


def _parse(content: bytes, path: str | os.PathLike[str]) -> list[tuple[float, bytes]]:
    entries: list[tuple[float, bytes]] = []
    at = _LONGEST.size
    while at < len(content):
        score, length = _ENTRY.unpack_from(content, at) if at + _ENTRY.size <= len(content) else (0.0, -1)
        end = at + _ENTRY.size + length
        if length < 1 or end > len(content):
            raise ValueError(f"{path}: the entry of id {len(entries)} at byte {at} is malformed or cut short")
        if not math.isfinite(score):
            raise ValueError(f"{path}: the score of id {len(entries)} is {score}; expected a finite number")
        entries.append((score, content[end - length : end]))
        at = end
    if not entries:
        raise ValueError(f"{path}: holds no tokens")
    longest = max(len(token) for _, token in entries)
    if _LONGEST.unpack_from(content)[0] != longest:
        raise ValueError(
            f"{path}: says that the longest token has {_LONGEST.unpack_from(content)[0]} bytes, not {longest}"
        )
    return entries
