"""tokenizer.fastlm: a vocabulary as its arrays, with a checksum of the whole file.

Little-endian. Bytes 0-7: magic. Bytes 8-15: length of the header. Then the header, JSON padded with spaces, and the
arrays in the order of vocabulary.ARRAYS, each at a multiple of 64 bytes. The last 32 bytes are the sha256 of the rest.
The header gives the pattern, the added tokens, the rules and the number of entries of each array. If there are any, it
also has the carried parts of a tokenizer.json and the sha256 of the files that were written with this one.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from fastlm.files.recognize import refuse_foreign
from fastlm.forks import no_fork
from fastlm.pretokenize.patterns import Pattern, find_pattern
from fastlm.vocabulary.vocabulary import ARRAYS, AddedToken, Rules, Vocabulary

FILE = "tokenizer.fastlm"

MAGIC_STEM = b"fastlm\x00"
_MAGIC = MAGIC_STEM + b"\x02"
_ALIGN = 64
_DIGEST = hashlib.sha256().digest_size
# the arrays of a Vocabulary, in this order, little-endian
_ARRAYS = {name: dtype.newbyteorder("<") for name, dtype in ARRAYS.items()}


def write(vocabulary: Vocabulary, siblings: Mapping[str, str] | None = None) -> dict[str, bytes]:
    """Name -> content of the file.

    Args:
        vocabulary: The vocabulary.
        siblings: Name -> sha256 of the files of the same vocabulary that are written with it. A reader of the folder
            tells from these that the files belong together.
    """
    arrays = {name: np.asarray(getattr(vocabulary, name), dtype) for name, dtype in _ARRAYS.items()}
    header = {
        "pattern": _pattern_in_header(vocabulary.pattern),
        "added_tokens": [asdict(token) for token in vocabulary.added_tokens],
        "rules": asdict(vocabulary.rules) | {"normalization": _normalization(vocabulary.rules)},
        "entries": {name: len(array) for name, array in arrays.items()},
    }
    if vocabulary.carried:
        header["carried"] = vocabulary.carried
    if siblings:
        header["siblings"] = dict(siblings)
    encoded = json.dumps(header).encode()
    encoded += b" " * (-(len(encoded) + 16) % _ALIGN)
    parts = [_MAGIC, len(encoded).to_bytes(8, "little"), encoded]
    for array in arrays.values():
        parts += [array.tobytes(), b"\x00" * (-array.nbytes % _ALIGN)]
    body = b"".join(parts)
    return {FILE: body + hashlib.sha256(body).digest()}


def _normalization(rules: Rules) -> Any:
    """The normalization in the header: null, "NFC", or a list of steps as in tokenizer.json."""
    if isinstance(rules.normalization, tuple):
        return [step.content() for step in rules.normalization]
    return rules.normalization


def _pattern_in_header(pattern: Pattern) -> Any:
    """The pattern in the header: a name or expressions as text, or a list of steps as in tokenizer.json."""
    if type(pattern) is Pattern:
        return pattern.specification
    with no_fork:
        from fastlm.pretokenize.steps.step_pattern import StepPattern
    if isinstance(pattern, StepPattern):
        return [step.content() for step in pattern.steps]
    return pattern.specification


def _pattern_of_header(found: Any) -> Pattern:
    if not isinstance(found, list):
        return find_pattern(found)
    with no_fork:
        from fastlm.formats.tokenizer_json.pre_tokenizers import pattern_of_contents
    return pattern_of_contents(found)


def _normalization_of_header(found: Any) -> Any:
    if not isinstance(found, list):
        return found
    with no_fork:
        from fastlm.formats.tokenizer_json.normalizers import parse_normalizer, steps_of
    return tuple(itertools.chain.from_iterable(steps_of(parse_normalizer(content)) for content in found))


def read(path: str | os.PathLike[str]) -> Vocabulary:
    """Reads a file. Raises OSError, or ValueError naming the file and the fault."""
    return read_with_siblings(path)[0]


def read_with_siblings(path: str | os.PathLike[str]) -> tuple[Vocabulary, dict[str, str]]:
    """The vocabulary of a file, and name -> sha256 of the files that were written with it. Raises as `read`."""
    content = Path(path).read_bytes()
    if not content.startswith(MAGIC_STEM):
        try:
            refuse_foreign(content)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
    if content[:8] != _MAGIC:
        raise ValueError(f"{path}: not a fastlm tokenizer file of version 2 (it begins with {content[:8]!r})")
    body = memoryview(content)[:-_DIGEST]
    if hashlib.sha256(body).digest() != content[-_DIGEST:]:
        raise ValueError(f"{path}: the checksum does not match: the file was changed or cut short")
    try:
        return _parse(body)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise ValueError(f"{path}: {error}") from None


def _parse(body: memoryview) -> tuple[Vocabulary, dict[str, str]]:
    at = 16 + int.from_bytes(body[8:16], "little")
    if at > len(body):
        raise ValueError(f"the header would end at byte {at} of {len(body)}")
    header = json.loads(bytes(body[16:at]))
    arrays = {}
    for name, dtype in _ARRAYS.items():
        entries = header["entries"][name]
        if not isinstance(entries, int) or entries < 0 or at + entries * dtype.itemsize > len(body):
            raise ValueError(f"array {name} of {entries} entries at byte {at} does not fit a file of {len(body)} bytes")
        arrays[name] = np.frombuffer(body, dtype, entries, at).astype(dtype.newbyteorder("="), copy=False)
        at += -(-entries * dtype.itemsize // _ALIGN) * _ALIGN
    if at != len(body):
        raise ValueError(f"{len(body) - at} bytes follow the last array")
    added_tokens = tuple(AddedToken(**token) for token in header["added_tokens"])
    rules = header["rules"] | {name: tuple(header["rules"][name]) for name in ("begin", "end")}
    rules["normalization"] = _normalization_of_header(rules["normalization"])
    carried, siblings = header.get("carried", ""), header.get("siblings", {})
    if not isinstance(carried, str):
        raise ValueError(f"carried must be a string, got {carried!r:.80}")
    if not isinstance(siblings, dict) or not all(isinstance(digest, str) for digest in siblings.values()):
        raise ValueError(f"siblings must map names to digests, got {siblings!r:.80}")
    vocabulary = Vocabulary(
        **arrays,
        added_tokens=added_tokens,
        pattern=_pattern_of_header(header["pattern"]),
        rules=Rules(**rules),
        carried=carried,
    )
    return vocabulary, siblings
