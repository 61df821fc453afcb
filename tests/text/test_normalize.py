"""Normalization forms and lowercase: tokenizers judges text and alignment, and a reference of a few lines."""

import functools
import subprocess
import sys
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastlm.text import _normalize
from fastlm.text._normalize import FORMS, is_normalized, normalized, normalized_with_origins
from tests.reference import normalization as reference

ROOT = Path(__file__).resolve().parents[2]

MARKS = [chr(cp) for cp in (*range(0x300, 0x370), 0x3099, 0x309A, 0x5B0, 0x591, 0xF71, 0xF72, 0xF73, 0x93C, 0x1D165)]
# composed, composing, compatible, Hangul whole and in parts, excluded from composition, newer than the tables
OTHERS = [
    *"aeoAIİſẛéñçÅ가각한ﷺﬁ½①㍿ệΩK \u00a0日本",
    *("\U0001109a", "\U00011099", "\u0958", "\u09c7", "\u09be", "\u0b47", "\u0b56", "\u1100", "\u1161", "\u11a8"),
    *("\u0cc6", "\u0cc2", "\u0cd5", "\U0001d15e", "\U0002f800", "\uf900", "\u08d3", "\u1df6", "\U00011938"),
]
TEXTS = st.text(
    st.one_of(st.sampled_from(MARKS), st.sampled_from(OTHERS), st.characters(exclude_categories=["Cs"])), max_size=40
)


# characters that no version of Unicode since 9 has changed
UNCHANGED = {char for char in [*MARKS, *OTHERS] if unicodedata.ucd_3_2_0.category(char) != "Cn"}
NAMES = {"lowercase": "Lowercase", "strip-marks": "StripAccents"}


def decoded(result: str | bytes) -> str:
    return result if isinstance(result, str) else result.decode()


@functools.cache
def judge(form: str) -> Any:
    """tokenizers' tokenizer with this normalizer and one token a byte."""
    tokenizers = pytest.importorskip("tokenizers")
    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE({char: k for k, char in enumerate(alphabet)}, []))
    tokenizer.normalizer = getattr(tokenizers.normalizers, NAMES.get(form, form))()
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    return tokenizer


def judged(form: str, text: str) -> tuple[str, list[int]]:
    """tokenizers' text, and the origin of each of its characters."""
    found = judge(form).normalizer.normalize_str(text)
    starts = [start for start, _ in judge(form).encode(text).offsets]
    sizes = [len(char.encode()) for char in found]
    return found, [starts[sum(sizes[:k])] for k in range(len(sizes))]


@pytest.mark.parametrize("form", FORMS)
@given(text=TEXTS)
def test_text_and_origins_are_those_of_tokenizers(form, text):
    expected, origins = judged(form, text)
    assert decoded(normalized(text, form)) == decoded(normalized(text.encode(), form)) == expected
    assert is_normalized(text, form) == is_normalized(text.encode(), form) == (expected == text)
    found, places = normalized_with_origins(text, form)
    assert (found.decode(), places.tolist()) == (expected, origins)


@pytest.mark.parametrize("form", ["NFC", "NFD", "NFKC", "NFKD"])
@given(
    text=st.text(st.sampled_from([char for char in [*MARKS, *OTHERS] if unicodedata.ucd_3_2_0.category(char) != "Cn"]))
)
def test_the_reference_agrees(form, text):
    decomposed = "NFKD" if "K" in form else "NFD"
    expected = reference.normalized_with_origins(
        text,
        lambda char: unicodedata.normalize(decomposed, char),
        unicodedata.combining,
        None if form.endswith("D") else lambda pair: unicodedata.normalize("NFC", pair),
    )
    found, origins = normalized_with_origins(text, form)
    assert (found.decode(), origins.tolist()) == expected
    assert expected[0] == unicodedata.normalize(form, text)


@pytest.mark.parametrize("all_gaps", [False, pytest.param(True, marks=pytest.mark.nightly)])
@pytest.mark.parametrize("form", FORMS)
def test_every_character_alone_and_after_a_letter(form, all_gaps):
    """All scalars in texts of 1,000, so that segments, inert runs and their borders come in all orders.

    The longest gap takes most of the time. It is between scalars of which some change, or between all.
    """
    tokenizers = pytest.importorskip("tokenizers")
    normalize = getattr(tokenizers.normalizers, NAMES.get(form, form))().normalize_str
    scalars = [*range(0xD800), *range(0xE000, 0x110000)]
    for start in range(0, len(scalars), 1000):
        alone = "".join(map(chr, scalars[start : start + 1000]))
        gaps = ["", "a", "\u0345", *([" x" * 40] if all_gaps or normalize(alone) != alone else [])]
        for joined in gaps:
            text = joined.join(alone)
            assert decoded(normalized(text, form)) == normalize(text)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("segment_chars", [18, 19, 64])
def test_long_runs_of_marks_and_small_buffers(form, segment_chars, monkeypatch):
    monkeypatch.setattr(_normalize, "SEGMENT_CHARS", segment_chars)
    text = "x" * 100 + "a" + "\u0301\u0323\u0334" * 700 + "ﷺ" * 300 + "e\u0301" * 300 + "가" * 300
    expected, origins = judged(form, text)
    found, places = normalized_with_origins(text, form)
    assert decoded(normalized(text, form)) == found.decode() == expected
    assert places.tolist() == origins


@pytest.mark.parametrize("text", ["", "plain", "é", "日本語", "x" * 1000, b"bytes"])
def test_a_text_in_the_form_is_returned_itself(text):
    assert normalized(text, "NFC") is text


@given(st.binary(max_size=60))
def test_bytes_that_are_not_utf8_do_no_harm(content):
    for form in FORMS:
        normalized(content, form)
        normalized_with_origins(content, form)


def test_bad_arguments():
    with pytest.raises(ValueError, match="form must be one of NFC, NFD, NFKC, NFKD, lowercase, strip-marks, got 'nfc'"):
        normalized("a", "nfc")
    with pytest.raises(TypeError):
        normalized(1, "NFC")
    with pytest.raises(ValueError, match="got None"):
        normalized("a", None)


@pytest.mark.nightly
def test_the_tables_are_what_tokenizers_says():
    pytest.importorskip("tokenizers")
    command = [sys.executable, str(ROOT / "tools" / "generate_normalization_tables.py"), "--check"]
    subprocess.run(command, check=True)
