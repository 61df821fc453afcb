"""tokenizer.json of Hugging Face's `tokenizers`, for byte-level BPE.

Read are the files that mean exactly what a Vocabulary means; any other component is refused by name.
"""

from __future__ import annotations

import json
import os
from typing import Any

from fastlm.formats import gpt2
from fastlm.formats.reading import read_json
from fastlm.patterns import DIGITS, GPT2, Pattern, find_pattern
from fastlm.vocabulary import Merge, Vocabulary, vocabulary_from_tokens

FILE = "tokenizer.json"

_BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}


def write(vocabulary: Vocabulary) -> dict[str, bytes]:
    """Name -> content of the file. Raises ValueError for a vocabulary that cannot be spelled in it."""
    if vocabulary.pattern.name == "gpt2":
        pre_tokenizer: dict[str, Any] = {**_BYTE_LEVEL, "use_regex": True}
    else:
        splits = [
            {"type": "Split", "pattern": {"Regex": split}, "behavior": "Isolated", "invert": False}
            for split in vocabulary.pattern.for_onig
        ]
        pre_tokenizer = {"type": "Sequence", "pretokenizers": [*splits, {**_BYTE_LEVEL, "use_regex": False}]}
    added = [
        {
            "id": id,
            "content": token,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": True,
        }
        for token, id in sorted(vocabulary.special_tokens.items(), key=lambda item: item[1])
    ]
    content = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": None,
        "pre_tokenizer": pre_tokenizer,
        "post_processor": None,
        "decoder": {**_BYTE_LEVEL, "use_regex": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": gpt2.spelled_vocab(vocabulary),
            "merges": [[gpt2.spell(left), gpt2.spell(right)] for left, right in vocabulary.merges],
        },
    }
    return {FILE: json.dumps(content, ensure_ascii=False, indent=1).encode()}


def read(path: str | os.PathLike[str]) -> Vocabulary:
    """The vocabulary of a file. Raises OSError, or ValueError naming the file and what is not supported."""
    content = read_json(path)
    model = _part(content, "model", path)
    if model.get("type", "BPE") != "BPE":
        raise ValueError(f"{path}: model {model.get('type')!r} is not supported, only 'BPE'")
    for option in ("dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix", "byte_fallback"):
        if model.get(option):
            raise ValueError(f"{path}: model.{option} = {model[option]!r} is not supported")
    if model.get("ignore_merges"):
        raise ValueError(f"{path}: model.ignore_merges is not supported")
    for option in ("truncation", "padding"):
        if content.get(option) is not None:
            raise ValueError(f"{path}: {option} is not supported")
    if content.get("normalizer") is not None:
        raise ValueError(f"{path}: normalizer {_type(content['normalizer'])} is not supported")
    if content.get("post_processor") is not None and _type(content["post_processor"]) != "ByteLevel":
        raise ValueError(f"{path}: post_processor {_type(content['post_processor'])} is not supported")
    if _type(content.get("decoder")) != "ByteLevel":
        raise ValueError(f"{path}: decoder {_type(content.get('decoder'))} is not supported, only ByteLevel")

    vocab, merges = model.get("vocab"), model.get("merges")
    if not isinstance(vocab, dict) or not isinstance(merges, list):
        raise ValueError(f"{path}: model.vocab must be an object and model.merges a list")
    special = _special_tokens(content.get("added_tokens") or [], path)
    entries = {**vocab, **special}
    tokens = gpt2.parse_vocab(entries.items(), special, path)
    pairs = [_merge(merge, rank, path) for rank, merge in enumerate(merges)]
    pattern = _pattern(content.get("pre_tokenizer"), path)
    try:
        return vocabulary_from_tokens(tokens, pairs, special, pattern)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _part(content: Any, key: str, path: str | os.PathLike[str]) -> dict[str, Any]:
    if not isinstance(content, dict) or not isinstance(content.get(key), dict):
        raise ValueError(f"{path}: expected an object with a {key!r} object in it")
    part: dict[str, Any] = content[key]
    return part


def _type(component: Any) -> str:
    return str(component.get("type")) if isinstance(component, dict) else repr(component)


def _special_tokens(added: Any, path: str | os.PathLike[str]) -> dict[str, int]:
    special: dict[str, int] = {}
    for token in added if isinstance(added, list) else [added]:
        if not isinstance(token, dict) or not isinstance(token.get("content"), str):
            raise ValueError(f"{path}: added token {token!r} is malformed")
        for option in ("single_word", "lstrip", "rstrip"):
            if token.get(option):
                raise ValueError(f"{path}: added token {token['content']!r} with {option} is not supported")
        if not isinstance(token.get("id"), int):
            raise ValueError(f"{path}: added token {token['content']!r} has id {token.get('id')!r}, not an integer")
        if token["content"] in special:
            raise ValueError(f"{path}: added token {token['content']!r} is given twice")
        special[token["content"]] = token["id"]
    return special


def _merge(merge: Any, rank: int, path: str | os.PathLike[str]) -> Merge:
    sides = merge.split(" ") if isinstance(merge, str) else merge
    if not isinstance(sides, list) or len(sides) != 2 or not all(isinstance(side, str) for side in sides):
        raise ValueError(f"{path}: merge {rank} is {merge!r}, expected two tokens")
    try:
        return gpt2.unspell(sides[0]), gpt2.unspell(sides[1])
    except ValueError as error:
        raise ValueError(f"{path}: merge {rank}: {error}") from None


def _pattern(component: Any, path: str | os.PathLike[str]) -> Pattern:
    steps = component.get("pretokenizers") if _type(component) == "Sequence" else [component]
    if not isinstance(steps, list) or not steps or _type(steps[-1]) != "ByteLevel":
        raise ValueError(f"{path}: pre_tokenizer {_type(component)} is not supported, only (Split and) ByteLevel")
    *splits, byte_level = steps
    if byte_level.get("add_prefix_space", True):
        raise ValueError(f"{path}: pre_tokenizer ByteLevel with add_prefix_space is not supported")
    expressions = [_expression(step) for step in splits]
    if byte_level.get("use_regex", True):
        expressions.append(GPT2)
    if not expressions or None in expressions:
        raise ValueError(f"{path}: this sequence of pre-tokenizers is not supported: {[_type(step) for step in steps]}")
    return find_pattern([expression for expression in expressions if expression is not None])


def _expression(step: Any) -> str | None:
    """The regular expression at whose matches a pre-tokenizer splits; None where it does something else."""
    if _type(step) == "Digits":
        return DIGITS if step.get("individual_digits") else None
    if _type(step) != "Split" or step.get("behavior") != "Isolated" or step.get("invert"):
        return None
    expression = step.get("pattern", {}).get("Regex") if isinstance(step.get("pattern"), dict) else None
    return expression if isinstance(expression, str) else None
