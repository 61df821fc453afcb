"""Splitting texts at added tokens as the real tokenizers does, in linear time."""

import json
import time
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastlm.text._added_rows import with_options
from fastlm.text.added_tokens import AddedTokenSplitter
from fastlm.text.whitespace import WHITESPACE

tokenizers = pytest.importorskip("tokenizers")

BYTES = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())


class Token(NamedTuple):
    content: str
    id: int
    single_word: bool = False
    lstrip: bool = False
    rstrip: bool = False


def real(tokens: list[Token]) -> tokenizers.Tokenizer:
    """Bytes as tokens 0 to 255, and these added tokens with the IDs that they have."""
    vocab = {char: k for k, char in enumerate(BYTES)} | {token.content: token.id for token in tokens}
    added = [token._asdict() | {"normalized": False, "special": True} for token in tokens]
    spec = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": sorted(added, key=lambda token: token["id"]),
        "normalizer": None,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False},
        "post_processor": None,
        "decoder": None,
        "model": {"type": "BPE", "vocab": vocab, "merges": []},
    }
    return tokenizers.Tokenizer.from_str(json.dumps(spec))


def expected_splits(tokens: list[Token], text: str) -> list[tuple[int, int, int | None]] | None:
    """The splits that tokenizers makes, or None where it panics."""
    try:
        encoding = real(tokens).encode(text, add_special_tokens=False)
    except BaseException as error:  # noqa: BLE001 - a panic of the judge is a BaseException
        assert type(error).__name__ == "PanicException"  # noqa: PT017
        return None
    splits: list[tuple[int, int, int | None]] = []
    for token_id, (start, end) in zip(encoding.ids, encoding.offsets, strict=True):
        if token_id >= len(BYTES):
            splits.append((start, end, token_id))
        elif splits and splits[-1][2] is None and splits[-1][1] >= start:
            splits[-1] = splits[-1][0], end, None
        else:
            splits.append((start, end, None))
    return splits


def joined(splits: list[tuple[int, int, int | None]]) -> list[tuple[int, int, int | None]]:
    """Plain spans that follow each other are one: tokenizers' ids do not tell them apart."""
    result: list[tuple[int, int, int | None]] = []
    for start, end, token_id in splits:
        if token_id is None and result and result[-1][2] is None and result[-1][1] >= start:
            result[-1] = result[-1][0], end, None
        else:
            result.append((start, end, token_id))
    return result


# letters, whitespace of one byte and more, and a character that no word consists of
ALPHABET = "ab \n\u3000é!"
CONTENTS = st.one_of(
    st.sampled_from(["<m>", "ab", " ", "\n", "\n\n", "  ", " a", "a ", "\u3000", "é", "!!", "a b"]),
    st.text(ALPHABET, min_size=1, max_size=3),
).filter(lambda content: content not in BYTES)  # such a token would not tell where it was found


@st.composite
def added_tokens(draw):
    contents = draw(st.lists(CONTENTS, min_size=1, max_size=4, unique=True))
    flags = st.booleans()
    # holes in the IDs
    ids = draw(st.lists(st.integers(256, 400), min_size=len(contents), max_size=len(contents), unique=True))
    return [
        Token(content, token_id, draw(flags), draw(flags), draw(flags))
        for content, token_id in zip(contents, ids, strict=True)
    ]


@given(added_tokens(), st.data())
def test_splits_as_tokenizers_does(tokens, data):
    parts = st.one_of(st.sampled_from([token.content for token in tokens]), st.text(ALPHABET, max_size=3))
    text = "".join(data.draw(st.lists(parts, max_size=10)))
    splitter = AddedTokenSplitter({token.content: token for token in tokens})
    found = list(splitter.split(text, frozenset(token.id for token in tokens)))
    assert all(start < end <= len(text) for start, end, _ in found)
    expected = expected_splits(tokens, text)
    if expected is not None:
        assert joined(found) == joined(expected)


