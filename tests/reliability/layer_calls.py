"""The public calls of the compatibility layers for tokenizers and transformers, each with one argument left open.

The calls of tokenizers are found: all classes and members that the layer and the library both have. A call is made of
the module, so that the same call can be made of the layer and of the library.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import json
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import fastlm
from fastlm.formats import tokenizer_json
from tests import texts

CallOf = Callable[[Any, Any], object]
"""A call of a module or an object, with a value for the open argument."""

END = "<|end|>"
VOCAB = {"a": 0, "b": 1, "ab": 2}
MERGES = [("a", "b")]
# right values of required parameters
GOOD: dict[str, Callable[[Any], Any]] = {
    "model": lambda module: module.models.BPE(VOCAB, MERGES),
    "sequence": lambda _: "some text",
    "sequences": lambda _: [[1, 2], [3]],
    "input": lambda _: ["some", "text"],
    "inputs": lambda _: ["some", "text"],
    "ids": lambda _: [1, 2, 3],
    "id": lambda _: 1,
    "token": lambda _: "a",
    "tokens": lambda _: ["a"],
    "special_tokens": lambda _: ["<s>"],
    "json": lambda _: content(),
    "buffer": lambda _: content().encode(),
    "path": lambda _: "saved.json",
    "identifier": lambda _: "folder",
    "encoding": lambda module: encoding_of(module),
    "other": lambda module: encoding_of(module),
    "encodings": lambda module: [encoding_of(module)],
    "is_pair": lambda _: False,
    "add_special_tokens": lambda _: True,
    "files": lambda _: [],
    "iterator": lambda _: ["some text"],
    "max_length": lambda _: 4,
    "length": lambda _: 4,
    "vocab": lambda _: VOCAB,
    "merges": lambda _: MERGES,
    "vocab_filename": lambda _: "vocab.json",
    "merges_filename": lambda _: "merges.txt",
    "directory": lambda _: ".",
    "folder": lambda _: ".",
    "pattern": lambda _: "a",
    "behavior": lambda _: "isolated",
    "content": lambda _: "a",
    "prepend": lambda _: "a",
    "delimiter": lambda _: "a",
    "sep": lambda _: ("a", 1),
    "cls_token": lambda _: ("b", 2),
    "normalizers": lambda module: [module.normalizers.NFC()],
    "pretokenizers": lambda module: [module.pre_tokenizers.ByteLevel()],
    "processors": lambda module: [module.processors.ByteLevel()],
    "decoders": lambda module: [module.decoders.ByteLevel()],
    "start": lambda _: 0,
    "end": lambda _: 1,
    "label": lambda _: "a",
    "tokenizer": lambda module: module.Tokenizer.from_str(content()),
    **{name: lambda _: 0 for name in ("token_index", "word_index", "char_pos", "sequence_id", "type_id")},
    "add_prefix_space": lambda _: True,
}
# parameters that a signature of the layer hides in **options
OPTIONS = {
    "AddedToken": ("single_word", "lstrip", "rstrip", "normalized", "special"),
    "Tokenizer.enable_truncation": ("stride", "strategy", "direction"),
    "Tokenizer.enable_padding": ("direction", "pad_id", "pad_type_id", "pad_token", "length", "pad_to_multiple_of"),
    "Encoding.pad": ("direction", "pad_id", "pad_type_id", "pad_token"),
    "trainers.BpeTrainer": (
        *("vocab_size", "min_frequency", "show_progress", "special_tokens", "limit_alphabet", "initial_alphabet"),
        *("continuing_subword_prefix", "end_of_word_suffix", "max_token_length"),
    ),
}
OBJECTS: dict[str, Callable[[Any], Any]] = {
    "Tokenizer": lambda module: module.Tokenizer.from_str(content()),
    "Encoding": lambda module: encoding_of(module),
    "AddedToken": lambda module: module.AddedToken("a"),
    "models.BPE": lambda module: module.models.BPE(VOCAB, MERGES),
    "normalizers.NFC": lambda module: module.normalizers.NFC(),
    "normalizers.Sequence": lambda module: module.normalizers.Sequence([module.normalizers.NFC()]),
    "normalizers.Replace": lambda module: module.normalizers.Replace("a", "b"),
    "pre_tokenizers.ByteLevel": lambda module: module.pre_tokenizers.ByteLevel(),
    "pre_tokenizers.Split": lambda module: module.pre_tokenizers.Split("a", "isolated"),
    "processors.ByteLevel": lambda module: module.processors.ByteLevel(),
    "processors.TemplateProcessing": lambda module: module.processors.TemplateProcessing(
        "$A </s>", "$A </s> $B", [("</s>", 2)]
    ),
    "decoders.ByteLevel": lambda module: module.decoders.ByteLevel(),
    "decoders.DecodeStream": lambda module: module.decoders.DecodeStream(),
    "trainers.BpeTrainer": lambda module: module.trainers.BpeTrainer(special_tokens=["<s>"]),
    "implementations.ByteLevelBPETokenizer": lambda module: module.implementations.ByteLevelBPETokenizer(),
}
PLACES = ("", "models", "normalizers", "pre_tokenizers", "processors", "decoders", "trainers", "implementations")
# the library would ask a server
OF_THE_LAYER_ONLY = ("Tokenizer.from_pretrained",)
# memory for this number of items is taken, so larger values are no test
LARGEST_LENGTH = 1000


@functools.cache
def content() -> str:
    """A tokenizer.json."""
    made = fastlm.train_bpe(texts.DOCUMENTS[:2], 300, [END], num_threads=1)
    return json.dumps(tokenizer_json.content_of(made.vocabulary))


def encoding_of(module: Any) -> Any:
    return module.Tokenizer.from_str(content()).encode("some text " + END)


def tokenizers_calls(layer: ModuleType, peer: ModuleType) -> dict[str, CallOf]:
    """All calls of the classes that both modules have."""
    found: dict[str, CallOf] = {}
    for place in PLACES:
        ours, theirs = (getattr(module, place) if place else module for module in (layer, peer))
        for name in sorted(vars(ours)):
            kind = getattr(ours, name)
            if name.startswith("_") or not inspect.isclass(kind) or not hasattr(theirs, name):
                continue
            full = f"{place}.{name}" if place else name
            if _is_made(kind):
                found |= dict(_constructor(full, kind))
            if full in OBJECTS:
                found |= dict(_members(full, kind, getattr(theirs, name)))
    return found


def _is_made(kind: Any) -> bool:
    """Whether the layer makes objects of a class: others raise NotImplementedError."""
    try:
        return "NoReturn" not in str(inspect.signature(kind))
    except ValueError:
        return False


def _reached(module: Any, full: str) -> Any:
    return functools.reduce(getattr, full.split("."), module)


def _given(module: Any, parameters: list[inspect.Parameter], but: str) -> dict[str, Any]:
    """Right values of the required parameters but one."""
    return {
        parameter.name: GOOD[parameter.name](module)
        for parameter in parameters
        if parameter.default is parameter.empty and parameter.name != but
    }


def _parameters(function: Any, full: str) -> tuple[list[inspect.Parameter], list[str]]:
    """The parameters of a function, without self and without *args and **options, and the names of all options."""
    kinds = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    parameters = [one for one in inspect.signature(function).parameters.values() if one.kind not in kinds]
    return parameters, [*(one.name for one in parameters), *OPTIONS.get(full, ())]


def _constructor(full: str, kind: Any) -> Iterator[tuple[str, CallOf]]:
    parameters, names = _parameters(kind, full)
    for name in names:

        def call(module: Any, value: Any, name: str = name) -> object:
            return _reached(module, full)(**_given(module, parameters, name), **{name: value})

        yield f"{full}({name})", call


def _members(full: str, kind: Any, theirs: Any) -> Iterator[tuple[str, CallOf]]:
    for member in sorted(dir(kind)):
        if member.startswith("_") or not hasattr(theirs, member):
            continue
        attribute = inspect.getattr_static(kind, member)
        if hasattr(type(attribute), "__set__") and getattr(attribute, "fset", True):
            yield (
                f"{full}.{member} = value",
                lambda module, value, member=member: setattr(OBJECTS[full](module), member, value),
            )
        elif callable(getattr(kind, member)):
            yield from _method(full, kind, member)


def _method(full: str, kind: Any, member: str) -> Iterator[tuple[str, CallOf]]:
    whole, is_bound = f"{full}.{member}", inspect.isfunction(inspect.getattr_static(kind, member))
    parameters, names = _parameters(getattr(kind, member), whole)
    parameters = parameters[is_bound:]
    for name in names[is_bound:]:

        def call(module: Any, value: Any, name: str = name) -> object:
            function = getattr(OBJECTS[full](module) if is_bound else _reached(module, full), member)
            if whole == "Encoding.pad" and name == "length":
                value = short(value)
            given = _given(module, parameters, name) | {name: value}
            return _awaited(function, given) if member.startswith("async_") else function(**given)

        yield f"{whole}({name})", call


def _awaited(function: Callable[..., Any], given: dict[str, Any]) -> object:
    async def awaited() -> object:
        return await function(**given)

    return asyncio.run(awaited())


def short(value: Any) -> Any:
    """A length that may be allocated: a large one becomes negative."""
    return -value if type(value) is int and value > LARGEST_LENGTH else value


def transformers_calls() -> dict[str, CallOf]:
    """Calls of a tokenizer of transformers."""

    def texts_of(**given: Any) -> CallOf:
        (name,) = (name for name, value in given.items() if value is None)
        return lambda tokenizer, value: tokenizer(**given | {name: short(value)})

    text: dict[str, Any] = {"text": "some text"}
    messages = [{"role": "user", "content": "some text"}]
    return {
        "text": lambda tokenizer, value: tokenizer(value),
        "[text]": lambda tokenizer, value: tokenizer([value, "a"]),
        "text_pair": texts_of(**text, text_pair=None),
        "add_special_tokens": texts_of(**text, add_special_tokens=None),
        "padding": texts_of(**text, max_length=9, padding=None),
        "truncation": texts_of(**text, max_length=9, truncation=None),
        "max_length": texts_of(**text, truncation=True, max_length=None),
        "max_length, padding": texts_of(**text, padding="max_length", max_length=None),
        "stride": texts_of(**text, truncation=True, max_length=9, stride=None),
        "is_split_into_words": texts_of(**text, is_split_into_words=None),
        "words": lambda tokenizer, value: tokenizer(value, is_split_into_words=True),
        "pad_to_multiple_of": texts_of(**text, padding=True, pad_to_multiple_of=None),
        "padding_side": texts_of(**text, padding="max_length", max_length=9, padding_side=None),
        "return_tensors": texts_of(**text, return_tensors=None),
        "return_offsets_mapping": texts_of(**text, return_offsets_mapping=None),
        "encode": lambda tokenizer, value: tokenizer.encode(value),
        "tokenize": lambda tokenizer, value: tokenizer.tokenize(value),
        "decode": lambda tokenizer, value: tokenizer.decode(value),
        "decode([id])": lambda tokenizer, value: tokenizer.decode([1, value]),
        "decode(skip_special_tokens)": lambda tokenizer, value: tokenizer.decode([1], skip_special_tokens=value),
        "batch_decode": lambda tokenizer, value: tokenizer.batch_decode(value),
        "batch_decode([ids])": lambda tokenizer, value: tokenizer.batch_decode([value]),
        "convert_tokens_to_ids": lambda tokenizer, value: tokenizer.convert_tokens_to_ids(value),
        "convert_tokens_to_ids([token])": lambda tokenizer, value: tokenizer.convert_tokens_to_ids([value]),
        "convert_ids_to_tokens": lambda tokenizer, value: tokenizer.convert_ids_to_tokens(value),
        "convert_ids_to_tokens([id])": lambda tokenizer, value: tokenizer.convert_ids_to_tokens([value]),
        "convert_tokens_to_string": lambda tokenizer, value: tokenizer.convert_tokens_to_string(value),
        "add_tokens": lambda tokenizer, value: tokenizer.add_tokens(value),
        "add_tokens([token])": lambda tokenizer, value: tokenizer.add_tokens([value]),
        "add_special_tokens({})": lambda tokenizer, value: tokenizer.add_special_tokens(value),
        "add_special_tokens({pad_token})": lambda tokenizer, value: tokenizer.add_special_tokens({"pad_token": value}),
        "apply_chat_template": lambda tokenizer, value: tokenizer.apply_chat_template(value),
        "apply_chat_template([message])": lambda tokenizer, value: tokenizer.apply_chat_template([value]),
        "apply_chat_template(content)": lambda tokenizer, value: tokenizer.apply_chat_template(
            [{"role": "user", "content": value}]
        ),
        "chat_template": lambda tokenizer, value: tokenizer.apply_chat_template(messages, chat_template=value),
        "add_generation_prompt": lambda tokenizer, value: tokenizer.apply_chat_template(
            messages, add_generation_prompt=value
        ),
        "pad": lambda tokenizer, value: tokenizer.pad(value),
        "pad([ids])": lambda tokenizer, value: tokenizer.pad({"input_ids": [value, [1]]}),
        "num_special_tokens_to_add": lambda tokenizer, value: tokenizer.num_special_tokens_to_add(value),
        "save_pretrained": lambda tokenizer, value: tokenizer.save_pretrained(value),
        "train_new_from_iterator": lambda tokenizer, value: tokenizer.train_new_from_iterator(value, 300),
        "train_new_from_iterator(vocab_size)": lambda tokenizer, value: tokenizer.train_new_from_iterator(
            ["some text"], short(value)
        ),
    }
