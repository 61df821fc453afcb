"""Tokens as people read them."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastlm.text.shown import shown


@pytest.mark.parametrize(
    ("token", "expected"),
    [
        (b" the", "·the"),
        (b"\r\n\t", "␍⏎⇥"),
        (b"\x1b[31m\x00\x7f", "\\u{1b}[31m\\u{0}\\u{7f}"),
        ("\u200b\u202e\u3000\xa0".encode(), "\\u{200b}\\u{202e}\\u{3000}\\u{a0}"),
        (b"\xf0\x9f ok", "\\xf0\\x9f·ok"),
        ("\u0301a".encode(), "◌\u0301a"),
        ("é😀".encode(), "é😀"),
        (b"", ""),
    ],
)
def test_tokens_are_shown(token, expected):
    assert shown(token) == expected


@given(st.binary(max_size=20) | st.text(max_size=10).map(lambda text: text.encode("utf-8", "replace")))
def test_nothing_invisible_is_left(token):
    assert [char for char in shown(token) if unicodedata.category(char)[0] in "CZ"] == []
