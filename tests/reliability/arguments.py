"""Row 5: bad values for each argument of the public calls."""

from __future__ import annotations

import array
import contextlib
import copy
import decimal
import fractions
import functools
import io
import os
import sys
import tempfile
import warnings
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tiktoken

import fastlm
from tests import texts
from tests.reliability import layer_calls
from tests.reliability.children import outcome_of
from tests.reliability.row import Row, Trial

# what the documentation names; a subclass counts
DOCUMENTED = (TypeError, ValueError, KeyError, OSError)
# what the layers document in addition
OF_LAYERS = (OverflowError, NotImplementedError)
END = "<|endoftext|>"


class Lying(list[int]):
    def __len__(self) -> int:
        return 1 << 40


class LyingText(str):
    __slots__ = ()

    def __len__(self) -> int:
        return -1


class Raising:
    def __index__(self) -> int:
        raise ValueError("of the caller")

    def __iter__(self) -> Any:
        raise ValueError("of the caller")


VALUES: list[Any] = [
    None, True, False, 0, 1, -1, 7, 1 << 31, 1 << 32, 1 << 63, 1 << 64, -(1 << 63), 10**40, 0.5, -0.0, 1e308,
    float("nan"), float("inf"), 1j, decimal.Decimal("1.5"), fractions.Fraction(1, 3),
    "", "a", "half", "\ud800", "a\0b", "é" * 100, END, "<|", LyingText("abc"),
    b"", b"\xff\xfe", b"abc", bytearray(b"abc"), memoryview(b"abc"), memoryview(b"abcdef")[::2],
    [], [None], [-1], [1 << 70], ["a", 1], [[1, 2], [3]], [b"a", "a"], [True], [1.0], Lying([1, 2]), (), (1, 2, 3),
    {}, {"a": 1}, {1: "a"}, set(), frozenset([1]), range(0), range(3), deque([1]), array.array("i", [1, -1]),
    np.zeros(0), np.zeros((2, 2), np.int64), np.array([-1]), np.array([1 << 62]), np.array(["a"]), np.float64(3),
    np.int8(-1), np.array(3), np.array([1.5]), np.zeros(4, np.int64)[::2], np.datetime64("2020-01-01"),
    object(), Raising(), int, len, ..., NotImplemented, Path("missing/file"), sys, io.StringIO("a"), io.BytesIO(b"a"),
    iter([1]), (number for number in [1, "a"]), lambda: 1,
]  # fmt: skip


