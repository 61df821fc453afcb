"""The JSON files of tiktoken's JavaScript versions: ranks on few lines, the pattern, and the special tokens.

Claude's tokenizer is published so. A line of ranks is `!`, the rank of the first token, and tokens in base64.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
from typing import Any

from fastlm.files.reading import begins_with, read_json
from fastlm.forks import no_fork
from fastlm.formats import tiktoken
from fastlm.pretokenize.patterns import find_pattern
from fastlm.vocabulary.from_ranks import vocabulary_from_ranks
from fastlm.vocabulary.vocabulary import Rules, Vocabulary

CLAUDE = "ba9ebb28e61f5872504fbe44b2f61bd825c222d7d910f55c89f5f28ab1f40e8b"
"""The sha256 of the ranks of Claude's tokenizer in tiktoken's format. The program that reads them uses NFKC."""

_ENTRIES = {"bpe_ranks": str, "pat_str": str, "special_tokens": dict}


def is_js_tiktoken(path: str | os.PathLike[str]) -> bool:
    """Whether a JSON file begins as such a file does."""
    start = begins_with(path, 4096)
    return b'"pat_str"' in start and b'"added_tokens"' not in start


def read(path: str | os.PathLike[str]) -> Vocabulary:
    """The vocabulary of a file. Raises OSError, or ValueError naming the file and the malformed entry."""
    content = read_json(path)
    try:
        return _parse(content)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _parse(content: Any) -> Vocabulary:
    for name, kind in _ENTRIES.items():
        if not isinstance(content, dict) or not isinstance(content.get(name), kind):
            raise ValueError(f"expected an object with a {kind.__name__} {name!r}")
    special = content["special_tokens"]
    for token, token_id in special.items():
        if type(token_id) is not int or token_id < 0:
            raise ValueError(f"special token {token!r} has id {token_id!r:.80}, expected an integer of at least 0")
    ranks = _ranks(content["bpe_ranks"])
    is_claude = hashlib.sha256(tiktoken.content_of(ranks)).hexdigest() == CLAUDE
    rules = Rules(ignore_merges=True)
    if is_claude:
        with no_fork:
            from fastlm.normalizers import UnicodeForm
        rules = Rules(ignore_merges=True, normalization=(UnicodeForm("NFKC"),))
    return vocabulary_from_ranks(ranks, special, find_pattern((content["pat_str"],)), rules)


def _ranks(lines: str) -> dict[bytes, int]:
    ranks: dict[bytes, int] = {}
    for number, line in enumerate(lines.splitlines(), 1):
        if not line:
            continue
        mark, _, rest = line.partition(" ")
        first, *tokens = rest.split() or [""]
        if mark != "!" or not first.isdigit() or len(first) > tiktoken.MOST_DIGITS:
            raise ValueError(f"line {number} of bpe_ranks is {line[:80]!r}, expected '!', a rank, and tokens in base64")
        for rank, spelled in enumerate(tokens, int(first)):
            try:
                token = base64.b64decode(spelled, validate=True)
            except (ValueError, binascii.Error):
                raise ValueError(f"token {spelled[:80]!r} of rank {rank} is not base64") from None
            if not token or token in ranks:
                raise ValueError(f"token {token!r} of rank {rank} is empty or given twice")
            ranks[token] = rank
    if not ranks:
        raise ValueError("bpe_ranks holds no tokens")
    return ranks
