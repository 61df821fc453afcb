"""tokenizer.json of Hugging Face's `tokenizers`, for byte-level BPE.

Read are the files that mean exactly what a Vocabulary can say; any other component is refused by name. An added token
has the id that the file gives it (tokenizers 0.23 ignores that id and counts on from the model's last).
"""

from __future__ import annotations

import json
import os
import re
from typing import Any

from fastlm.files.reading import read_json
from fastlm.formats import gpt2
from fastlm.pretokenize.patterns import DIGITS, GPT2, Pattern, find_pattern
from fastlm.vocabulary.vocabulary import AddedToken, Rules, Vocabulary, assembled, checked_tokens

FILE = "tokenizer.json"

_BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
_OPTIONS = ("single_word", "lstrip", "rstrip", "normalized", "special")


def write(vocabulary: Vocabulary) -> dict[str, bytes]:
    """Name -> content of the file. Raises ValueError for a vocabulary that cannot be spelled in it."""
    return {FILE: json.dumps(content_of(vocabulary), ensure_ascii=False, indent=1).encode()}


def content_of(vocabulary: Vocabulary) -> dict[str, Any]:
    """What the file says, as JSON objects. Raises ValueError for a vocabulary that cannot be spelled in it."""
    rules = vocabulary.rules
    byte_level = {**_BYTE_LEVEL, "add_prefix_space": rules.add_prefix_space}
    if vocabulary.pattern.scanner == "gpt2":
        pre_tokenizer: dict[str, Any] = {**byte_level, "use_regex": True}
    elif rules.add_prefix_space:
        raise ValueError(f"{FILE} cannot say that a blank is put before a text that another pattern than gpt2 splits")
    else:
        splits = [
            {"type": "Split", "pattern": {"Regex": split}, "behavior": "Isolated", "invert": False}
            for split in vocabulary.pattern.for_onig
        ]
        pre_tokenizer = {"type": "Sequence", "pretokenizers": [*splits, {**byte_level, "use_regex": False}]}
    added = [
        {"id": token.id, "content": token.content, **{option: getattr(token, option) for option in _OPTIONS}}
        for token in sorted(vocabulary.added_tokens, key=lambda token: token.id)
    ]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": rules.normalization and {"type": rules.normalization},
        "pre_tokenizer": pre_tokenizer,
        "post_processor": _template(vocabulary) if rules.begin or rules.end else None,
        "decoder": {**_BYTE_LEVEL, "use_regex": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": rules.ignore_merges,
            "vocab": gpt2.spelled_vocab(vocabulary),
            "merges": [[gpt2.spell(left), gpt2.spell(right)] for left, right in vocabulary.merges],
        },
    }


def _template(vocabulary: Vocabulary) -> dict[str, Any]:
    name_of = {token.id: token.content for token in vocabulary.added_tokens}
    rules = vocabulary.rules

    def around(sequence: str, type_id: int) -> list[dict[str, Any]]:
        def special(id: int) -> dict[str, Any]:
            return {"SpecialToken": {"id": name_of[id], "type_id": type_id}}

        middle = {"Sequence": {"id": sequence, "type_id": type_id}}
        return [*map(special, rules.begin), middle, *map(special, rules.end)]

    unnamed = [id for id in (*rules.begin, *rules.end) if id not in name_of]
    if unnamed:
        raise ValueError(f"{FILE} cannot put id {unnamed[0]} around a text: it is no added token")
    return {
        "type": "TemplateProcessing",
        "single": around("A", 0),
        "pair": [*around("A", 0), *around("B", 1)],
        "special_tokens": {
            name_of[id]: {"id": name_of[id], "ids": [id], "tokens": [name_of[id]]}
            for id in dict.fromkeys((*rules.begin, *rules.end))
        },
    }