def calls(folder: Path) -> dict[str, Callable[[Any], object]]:
    """Public calls, each with one argument left open."""
    tokenizer = fastlm.train_bpe(texts.DOCUMENTS[:2], 300, [END], num_threads=1)
    tokenizer.save(folder / "saved")
    base = {k: bytes([k]) for k in range(256)}

    def encode(**options: Any) -> object:
        return tokenizer.encode("some text", **options)

    def train(**options: Any) -> object:
        return fastlm.train_bpe(["some text " * 5], **({"vocab_size": 260, "special_tokens": []} | options))

    return {
        "encode(text)": tokenizer.encode,
        "encode(on_special)": lambda value: encode(on_special=value),
        "encode(num_threads)": lambda value: encode(num_threads=min(value, 4) if type(value) is int else value),
        "encode(add_special_tokens)": lambda value: encode(add_special_tokens=value),
        "encode_ordinary": tokenizer.encode_ordinary,
        "encode_to_numpy(text)": tokenizer.encode_to_numpy,
        "encode_to_numpy(dtype)": lambda value: tokenizer.encode_to_numpy("text", dtype=value),
        "encode_to_numpy(out)": lambda value: tokenizer.encode_to_numpy("text", out=value),
        "encode_batch": tokenizer.encode_batch,
        "encode_batch([text])": lambda value: tokenizer.encode_batch(["a", value]),
        "encode_batch_flat": tokenizer.encode_batch_flat,
        "encode_batch_padded": lambda value: tokenizer.encode_batch_padded(value, pad_id=0),
        "encode_batch_padded(pad_id)": lambda value: tokenizer.encode_batch_padded(["a"], pad_id=value),
        "encode_batch_padded(length)": lambda value: tokenizer.encode_batch_padded(
            ["a"], pad_id=0, length=value if type(value) is not int or abs(value) < 99 else -value
        ),
        "encode_parts": tokenizer.encode_parts,
        "encode_parts([part])": lambda value: tokenizer.encode_parts([value]),
        "encode_between(text)": lambda value: tokenizer.encode_between(value, []),
        "encode_between(boundaries)": lambda value: tokenizer.encode_between("text", value),
        "encode_upto(text)": lambda value: tokenizer.encode_upto(value, 3),
        "encode_upto(limit)": lambda value: tokenizer.encode_upto("text", value),
        "encode_with_offsets(text)": tokenizer.encode_with_offsets,
        "encode_with_offsets(unit)": lambda value: tokenizer.encode_with_offsets("text", unit=value),
        "encode_iterable": lambda value: list(tokenizer.encode_iterable(value)),
        "count": tokenizer.count,
        "decode": tokenizer.decode,
        "decode([id])": lambda value: tokenizer.decode([1, value]),
        "decode(errors)": lambda value: tokenizer.decode([300 - 1], errors=value),
        "decode_bytes": tokenizer.decode_bytes,
        "decode_batch": tokenizer.decode_batch,
        "decode_batch([ids])": lambda value: tokenizer.decode_batch([value]),
        "decode_stream.step": lambda value: tokenizer.decode_stream().step(value),
        "token_to_id": tokenizer.token_to_id,
        "id_to_token": tokenizer.id_to_token,
        "in": lambda value: value in tokenizer,
        "truncated": tokenizer.truncated,
        "save(directory)": tokenizer.save,
        "save(formats)": lambda value: tokenizer.save(folder / "out", value),
        "Tokenizer(vocab)": lambda value: fastlm.Tokenizer(value, []),
        "Tokenizer(merges)": lambda value: fastlm.Tokenizer(base, value),
        "Tokenizer(special_tokens)": lambda value: fastlm.Tokenizer(base, [], value),
        "Tokenizer(pattern)": lambda value: fastlm.Tokenizer(base, [], pattern=value),
        "from_vocabulary": fastlm.Tokenizer.from_vocabulary,
        "from_files": lambda value: fastlm.Tokenizer.from_files(value, value),
        "load(path)": fastlm.load,
        "load(pattern)": lambda value: fastlm.load(folder / "saved", pattern=value),
        "load(special_tokens)": lambda value: fastlm.load(folder / "saved", special_tokens=value),
        "train_bpe(input)": lambda value: fastlm.train_bpe(value, 260),
        "train_bpe(vocab_size)": lambda value: train(vocab_size=value),
        "train_bpe(special_tokens)": lambda value: train(special_tokens=value),
        "train_bpe(pattern)": lambda value: train(pattern=value),
        "train_bpe(tie_break)": lambda value: train(tie_break=value),
        "train_bpe(min_frequency)": lambda value: train(min_frequency=value),
        "train_bpe(max_token_length)": lambda value: train(max_token_length=value),
        "train_bpe(base)": lambda value: train(base=value),
        "train_bpe(max_memory)": lambda value: train(max_memory=value),
        "train_bpe(checkpoint)": lambda value: train(checkpoint=value),
        "train_bpe(num_threads)": lambda value: train(num_threads=min(value, 4) if type(value) is int else value),
        "train_bpe(engine)": lambda value: train(engine=value),
        "encode_corpus(tokenizer)": lambda value: fastlm.encode_corpus(value, ["a"], folder / "shards"),
        "encode_corpus(source)": lambda value: fastlm.encode_corpus(tokenizer, value, folder / "shards-of-source"),
        "encode_corpus(format)": lambda value: fastlm.encode_corpus(tokenizer, ["a"], folder / "shards", format=value),
        "encode_corpus(shard_tokens)": lambda value: fastlm.encode_corpus(
            tokenizer, ["a"], folder / "shards", shard_tokens=value
        ),
        "encode_corpus(end_of_text)": lambda value: fastlm.encode_corpus(
            tokenizer, ["a"], folder / "shards", end_of_text=value
        ),
        "Corpus": fastlm.Corpus,
    }


def tiktoken_calls(module: Any) -> dict[str, Callable[[Any], object]]:
    """The calls of tiktoken, or of the compatibility layer."""
    encoding = module.Encoding(
        "name", pat_str=r"\w+|\W+", mergeable_ranks={bytes([k]): k for k in range(256)}, special_tokens={END: 256}
    )
    return {
        "encode": encoding.encode,
        "encode(allowed_special)": lambda value: encoding.encode("text", allowed_special=value),
        "encode_ordinary": encoding.encode_ordinary,
        "encode_batch": encoding.encode_batch,
        "encode_single_token": encoding.encode_single_token,
        "decode": encoding.decode,
        "decode_single_token_bytes": encoding.decode_single_token_bytes,
        "decode_with_offsets": encoding.decode_with_offsets,
        "get_encoding": module.get_encoding,
        "encoding_for_model": module.encoding_for_model,
        "encoding_name_for_model": module.encoding_name_for_model,
    }


