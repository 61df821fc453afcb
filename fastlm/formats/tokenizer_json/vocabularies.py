"""Vocabularies from the components of a tokenizer.json, and the other way round."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from fastlm._types import UInt32Array
from fastlm.formats import gpt2
from fastlm.formats.tokenizer_json.added_tokens import FLAGS, AddedTokenEntry, AddedVocabulary
from fastlm.formats.tokenizer_json.components import UnsupportedComponentError
from fastlm.formats.tokenizer_json.document import VERSION, Document
from fastlm.formats.tokenizer_json.models import BPE, OPTIONS
from fastlm.formats.tokenizer_json.normalizers import NormalizerComponent, parse_normalizer, steps_of
from fastlm.formats.tokenizer_json.post_processors import added_ids, parse_post_processor
from fastlm.formats.tokenizer_json.pre_tokenizers import (
    PreTokenizerComponent,
    parse_pre_tokenizer,
    splitting_of,
)
from fastlm.normalizers import Normalizer, normalize_str, simplified
from fastlm.pretokenize.patterns import WHOLE_TEXT, Pattern, find_pattern
from fastlm.pretokenize.steps.step_pattern import StepPattern
from fastlm.text.byte_level import CHAR_OF_BYTE
from fastlm.vocabulary.vocabulary import NO_ID, SPARSE_IDS, AddedToken, Rules, Vocabulary, vocabulary_from_ids

_BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
# the options of a model that change no id
_MODEL_OPTIONS = {name: value for name, value in BPE().options().items() if name != "ignore_merges"}
_SECTIONS = ("truncation", "padding", "normalizer", "pre_tokenizer", "post_processor", "decoder")


def vocabulary_of_components(
    model: BPE,
    normalizer: NormalizerComponent | None,
    pre_tokenizer: PreTokenizerComponent | None,
    added_tokens: Iterable[AddedToken],
    begin: tuple[int, ...] = (),
    end: tuple[int, ...] = (),
) -> Vocabulary:
    """A vocabulary that encodes as these components do.

    Tokens of the model with a character that spells no byte never result from a text. They have no bytes here.

    Args:
        model: The BPE model.
        normalizer: The normalizer, or None.
        pre_tokenizer: The pre-tokenizer, or None.
        added_tokens: The added tokens with the ids that they have.
        begin: Ids that go before a text.
        end: Ids that go after a text.

    Returns:
        The vocabulary.

    Raises:
        UnsupportedComponentError: For components that fastlm does not follow.
        ValueError: For parts that do not fit together.
    """
    add_prefix_space, pattern = require_supported(model, pre_tokenizer)
    vocab = model.vocab
    spelled = _spelled_tokens(vocab)
    byte_ids = _byte_ids(model)
    has_all_bytes = bool((byte_ids != NO_ID).all())
    rules = Rules(
        ignore_merges=model.ignore_merges,
        normalization=steps_of(normalizer),
        add_prefix_space=add_prefix_space,
        unknown_bytes="refuse" if has_all_bytes else "drop",
        begin=begin,
        end=end,
    )
    merges = model.merge_ids
    if len(spelled) < len(vocab):
        known = np.fromiter(spelled, np.int64, len(spelled))
        merges = merges[:, np.isin(merges[:2], known).all(axis=0)]
    added = tuple(added_tokens)
    for token in added:
        if token.normalized and not normalize_str(rules.normalizers, token.content):
            raise UnsupportedComponentError(f"added token {token.content!r}, which the normalizer makes empty,")
    table = dict(spelled)
    for token in added:
        table.setdefault(token.id, token.content.encode())
    largest = max(table, default=0)
    if largest >= 2 * len(table) + SPARSE_IDS:
        raise UnsupportedComponentError(f"vocabulary with id {largest}, far above the number of tokens, {len(table)},")
    left, right, new = merges
    return vocabulary_from_ids(table or {0: b""}, left, right, new, added, pattern, rules, byte_ids)


def _spelled_tokens(vocab: Mapping[str, int]) -> dict[int, bytes]:
    """Id -> bytes of the tokens that spell bytes, without the empty token."""
    tokens = {token: token_id for token, token_id in vocab.items() if token} if "" in vocab else vocab
    if not gpt2.spells_bytes("".join(tokens)):
        tokens = {token: token_id for token, token_id in tokens.items() if gpt2.spells_bytes(token)}
    return dict(zip(tokens.values(), gpt2.unspell_all(tokens), strict=True))


def require_supported(model: BPE, pre_tokenizer: PreTokenizerComponent | None) -> tuple[bool, Pattern]:
    """Checks, without encoding anything, that fastlm encodes as these components do.

    Returns:
        As `splitting_of`.

    Raises:
        UnsupportedComponentError: Naming what fastlm does not follow.
    """
    add_prefix_space, pattern = splitting_of(pre_tokenizer)
    model.require_byte_level(bool((_byte_ids(model) != NO_ID).all()))
    if isinstance(pattern, StepPattern) and not pattern.spells_bytes:
        names = " then ".join(step.type_name for step in pattern.steps) or "null"
        model.require_only_bytes(f"with pre_tokenizer {names}, after which characters may spell no byte,")
    return add_prefix_space, pattern


def _byte_ids(model: BPE) -> UInt32Array:
    return np.array([model.vocab.get(CHAR_OF_BYTE[byte], NO_ID) for byte in range(256)], np.uint32)


def vocabulary_of(document: Document) -> Vocabulary:
    """The vocabulary of a tokenizer.json.

    An added token that the model knows has the model's id, as in `tokenizers`. Another has the id of the file, where
    `tokenizers` would count on from the last id of the model. A token of the model that spells no bytes never results
    from a text, and is only kept for saving. Truncation and padding concern batches, so a vocabulary
    ignores them. They are kept for saving, as is all else of the file that decides no id.

    Raises:
        UnsupportedComponentError: For a component that fastlm does not follow.
        ValueError: For parts that do not fit together.
    """
    model, vocab = document.model, document.model.vocab
    wanted: dict[str, int] = {}
    for entry in document.added_tokens:
        wanted.setdefault(entry.content, entry.token_id)
    known, _ = AddedVocabulary[AddedTokenEntry]().with_tokens(document.added_tokens, vocab, wanted)
    unspelled = [token for token in vocab if token not in known.ids and not gpt2.spells_bytes(token)]
    if unspelled and not set(unspelled).isdisjoint(itertools.chain.from_iterable(model.merges)):
        token = next(token for pair in model.merges for token in pair if token in set(unspelled))
        raise UnsupportedComponentError(f"merge of token {token!r} of id {vocab[token]}, which spells no bytes,")
    outside = {token_id: content for content, token_id in known.ids.items() if content not in vocab}
    for token_id in outside.keys() & set(vocab.values()):
        token = next(token for token, other in vocab.items() if other == token_id)
        raise ValueError(f"added token {outside[token_id]!r} has id {token_id}, which is {token!r} in model.vocab")
    added = [
        AddedToken(content, token_id, **(known.tokens[token_id].flags() | {"special": content in known.special}))
        for content, token_id in known.ids.items()
    ]
    begin, end = added_ids(document.post_processor)
    vocabulary = vocabulary_of_components(model, document.normalizer, document.pre_tokenizer, added, begin, end)
    return replace(vocabulary, carried=_carried(document, vocabulary))


def _carried(document: Document, vocabulary: Vocabulary) -> str:
    """JSON of the parts of a file beyond its vocabulary that `content_of` would write differently."""
    try:
        written = _sections(vocabulary, {})
    except ValueError:
        written = {}
    parts = {name: part.content() if (part := getattr(document, name)) else None for name in _SECTIONS}
    carried: dict[str, Any] = {
        name: part for name, part in parts.items() if name not in written or part != written[name]
    }
    options = {name: value for name, value in document.model.options().items() if name != "ignore_merges"}
    changed = {name: value for name, value in options.items() if value != _MODEL_OPTIONS[name]}
    vocab = document.model.vocab
    outside = [token.content for token in vocabulary.added_tokens if token.content not in vocab]
    if changed:
        carried["model"] = changed
    if outside:
        carried["outside_model"] = outside
    if "" in vocab:
        carried["empty_token"] = vocab[""]
    added = set(vocabulary.special_tokens)
    unspelled = {token: k for token, k in vocab.items() if token not in added and not gpt2.spells_bytes(token)}
    if unspelled:
        carried["unspelled"] = unspelled
    return json.dumps(carried, ensure_ascii=False) if carried else ""


def content_of(vocabulary: Vocabulary) -> dict[str, Any]:
    """The JSON value of a tokenizer.json.

    Parts of the file that the vocabulary was read from are kept as long as they agree with the vocabulary.

    Raises:
        ValueError: For a vocabulary that cannot be spelled in the file.
    """
    carried = json.loads(vocabulary.carried) if vocabulary.carried else {}
    sections = _sections(vocabulary, carried)
    vocab = gpt2.spelled_vocab(vocabulary)
    if "empty_token" in carried and carried["empty_token"] not in vocab.values():
        vocab[""] = carried["empty_token"]
    used = set(vocab.values())
    vocab |= {token: k for token, k in carried.get("unspelled", {}).items() if k not in used}
    outside = set(carried.get("outside_model", ()))
    inside = {token: token_id for token, token_id in vocab.items() if token not in outside}
    added = sorted(vocabulary.added_tokens, key=lambda token: token.id)
    # outside of the model tokenizers numbers the tokens itself
    numbered, _ = AddedVocabulary[AddedToken]().with_tokens(added, inside)
    if numbered.ids == vocabulary.special_tokens:
        vocab = inside
    elif isinstance(vocabulary.pattern, StepPattern) and not vocabulary.pattern.spells_bytes:
        for token in outside & vocab.keys():
            raise ValueError(
                f"tokenizer.json cannot keep the id of added token {token!r}: in the model, text becomes it"
            )
    options = _MODEL_OPTIONS | carried.get("model", {}) | {"ignore_merges": vocabulary.rules.ignore_merges}
    return {
        "version": VERSION,
        "truncation": sections["truncation"],
        "padding": sections["padding"],
        "added_tokens": [
            {"id": token.id, "content": token.content, **{flag: getattr(token, flag) for flag in FLAGS}}
            for token in added
        ],
        **{name: sections[name] for name in ("normalizer", "pre_tokenizer", "post_processor", "decoder")},
        "model": {
            "type": "BPE",
            **{name: options[name] for name in OPTIONS},
            "vocab": vocab,
            "merges": [[gpt2.spell(left), gpt2.spell(right)] for left, right in vocabulary.merges],
        },
    }


def _sections(vocabulary: Vocabulary, carried: dict[str, Any]) -> dict[str, Any]:
    """All entries but the model and the added tokens: the carried entry if it agrees with the vocabulary."""
    rules = vocabulary.rules
    sections: dict[str, Any] = {name: carried.get(name) for name in ("truncation", "padding")}
    sections["decoder"] = carried.get("decoder", {**_BYTE_LEVEL, "use_regex": True})
    sections["normalizer"] = _normalizer(rules.normalizers, carried.get("normalizer"))
    sections["pre_tokenizer"] = _pre_tokenizer(vocabulary, carried.get("pre_tokenizer"))
    processor = carried.get("post_processor")
    if processor is None or added_ids(parse_post_processor(processor)) != (rules.begin, rules.end):
        processor = _template(vocabulary) if rules.begin or rules.end else None
    sections["post_processor"] = processor
    return sections


def _normalizer(steps: tuple[Normalizer, ...], carried: Any) -> dict[str, Any] | None:
    if carried is not None and simplified(steps_of(parse_normalizer(carried))) == steps:
        found: dict[str, Any] = carried
        return found
    contents = [step.content() for step in steps]
    if len(contents) > 1:
        return {"type": "Sequence", "normalizers": contents}
    return contents[0] if contents else None


def _pre_tokenizer(vocabulary: Vocabulary, carried: Any) -> dict[str, Any] | None:
    rules, pattern = vocabulary.rules, vocabulary.pattern
    if carried is not None and splitting_of(parse_pre_tokenizer(carried)) == (rules.add_prefix_space, pattern):
        found: dict[str, Any] = carried
        return found
    if isinstance(pattern, StepPattern):
        if rules.add_prefix_space:
            raise ValueError("tokenizer.json cannot add a space before a text that steps split")
        contents = [step.content() for step in pattern.steps]
        if len(contents) > 1:
            return {"type": "Sequence", "pretokenizers": contents}
        return contents[0] if contents else None
    options = {**_BYTE_LEVEL, "add_prefix_space": rules.add_prefix_space}
    if pattern.scanner == "gpt2":
        return {**options, "use_regex": True}
    if pattern == WHOLE_TEXT:
        return {**options, "use_regex": False}
    if rules.add_prefix_space:
        raise ValueError("tokenizer.json cannot add a space before a text that another pattern than gpt2 splits")
    if pattern.scanner is None:
        # an expression of another syntax may be none in a tokenizer.json
        find_pattern(pattern.for_onig, "oniguruma")
    splits = [
        {"type": "Split", "pattern": {"Regex": split}, "behavior": "Isolated", "invert": False}
        for split in pattern.for_onig
    ]
    return {"type": "Sequence", "pretokenizers": [*splits, {**options, "use_regex": False}]}


def _template(vocabulary: Vocabulary) -> dict[str, Any]:
    name_of = {token.id: token.content for token in vocabulary.added_tokens}
    rules = vocabulary.rules
    unnamed = [token_id for token_id in (*rules.begin, *rules.end) if token_id not in name_of]
    if unnamed:
        raise ValueError(f"tokenizer.json cannot put id {unnamed[0]} around a text: it is not an added token")

    def around(sequence: Literal["A", "B"], type_id: int) -> list[dict[str, Any]]:
        def special(token_id: int) -> dict[str, Any]:
            return {"SpecialToken": {"id": name_of[token_id], "type_id": type_id}}

        middle = {"Sequence": {"id": sequence, "type_id": type_id}}
        return [*map(special, rules.begin), middle, *map(special, rules.end)]

    return {
        "type": "TemplateProcessing",
        "single": around("A", 0),
        "pair": [*around("A", 0), *around("B", 1)],
        "special_tokens": {
            name_of[token_id]: {"id": name_of[token_id], "ids": [token_id], "tokens": [name_of[token_id]]}
            for token_id in dict.fromkeys((*rules.begin, *rules.end))
        },
    }