def read(path: str | os.PathLike[str]) -> Vocabulary:
    """The vocabulary of a file. Raises OSError, or ValueError naming the file and what is not supported."""
    content = read_json(path)
    for option in ("truncation", "padding"):
        if isinstance(content, dict) and content.get(option) is not None:
            raise ValueError(f"{path}: {option} is not supported; fastlm.compat.tokenizers does it")
    try:
        return parse(content)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def parse(content: Any) -> Vocabulary:
    """The vocabulary that the JSON of a file describes. Raises ValueError naming what is malformed or not supported.

    Padding and truncation are passed over.
    """
    model = content.get("model") if isinstance(content, dict) else None
    if not isinstance(model, dict):
        raise ValueError("expected an object with a 'model' object in it")
    if model.get("type", "BPE") != "BPE":
        raise ValueError(f"model {model.get('type')!r} is not supported, only 'BPE'")
    for option in ("dropout", "continuing_subword_prefix", "end_of_word_suffix", "byte_fallback"):
        if model.get(option):
            raise ValueError(f"model.{option} = {model[option]!r} is not supported")
    if _type(content.get("decoder")) != "ByteLevel":
        raise ValueError(f"decoder {_type(content.get('decoder'))} is not supported, only ByteLevel")
    vocab, merges = model.get("vocab"), model.get("merges")
    if not isinstance(vocab, dict) or not isinstance(merges, list):
        raise ValueError("model.vocab must be an object and model.merges a list")
    added = [_added_token(token, vocab) for token in _list(content.get("added_tokens"), "added_tokens")]
    special = {token.content: token.id for token in added}
    # an added token that the model knows too is bytes if it can be
    as_text = {content for content in special if content not in vocab or not gpt2.spells_bytes(content)}
    tokens = gpt2.parse_vocab({**special, **vocab}.items(), as_text)
    has_all_bytes = len({token for token in tokens.values() if len(token) == 1}) == 256
    if model.get("unk_token") and not has_all_bytes:
        raise ValueError(f"model.unk_token = {model['unk_token']!r} is not supported where bytes lack a token")
    pattern, add_prefix_space = _pre_tokenizer(content.get("pre_tokenizer"))
    begin, end = _frame(content.get("post_processor"))
    rules = Rules(
        ignore_merges=bool(model.get("ignore_merges")),
        normalization=_normalization(content.get("normalizer")),
        add_prefix_space=add_prefix_space,
        unknown_bytes="refuse" if has_all_bytes else "drop",
        begin=begin,
        end=end,
    )
    return assembled(checked_tokens(tokens), *_merge_ids(merges, vocab), added, pattern, rules)


def _type(component: Any) -> str:
    return str(component.get("type")) if isinstance(component, dict) else repr(component)


def _list(component: Any, name: str) -> list[Any]:
    if not isinstance(component, list | None):
        raise ValueError(f"{name} must be a list, not {component!r:.80}")
    return component or []


def _added_token(token: Any, vocab: dict[str, Any]) -> AddedToken:
    if not isinstance(token, dict) or not isinstance(token.get("content"), str):
        raise ValueError(f"added token {token!r:.80} is malformed")
    content, id = token["content"], token.get("id")
    if not isinstance(id, int) or isinstance(id, bool) or id < 0:
        raise ValueError(f"added token {content!r} has id {id!r}, expected a non-negative integer")
    if vocab.get(content, id) != id:
        raise ValueError(f"added token {content!r} has id {id}, but {vocab[content]} in model.vocab")
    # a file may leave options out; tokenizers then normalizes what is not special
    special = bool(token.get("special", False))
    options = {"normalized": not special} | {option: bool(token[option]) for option in _OPTIONS if option in token}
    return AddedToken(content, id, **{"special": special, **options})


def _merge_ids(merges: list[Any], vocab: dict[str, int]) -> tuple[list[int], list[int], list[int]]:
    """The ids of the two sides of each merge, and of what they make."""
    pairs = [merge.split(" ") if isinstance(merge, str) else merge for merge in merges]
    try:
        return [vocab[a] for a, _ in pairs], [vocab[b] for _, b in pairs], [vocab[a + b] for a, b in pairs]
    except (KeyError, ValueError, TypeError):
        rank = next(rank for rank, pair in enumerate(pairs) if not _is_merge(pair, vocab))
        raise ValueError(f"merge {rank} is {merges[rank]!r:.80}, expected two tokens that make a third") from None


def _is_merge(pair: Any, vocab: dict[str, int]) -> bool:
    if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(side, str) for side in pair):
        return False
    return all(token in vocab for token in (*pair, "".join(pair)))