def _raised(call: Callable[[Any], object], value: Any) -> BaseException | None:
    try:
        call(value)
    except BaseException as error:  # noqa: BLE001 - the kind is what is tested
        return error
    return None


def bad_arguments(trial: Trial) -> None:
    """Every value for every call once. In less than 5 s, some values for the layer of tokenizers, and no transformers.

    A compatibility layer may also raise what its library raises.
    """
    from fastlm.compat import tiktoken as layer

    with (
        tempfile.TemporaryDirectory() as place,
        contextlib.chdir(place),
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),  # of trainings
    ):
        warnings.simplefilter("ignore")
        public, peer = calls(Path(place)), tiktoken_calls(tiktoken)
        for name, call in public.items():
            for value in VALUES:
                trial.count(not (fault := _fault(_raised(call, value))), f"{name} of {_shown(value)}: {fault}")
                os.chdir(place)
        number = len(public) + len(peer)
        for name, call in tiktoken_calls(layer).items():
            _compare(trial, f"tiktoken: {name}", call, peer[name], VALUES)
        number += _of_tokenizers(trial, VALUES if trial.seconds >= 5 else VALUES[::16])
        if trial.seconds >= 5:
            number += _of_transformers(trial)
        trial.worst = f"{number} arguments of public calls, {len(VALUES)} values"


def _of_tokenizers(trial: Trial, values: list[Any]) -> int:
    """Tries the layer of tokenizers. Returns the number of calls."""
    try:
        import tokenizers
    except ImportError:
        return 0
    from fastlm.compat import tokenizers as layer

    found = layer_calls.tokenizers_calls(layer, tokenizers)
    for name, call in found.items():
        theirs = None if name.startswith(layer_calls.OF_THE_LAYER_ONLY) else functools.partial(call, tokenizers)
        _compare(trial, f"tokenizers: {name}", functools.partial(call, layer), theirs, values, OF_LAYERS)
    return len(found)


def _of_transformers(trial: Trial) -> int:
    """Tries the layer of transformers. Returns the number of calls."""
    try:
        import tokenizers
        import transformers

        from fastlm.compat.transformers import FastLMTokenizer
    except ImportError:
        return 0
    transformers.logging.set_verbosity_error()
    given = tokenizers.Tokenizer.from_str(layer_calls.content())
    options = {"pad_token": layer_calls.END, "chat_template": "{% for m in messages %}{{ m['content'] }}{% endfor %}"}
    made = {kind: kind(tokenizer_object=given, **options) for kind in (FastLMTokenizer, transformers.TokenizersBackend)}
    found = layer_calls.transformers_calls()
    for name, call in found.items():
        ours, theirs = (lambda value, call=call, one=one: call(copy.deepcopy(one), value) for one in made.values())
        _compare(trial, f"transformers: {name}", ours, theirs, VALUES, OF_LAYERS)
    return len(found)


def _compare(
    trial: Trial,
    name: str,
    call: Callable[[Any], object],
    theirs: Callable[[Any], object] | None,
    values: list[Any],
    more: tuple[type[Exception], ...] = (),
) -> None:
    """Tries a call of a layer with each value. An exception that the library raises too is right."""
    place = os.getcwd()
    for value in values:
        raised = _raised(call, value)
        fault = "" if isinstance(raised, more) else _fault(raised)
        if fault and theirs and isinstance(raised, Exception):
            # a library may end the process
            expected = outcome_of(lambda value=value: _kind_raised(theirs, value))
            fault = "" if expected == type(raised).__name__ else f"{fault}; the library: {expected}"
        trial.count(not fault, f"{name} of {_shown(value)}: {fault}")
        os.chdir(place)


def _kind_raised(call: Callable[[Any], object], value: Any) -> str:
    """The type of what a call of a library raises. Its panics print the stack, which nobody wants to read."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    os.dup2(nothing, 2)
    return type(_raised(call, value)).__name__


def _fault(raised: BaseException | None) -> str:
    if raised is None:
        return ""
    if isinstance(raised, DOCUMENTED):
        return "" if str(raised) else f"{type(raised).__name__} without a message"
    return f"{type(raised).__name__}: {raised!s:.200}"


def _shown(value: Any) -> str:
    try:
        return f"{type(value).__name__} {ascii(value)[:40]}"
    except Exception:  # noqa: BLE001 - some values raise on purpose
        return type(value).__name__


ROWS = [Row(5, "bad arguments of public calls", "TypeError, ValueError, KeyError or OSError", bad_arguments)]
