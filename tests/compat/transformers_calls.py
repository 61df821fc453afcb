"""Random calls of a transformers tokenizer, good and bad, and outcomes that can be compared."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tests.texts import random_string

TEMPLATE = (
    "{% for m in messages %}<|user|>{{ m['role'] }}\n{{ m['content'] }}<|endoftext|>{% endfor %}"
    "{% if add_generation_prompt %}<|user|>assistant\n{% endif %}"
)
MASKING_TEMPLATE = (
    "{% for m in messages %}<|user|>{% if m['role'] == 'assistant' %}{% generation %}{{ m['content'] }}"
    "<|endoftext|>{% endgeneration %}{% else %}{{ m['content'] }}{% endif %}{% endfor %}"
)
WORDS = ["the cat", " sat", "<|endoftext|>", "<|user|>", " <|user|> ", "naïve", "😀", "\n\n", "  ", "x" * 40, "e\u0301"]
NO_TEXTS: list[Any] = [None, 3, b"bytes", "\ud800", [None], [3], [b"x"], [["a"], 3], ("a", "b"), {"a": 1}, 2.5, object]


@dataclass(frozen=True)
class Call:
    method: str
    arguments: tuple[Any, ...]
    options: Mapping[str, Any]

    def __call__(self, tokenizer: Any) -> Any:
        return getattr(tokenizer, self.method)(*self.arguments, **self.options)


def text(rng: random.Random) -> str:
    kind = rng.randrange(4)
    if kind == 0:
        return random_string(rng)
    return "".join(rng.choices(WORDS, k=rng.choice([0, 1, 3, 8])))


def _words(rng: random.Random) -> list[str]:
    return [text(rng) for _ in range(rng.choice([0, 1, 2, 4]))]


def _some(rng: random.Random, choices: Mapping[str, list[Any]], chance: float = 0.25) -> dict[str, Any]:
    return {name: rng.choice(values) for name, values in choices.items() if rng.random() < chance}


SHAPES: dict[str, list[Any]] = {
    "padding": [True, False, "longest", "max_length", "do_not_pad", "bogus"],
    "truncation": [True, False, "only_first", "only_second", "longest_first", "do_not_truncate", "bogus"],
    "max_length": [0, 1, 2, 3, 5, 8, 16, 64, None, -1],
    "stride": [0, 1, 2, 5, -1],
    "pad_to_multiple_of": [None, 1, 4, 7, 0],
    "padding_side": ["left", "right", "bogus"],
    "add_special_tokens": [True, False],
    "split_special_tokens": [True, False],
}
RETURNS: dict[str, list[Any]] = {
    "return_tensors": ["np", "np", "pt", "bogus"],
    "return_token_type_ids": [True, False],
    "return_attention_mask": [True, False],
    "return_overflowing_tokens": [True, False],
    "return_special_tokens_mask": [True],
    "return_offsets_mapping": [True],
    "return_length": [True],
}


def encoding_call(rng: random.Random, pairs: bool = True, words: bool = True) -> Call:
    """A call of the tokenizer itself."""
    options = _some(rng, SHAPES) | _some(rng, RETURNS)
    if options.get("truncation") is True and rng.random() < 0.9:
        options.setdefault("max_length", 6)
    if rng.random() < 0.05:
        return Call("__call__", (rng.choice(NO_TEXTS),), options)
    kind = rng.randrange(6)
    if words and kind == 0:
        options["is_split_into_words"] = True
        given: Any = _words(rng) if rng.random() < 0.5 else [_words(rng) for _ in range(rng.choice([0, 1, 3]))]
        other: Any = _words(rng) if rng.random() < 0.5 else [_words(rng) for _ in range(3)]
    elif kind <= 2:
        given, other = text(rng), text(rng)
    else:
        given = [text(rng) for _ in range(rng.choice([0, 1, 2, 5]))]
        other = [text(rng) for _ in given]
    if pairs and rng.random() < 0.25:
        return Call("__call__", (given, other), options)
    return Call("__call__", (given,), options)


def other_call(rng: random.Random, size: int) -> Call:
    """A call of another method; `size` is the number of tokens."""
    ids = [rng.randrange(size) for _ in range(rng.choice([0, 1, 3, 12]))]
    tokens = ["the", "Ġcat", "Ċ", "<|user|>", "no such token", "Ã©", "Ã"]
    kind = rng.randrange(12)
    if kind == 0:
        return Call("decode", (ids,), _some(rng, {"skip_special_tokens": [True, False]}, 0.5))
    if kind == 1:
        return Call("batch_decode", ([ids, ids[:1]],), _some(rng, {"skip_special_tokens": [True, False]}, 0.5))
    if kind == 2:
        given = rng.choice([np.array(ids, np.int64), [ids, ids], *ids[:1], [size + 7], [-1], ["a"], "a", None])
        return Call("decode", (given,), {})
    if kind == 3:
        return Call("convert_ids_to_tokens", (rng.choice([ids, 1, size + 5, -1, "a", np.int64(3), None]),), {})
    if kind == 4:
        return Call("convert_tokens_to_ids", (rng.choice([*tokens, tokens, [], None, 3]),), {})
    if kind == 5:
        return Call("convert_tokens_to_string", (rng.choices(tokens, k=rng.choice([0, 1, 3])),), {})
    if kind == 6:
        return Call("tokenize", (text(rng),), _some(rng, {"add_special_tokens": [True, False]}))
    if kind == 7:
        return Call("encode", (text(rng),), _some(rng, SHAPES))
    if kind == 8:
        batch = {"input_ids": [ids, ids[:2]], **_some(rng, {"attention_mask": [[[1] * len(ids), [1] * len(ids[:2])]]})}
        return Call("pad", (batch,), _some(rng, {k: SHAPES[k] for k in ("padding", "max_length", "padding_side")}))
    if kind == 9:
        return Call("num_special_tokens_to_add", (rng.choice([True, False]),), {})
    if kind == 10:
        return Call("get_special_tokens_mask", (ids,), {"already_has_special_tokens": rng.choice([True, False])})
    messages = [{"role": rng.choice(["user", "assistant"]), "content": text(rng)} for _ in range(rng.choice([0, 1, 3]))]
    options = _some(
        rng,
        {
            "tokenize": [True, False],
            "add_generation_prompt": [True],
            "return_dict": [True, False],
            "return_tensors": ["np"],
            "padding": [True],
            "truncation": [True],
            "max_length": [7],
            "sanitize_control_tokens": [True],
            "return_assistant_tokens_mask": [True],
            "chat_template": [MASKING_TEMPLATE, TEMPLATE, "{{ nonsense"],
            "continue_final_message": [True],
        },
    )
    return Call("apply_chat_template", (rng.choice([messages, [messages, messages]]),), options)


def outcome(action: Callable[[], Any]) -> Any:
    """What an action returns, in a form that can be compared, or the type of what it raises."""
    try:
        value = action()
    except BaseException as error:  # tokenizers raises some that are no Exception
        if isinstance(error, KeyboardInterrupt):
            raise
        return "raises", type(error).__name__
    return plain(value)


def plain(value: Any) -> Any:
    if hasattr(value, "encodings") and hasattr(value, "data"):
        encodings = None if value.encodings is None else [plain_encoding(encoding) for encoding in value.encodings]
        return "batch", plain(dict(value.data)), encodings, value.n_sequences, value.is_fast
    if isinstance(value, np.ndarray):
        return "array", str(value.dtype), value.shape, plain(value.tolist())
    if type(value).__module__ == "torch":
        return "tensor", str(value.dtype), tuple(value.shape), value.tolist()
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value).__name__, [plain(item) for item in value]
    if hasattr(value, "content"):
        return "added", str(value), [getattr(value, name) for name in ("special", "lstrip", "rstrip", "single_word")]
    return type(value).__name__, value


LISTS = ["ids", "type_ids", "tokens", "offsets", "attention_mask", "special_tokens_mask", "word_ids", "sequence_ids"]


def plain_encoding(encoding: Any) -> dict[str, Any]:
    return {name: list(getattr(encoding, name)) for name in LISTS} | {
        "n_sequences": encoding.n_sequences,
        "overflowing": [plain_encoding(part) for part in encoding.overflowing],
        "chars": [encoding.char_to_token(place) for place in range(6)],
        "token_chars": [encoding.token_to_chars(place) for place in range(len(encoding.ids))],
        "word_tokens": [encoding.word_to_tokens(place) for place in range(3)],
    }