@given(added_tokens(), st.text(ALPHABET, max_size=30))
def test_tokens_that_are_not_recognised_are_text(tokens, text):
    splitter = AddedTokenSplitter({token.content: token for token in tokens})
    assert list(splitter.split(text, frozenset())) == ([(0, len(text), None)] if text else [])
    some = frozenset(token.id for token in tokens[:1])
    assert {token_id for _, _, token_id in splitter.split(text, some)} <= {*some, None}


MASK = Token("<m>", 256, rstrip=True)


def splits(text: str, *tokens: Token) -> list[tuple[int, int, int | None]]:
    return list(AddedTokenSplitter({t.content: t for t in tokens}).split(text, frozenset(t.id for t in tokens)))


def test_whitespace_that_the_token_before_took():
    assert splits("<m>\n\n", MASK, Token("\n\n", 257, lstrip=True)) == [(0, 5, 256)]
    assert splits("<m> \nxy", MASK, Token("\nx", 257, lstrip=True)) == [(0, 5, 256), (5, 6, 257), (6, 7, None)]
    assert splits("a\n\nb", Token("\n", 257, lstrip=True, rstrip=True)) == [(0, 1, None), (1, 3, 257), (3, 4, None)]
    # tokenizers panics: the second token lies within what the first took, and further whitespace follows
    assert splits("<m>\n\n\n\nx", MASK, Token("\n\n", 257, lstrip=True)) == [(0, 7, 256), (7, 8, None)]
    # without lstrip it is found a second time, as in tokenizers
    assert splits("<m>\n\nx", MASK, Token("\n\n", 257)) == [(0, 5, 256), (3, 5, 257), (5, 6, None)]


def test_whitespace_is_what_the_regular_expressions_of_tokenizers_take_for_it():
    split = tokenizers.pre_tokenizers.Split(tokenizers.Regex(r"\s"), "removed")
    for start in range(0, 0x110000, 0x1000):
        chars = [chr(code) for code in range(start, start + 0x1000) if not 0xD800 <= code <= 0xDFFF]
        kept = "".join(piece for piece, _ in split.pre_tokenize_str("".join(chars)))
        assert set(chars) - set(kept) == set(WHITESPACE) & set(chars)


@pytest.mark.parametrize(
    ("unit", "tokens"),
    [
        ("<m>", [MASK]),
        ("<m>", [Token("<m>", 256, lstrip=True)]),
        ("\n", [Token("\n", 256, rstrip=True)]),
        ("\n", [Token("\n", 256, lstrip=True)]),
        (" <m>\n", [Token("<m>", 256, lstrip=True, rstrip=True), Token("\n", 257, rstrip=True)]),
        ("é ", [Token("é", 256, True, True, True)]),
    ],
)
def test_takes_linear_time(unit, tokens):
    """Thirty-two times the text takes far less than its square, 1,024 times, by the best of some in CPU time."""

    def seconds(count: int, tries: int) -> float:
        text, found = unit * count, []
        for _ in range(tries):
            start = time.process_time()
            splits(text, *tokens)
            found.append(time.process_time() - start)
        return min(found)

    seconds(100, 1)
    assert seconds(64_000, 2) < 300 * max(seconds(2_000, 5), 0.001)


@pytest.mark.parametrize(
    ("row", "arrays"),
    [
        ((-1, 1, 0), 1),
        ((0, 4, 0), 1),
        ((2, 1, 0), 1),
        ((0, 1, 1), 1),
        ((0, 1, -1), 1),
        ((0, 1, 0), 2),
    ],
)
def test_rows_outside_of_the_text_are_refused(row, arrays):
    kinds = np.zeros(0x110000, np.uint8)
    with pytest.raises(ValueError, match=r"row 0 is|do not fit together"):
        with_options(b"abc", np.array([row]), np.zeros(arrays, np.uint8), np.zeros(1, np.int64), frozenset([0]), kinds)
