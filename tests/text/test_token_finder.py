"""Finding special tokens: leftmost, longest."""

import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st

from fastlm.text._token_finder import TokenFinder

letters = st.text("ab<|", min_size=1, max_size=5)


@given(st.lists(letters, min_size=1, max_size=12, unique=True), st.text("ab<|x", max_size=200))
def test_finds_what_an_alternation_longest_first_finds(tokens, text):
    pattern = regex.compile("|".join(map(regex.escape, sorted(tokens, key=len, reverse=True))))
    expected = [[*match.span(), tokens.index(match.group())] for match in pattern.finditer(text)]
    finder = TokenFinder([token.encode() for token in tokens])
    assert finder.find(text.encode()).tolist() == expected


def test_multibyte_tokens_are_found_at_byte_offsets():
    finder = TokenFinder(["｜终｜".encode(), "｜".encode()])
    assert finder.find("é｜终｜x｜".encode()).tolist() == [[2, 11, 0], [12, 15, 1]]


def test_more_matches_than_one_block_of_them():
    finder = TokenFinder([b"<s>"])
    found = finder.find(b"<s>ab" * 1000)
    assert found[:, 0].tolist() == list(range(0, 5000, 5))


def test_no_tokens_and_no_text():
    assert TokenFinder([]).find(b"abc").shape == (0, 3)
    assert TokenFinder([b"a"]).find(b"").shape == (0, 3)


def test_ten_thousand_tokens():
    tokens = [f"<|reserved_{n}|>".encode() for n in range(10_000)]
    finder = TokenFinder(tokens)
    assert finder.find(b"x".join(tokens))[:, 2].tolist() == list(range(10_000))


def test_bad_tokens():
    with pytest.raises(ValueError, match="must not be empty"):
        TokenFinder([b"a", b""])
    with pytest.raises(ValueError, match="given twice"):
        TokenFinder([b"a", b"a"])


@given(
    st.lists(st.binary(min_size=1, max_size=4), min_size=1, max_size=40, unique=True),
    st.lists(st.integers(0, 255), max_size=40),
    st.integers(0, 80),
)
def test_any_bytes_are_found_at_any_distance_from_the_edge_of_a_block(tokens, noise, shift):
    text = bytes(shift) + tokens[0] + bytes(noise) + b"".join(tokens) + bytes(70) + tokens[-1]
    pattern = regex.compile(b"|".join(map(regex.escape, sorted(tokens, key=len, reverse=True))), regex.DOTALL)
    expected = [[*match.span(), tokens.index(match.group())] for match in pattern.finditer(text)]
    assert TokenFinder(tokens).find(text).tolist() == expected


def test_tokens_whose_length_lies():
    class Bytes(bytes):
        def __len__(self):
            return 1 << 40

        def __getitem__(self, key):
            return 0

        def __bytes__(self):
            return b"x"

    finder = TokenFinder([Bytes(b"ab"), Bytes(b"b")])
    assert finder.longest == 2
    assert finder.find(b"abb").tolist() == [[0, 2, 0], [2, 3, 1]]
    assert finder.tokens == (b"ab", b"b")
    with pytest.raises(TypeError, match="a token must be bytes, got str"):
        TokenFinder(["a"])
    with pytest.raises(TypeError):
        TokenFinder.__new__(TokenFinder)


def test_ids_go_with_the_tokens():
    assert TokenFinder([b"b", b"a"], [7, 1 << 40]).find(b"ab").tolist() == [[0, 1, 1 << 40], [1, 2, 7]]
    with pytest.raises(ValueError, match="zip"):
        TokenFinder([b"a"], [1, 2])
    with pytest.raises(ValueError, match="must not be negative, got -2"):
        TokenFinder([b"a"], [-2])


@given(st.lists(letters, min_size=1, max_size=12, unique=True), st.text("ab<|xé", max_size=200))
def test_the_first_is_the_first_that_is_found(tokens, text):
    finder = TokenFinder([token.encode() for token in tokens])
    rows = finder.find(text.encode()).tolist()
    assert finder.first(text) == (text.encode()[rows[0][0] : rows[0][1]] if rows else None)


def test_the_first_in_a_str_only():
    finder = TokenFinder([b"a"])
    assert finder.first("") is None
    assert TokenFinder([]).first("a") is None
    for text in (b"a", None, 5):
        with pytest.raises(TypeError):
            finder.first(text)
    with pytest.raises(UnicodeEncodeError):
        finder.first("a\ud800")


@pytest.mark.parametrize("padding", [0, 100])
def test_no_byte_behind_the_text_is_read(padding):
    """A part of a larger memory: what follows it would make a longer token, or a token at all."""
    finder = TokenFinder([b"ab", b"abc", b"x"])
    memory = memoryview(b"-" * padding + b"abc")
    assert finder.find(memory[: padding + 2]).tolist() == [[padding, padding + 2, 0]]
    assert finder.find(memory[: padding + 1]).tolist() == []
    memory = memoryview(b"-" * padding + b"xabc")
    assert finder.find(memory[: padding + 1]).tolist() == [[padding, padding + 1, 2]]
