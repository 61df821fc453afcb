"""Normalizers beside those of tokenizers: text, origins, and their form in tokenizer.json."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastlm.normalizers import (
    ByteLevel,
    Nmt,
    Prepend,
    Replace,
    Strip,
    UnicodeForm,
    normalize,
    normalize_with_origins,
    normalizers_from_content,
    normalizers_to_content,
)
from tests.text.test_normalize import MARKS, OTHERS

tokenizers = pytest.importorskip("tokenizers")

FORMS = ["NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents"]
SPECIAL = list("\t\n\v\f\r \x00\x01\x08\x0e\x1f\x7f\x85\x8f\x9f\xa0\u1680\u200b\u200f\u2028\u2581\ufeff\ufffd\u3000ab")
TEXTS = st.text(st.sampled_from([*MARKS[:30], *OTHERS, *SPECIAL]), max_size=30)
SHORT = st.text(st.sampled_from(["a", "b", "é", "▁", "日", " "]), min_size=1, max_size=3)
STEPS = st.one_of(
    st.sampled_from([UnicodeForm(form) for form in FORMS]),
    st.builds(Strip, st.booleans(), st.booleans()),
    st.builds(Prepend, SHORT),
    st.builds(Replace, SHORT, st.one_of(st.just(""), SHORT)),
    st.just(Nmt()),
    st.just(ByteLevel()),
)


def judge(steps):
    """tokenizers' tokenizer with these normalizers, read from JSON, and one token a byte."""
    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE({char: k for k, char in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    content = json.loads(tokenizer.to_str())
    content["normalizer"] = normalizers_to_content(steps)
    return tokenizers.Tokenizer.from_str(json.dumps(content))


@given(steps=st.lists(STEPS, max_size=3), text=TEXTS)
def test_text_and_origins_are_those_of_tokenizers(steps, text):
    tokenizer = judge(steps)
    expected = tokenizer.normalizer.normalize_str(text) if steps else text
    assert normalize(steps, text.encode()).decode() == expected
    found, origins = normalize_with_origins(steps, text.encode())
    assert found.decode() == expected
    starts = [
        origin for char, origin in zip(expected, origins.tolist(), strict=True) for _ in range(len(char.encode()))
    ]
    assert starts == [start for start, _ in tokenizer.encode(text).offsets]


@given(steps=st.lists(STEPS, max_size=3))
def test_what_is_written_is_read_again(steps):
    assert normalizers_from_content(normalizers_to_content(steps)) == tuple(steps)


@pytest.mark.parametrize("step", [Nmt(), UnicodeForm("StripAccents"), ByteLevel(), Strip()])
def test_every_character(step):
    normalizer = judge([step]).normalizer
    for start in range(0, 0x110000, 997):
        text = "a".join(chr(cp) for cp in range(start, min(start + 997, 0x110000)) if not 0xD800 <= cp < 0xE000)
        assert step.apply(text.encode()).decode() == normalizer.normalize_str(text)


def test_a_text_that_no_form_changes_is_returned_itself():
    text = b"plain text"
    assert normalize([UnicodeForm("NFC"), UnicodeForm("NFKC")], text) is text


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (1, ValueError, "must be a JSON object, got 1"),
        ({}, ValueError, "entry 'type' of a normalizer must be a str, got None"),
        ({"type": "Strip", "strip_left": True}, ValueError, "entry 'strip_right' .* must be a bool, got None"),
        ({"type": "Sequence", "normalizers": {}}, ValueError, "entry 'normalizers' .* must be a list"),
        ({"type": "Replace", "content": "", "pattern": {}}, ValueError, "must have one entry, String or Regex"),
        ({"type": "Precompiled"}, NotImplementedError, "the normalizer 'Precompiled' is not supported"),
        ({"type": "Sequence", "normalizers": [{"type": "X"}]}, NotImplementedError, "the normalizer 'X'"),
    ],
)
def test_what_is_refused(content, error, message):
    with pytest.raises(error, match=message):
        normalizers_from_content(content)


def test_an_unknown_form_is_refused():
    with pytest.raises(ValueError, match=r"form must be one of NFC, .*, got 'NFX'"):
        UnicodeForm("NFX")
