"""Uses of the public interface with their types, which `python -m mypy` checks: lines with an ignored error are errors.

A comment `type: ignore` on a line without an error is an error too, so that a misspelled name must be found.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, assert_type, get_args, get_overloads

import numpy as np
import pytest

import fastlm
from fastlm._types import UInt16Array, UInt32Array
from fastlm.bpe_training.trainer import TieBreak
from fastlm.formats import WRITERS, FormatName
from fastlm.pretokenize.patterns import ALIASES, PATTERNS, PatternName

TOKENIZER = fastlm.Tokenizer({i: bytes([i]) for i in range(256)}, [], ["<|endoftext|>"])


def test_the_literals_are_the_names_that_exist() -> None:
    from fastlm._merge import TIE_BREAKS

    assert get_args(PatternName) == (*PATTERNS, *ALIASES)
    assert get_args(FormatName) == tuple(WRITERS)
    assert set(get_args(TieBreak)) == set(TIE_BREAKS)


def test_the_dtype_decides_the_type_of_the_ids() -> None:
    text = "text"
    assert_type(TOKENIZER.encode_to_numpy(text), UInt32Array)
    assert_type(TOKENIZER.encode_to_numpy(text, dtype=np.uint16), UInt16Array)
    signed = TOKENIZER.encode_to_numpy(text, dtype=np.dtype(np.int64), num_threads=2)
    assert_type(signed, np.ndarray[Any, np.dtype[np.int64]])
    out = np.empty(8, np.uint16)
    assert_type(TOKENIZER.encode_to_numpy(text, out=out), UInt16Array)
    found = TOKENIZER.encode_between(b"text", np.empty((0, 3), np.int64), np.empty(8, np.uint32))
    assert_type(found[0], np.ndarray[tuple[int], np.dtype[np.uint32]])
    assert (signed.dtype.name, found[0].dtype.name) == ("int64", "uint32")
    assert len(get_overloads(fastlm.Tokenizer.encode_to_numpy)) == 3


def test_look_ups() -> None:
    assert_type(TOKENIZER.vocab, Mapping[int, bytes])
    assert_type(TOKENIZER.token_to_id("t"), int | None)
    assert_type(TOKENIZER.id_to_token(5), bytes | None)
    assert_type(TOKENIZER.eot_token, int)
    assert_type(len(TOKENIZER), int)
    with pytest.raises(TypeError):
        TOKENIZER.vocab[0] = b""  # type: ignore[index]


def test_misspelled_names(tmp_path: Path) -> None:
    vocab, merges = dict(TOKENIZER.vocab), TOKENIZER.merges
    with pytest.raises(ValueError, match=r"no pattern is named 'gtp2' \(did you mean 'gpt2'\?\)"):
        fastlm.Tokenizer(vocab, merges, pattern="gtp2")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"no pattern is named 'cl100k-base' \(did you mean 'cl100k_base'\?\)"):
        fastlm.train_bpe(["text"], 260, pattern="cl100k-base")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="tie_break must be one of"):
        fastlm.train_bpe(["text"], 260, tie_break="HF")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="engine must be"):
        fastlm.train_bpe(["text"], 260, engine="Ray")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"no format is named 'tokenizer_json' \(did you mean 'tokenizer\.json'"):
        TOKENIZER.save(tmp_path, ["tokenizer_json"])  # type: ignore[list-item]
    with pytest.raises(TypeError, match="formats must be a list of names of formats, got str"):
        TOKENIZER.save(tmp_path, "gpt2")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="on_special"):
        TOKENIZER.encode("text", on_special="ignore")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="unit"):
        TOKENIZER.encode_with_offsets("text", unit="bytes")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="format"):
        fastlm.encode_corpus(TOKENIZER, ["text"], tmp_path / "out", format="numpy")  # type: ignore[arg-type]


def test_an_expression_is_a_pattern() -> None:
    vocab, merges = dict(TOKENIZER.vocab), TOKENIZER.merges
    expression = fastlm.Expression(r"\S+|\s+")
    tokenizer = fastlm.Tokenizer(vocab, merges, pattern=expression)
    with pytest.warns(UserWarning, match="regex"):
        assert tokenizer.encode("a b") == [97, 32, 98]
    again = fastlm.Tokenizer(vocab, merges, pattern=tokenizer.pattern)
    assert again.pattern == expression
    assert fastlm.Tokenizer(vocab, merges, pattern=(r"\S+|\s+",)).pattern == expression