def _steps(component: Any, inner: str) -> list[Any]:
    """The components of a Sequence, however nested, or the one component; none for null."""
    open_steps, steps = [component], []
    while open_steps:
        step = open_steps.pop()
        if _type(step) == "Sequence":
            open_steps += reversed(_list(step.get(inner), inner))
        elif step is not None:
            steps.append(step)
    return steps


def _normalization(component: Any) -> Any:
    names = {_type(step) for step in _steps(component, "normalizers")}
    if names - {"NFC"}:
        raise ValueError(f"normalizer {min(names - {'NFC'})} is not supported, only NFC")
    return "NFC" if names else None


def _pre_tokenizer(component: Any) -> tuple[Pattern, bool]:
    """The pattern, and whether a blank is put before a text."""
    *splits, byte_level = _steps(component, "pretokenizers") or [None]
    if _type(byte_level) != "ByteLevel":
        raise ValueError(f"pre_tokenizer {_type(component)} is not supported, only one that ends with ByteLevel")
    expressions = [_expression(step) for step in splits]
    add_prefix_space = bool(byte_level.get("add_prefix_space", True))
    if add_prefix_space and splits:
        raise ValueError("pre_tokenizer ByteLevel with add_prefix_space after other splits is not supported")
    if byte_level.get("use_regex", True):
        expressions.append(GPT2)
    # where nothing splits, a text is one pretoken
    return find_pattern(expressions or [r"(?s:.+)"]), add_prefix_space


def _expression(step: Any) -> str:
    """The expression whose matches a step sets apart."""
    if _type(step) == "Digits":
        return DIGITS if step.get("individual_digits") else f"{DIGITS}+"
    if _type(step) != "Split":
        raise ValueError(f"pre_tokenizer {_type(step)} is not supported before ByteLevel, only Split and Digits")
    if step.get("behavior") != "Isolated" or step.get("invert"):
        raise ValueError(
            f"pre_tokenizer Split with behavior {step.get('behavior')!r} and invert {step.get('invert')!r} is not "
            "supported, only 'Isolated' and false"
        )
    pattern: Any = step.get("pattern") if isinstance(step.get("pattern"), dict) else {}
    if isinstance(pattern.get("String"), str):
        return re.escape(str(pattern["String"]))
    if not isinstance(pattern.get("Regex"), str):
        raise ValueError(f"pre_tokenizer Split with pattern {pattern!r:.80} is malformed")
    return str(pattern["Regex"])


def _frame(component: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The ids put before and after a text."""
    begin: tuple[int, ...] = ()
    end: tuple[int, ...] = ()
    for step in _steps(component, "processors"):
        if _type(step) == "ByteLevel":
            continue
        if _type(step) == "RobertaProcessing":
            ids = [_template_id(step, key) for key in ("cls", "sep")]
            begin, end = (ids[0], *begin), (*end, ids[1])
        elif _type(step) == "TemplateProcessing":
            before, after = _single_template(step)
            begin, end = (*before, *begin), (*end, *after)
        else:
            raise ValueError(f"post_processor {_type(step)} is not supported")
    return begin, end


def _template_id(step: dict[str, Any], key: str) -> int:
    pair = step.get(key)
    if not isinstance(pair, list) or len(pair) != 2 or not isinstance(pair[1], int):
        raise ValueError(f"post_processor {_type(step)}: {key} is {pair!r:.80}, expected a token and its id")
    return pair[1]


def _single_template(step: dict[str, Any]) -> tuple[list[int], list[int]]:
    sides: list[list[int]] = [[]]
    known = step.get("special_tokens")
    for item in _list(step.get("single"), "post_processor.single"):
        if isinstance(item, dict) and isinstance(item.get("Sequence"), dict) and item["Sequence"].get("id") == "A":
            sides.append([])
            continue
        try:
            sides[-1] += [int(id) for id in known[item["SpecialToken"]["id"]]["ids"]]  # type: ignore[index]
        except (KeyError, TypeError, ValueError):
            raise ValueError(f"post_processor TemplateProcessing: {item!r:.80} is malformed or unknown") from None
    if len(sides) != 2:
        raise ValueError("post_processor TemplateProcessing must have the sequence A once in single")
    return sides[0], sides[1]
