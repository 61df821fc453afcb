"""What the page needs of a tokenizer, as one JSON object with compressed arrays."""

from __future__ import annotations

import base64
import zlib
from typing import Any

import numpy as np

from fastlm._types import UInt32Array
from fastlm.pretokenize.oniguruma.code_points import Ranges
from fastlm.text.whitespace import WHITESPACE
from fastlm.tokenizer import Tokenizer
from fastlm.view.normalization import FORMS, active_characters
from fastlm.view.pretokens import UnsupportedTokenizerError, pretokens_of, ranges_of
from fastlm.vocabulary.vocabulary import AddedToken, Vocabulary


def payload_of(tokenizer: Tokenizer, name: str) -> dict[str, Any]:
    """What the page needs to encode as a tokenizer does.

    Args:
        tokenizer: The tokenizer.
        name: What the page calls it.

    Raises:
        ValueError: The page cannot encode exactly as the tokenizer does.
    """
    vocabulary = tokenizer.vocabulary
    try:
        return _payload(vocabulary, name, tokenizer.pattern)
    except UnsupportedTokenizerError as error:
        raise ValueError(f"the page cannot show {name}: it does not support {error}") from None


def _payload(vocabulary: Vocabulary, name: str, pattern: str) -> dict[str, Any]:
    rules = vocabulary.rules
    steps, table = pretokens_of(vocabulary.pattern)
    form = _form(vocabulary)
    _check_whole_tokens(vocabulary)
    starts, classes = table.runs()
    merge_new = vocabulary.merge_new
    arrays = {
        "lengths": vocabulary.token_lengths.astype(np.uint32),
        "left": vocabulary.merge_left,
        "right": vocabulary.merge_right,
        # mostly the next id, so the differences are short when compressed
        "made": np.diff(merge_new, prepend=np.uint32(0)),
        "byteIds": vocabulary.byte_ids,
        "runStarts": starts,
        "runClasses": classes.astype(np.uint32),
    }
    needs_words = any(token.single_word for token in vocabulary.added_tokens)
    return {
        "name": name,
        "pattern": pattern,
        "steps": steps,
        "counts": {key: len(array) for key, array in arrays.items()},
        "data": _packed(arrays.values(), vocabulary.token_bytes.tobytes()),
        "added": [_added(token) for token in vocabulary.added_tokens],
        "whitespace": WHITESPACE,
        "words": _flat(ranges_of("word")) if needs_words else [],
        "form": form,
        "active": _flat(active_characters(form)) if form else [],
        "prefix": " " if rules.add_prefix_space else "",
        "ignoreMerges": rules.ignore_merges,
        "dropsBytes": rules.unknown_bytes == "drop",
        "frame": [list(rules.begin), list(rules.end)],
    }


def _form(vocabulary: Vocabulary) -> str | None:
    """The normalization form of a vocabulary, or None if it keeps texts."""
    steps = vocabulary.rules.normalizers
    if not steps:
        return None
    name = steps[0].type_name
    if len(steps) > 1 or name not in FORMS:
        raise UnsupportedTokenizerError(f"the normalizer {' then '.join(step.type_name for step in steps)}")
    return name


def _check_whole_tokens(vocabulary: Vocabulary) -> None:
    """Raises UnsupportedTokenizerError if it is not clear which token a whole pretoken becomes."""
    if not vocabulary.rules.ignore_merges:
        return
    seen: dict[bytes, int] = {}
    for token_id in vocabulary.ordinary_ids.tolist():
        first = seen.setdefault(vocabulary.bytes_of(token_id), token_id)
        if first != token_id:
            raise UnsupportedTokenizerError(f"ignore_merges where the ids {first} and {token_id} have the same bytes")


def _added(token: AddedToken) -> list[str | int]:
    """An added token: its content, its id, and its options as bits."""
    options = (token.special, token.single_word, token.lstrip, token.rstrip, token.normalized)
    return [token.content, token.id, sum(option << place for place, option in enumerate(options))]


def _flat(ranges: Ranges) -> list[int]:
    """Ranges as the distances between their ends: to the first character, and to the character after the last one."""
    ends = [end for first, last in ranges for end in (first, last + 1)]
    return np.diff(ends, prepend=0).tolist()


def _packed(arrays: Any, token_bytes: bytes) -> str:
    """Arrays and the bytes of the tokens, compressed. The bytes of each place of the numbers follow each other."""
    planes = [np.ascontiguousarray(_bytes_of(array).T).tobytes() for array in arrays]
    return base64.b64encode(zlib.compress(b"".join([*planes, token_bytes]), 9)).decode()


def _bytes_of(array: UInt32Array) -> Any:
    return np.ascontiguousarray(array, "<u4").view(np.uint8).reshape(-1, 4)
