"""The token table finds a token by its bytes, as a dict does."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastlm
from fastlm.encoding import _token_table
from fastlm.encoding._tables import EncodeTables
from fastlm.encoding._token_table import TokenTable
from fastlm.encoding.build import encoder_of
from fastlm.kernels.merge import merge_kernel
from fastlm.vocabulary.vocabulary import Rules

BYTES = [bytes([byte]) for byte in range(256)]
token = st.one_of(
    st.binary(max_size=40), st.text("ab", max_size=20).map(str.encode), st.binary(min_size=200, max_size=600)
)


def table_of(tokens: list[bytes], ids: list[int]) -> TokenTable:
    blob = np.frombuffer(b"".join(tokens), np.uint8)
    return TokenTable(blob, np.cumsum([0, *map(len, tokens)], dtype=np.int64), np.array(ids, np.int64))


@given(st.lists(token, max_size=60), st.lists(token, max_size=20), st.randoms())
def test_finds_what_a_dict_finds(tokens, others, random):
    ids = [token_id for token_id in range(len(tokens)) if tokens[token_id] and random.random() < 0.8]
    random.shuffle(ids)
    table, expected = table_of(tokens, ids), {}
    for token_id in ids:
        expected.setdefault(tokens[token_id], token_id)
    for text in (*tokens, *others, *(text[:-1] for text in tokens), *(text + b"a" for text in tokens)):
        assert table.find(text) == expected.get(text, -1)


def test_a_full_table_finds_all_tokens():
    for number in (1, 2, 3, 4, 255, 256, 257, 1023, 1024, 65_536):
        tokens = [str(k).encode() for k in range(number)]
        table = table_of(tokens, list(range(number)))
        assert [table.find(token) for token in tokens] == list(range(number))
        assert table.find(str(number).encode()) == -1


def test_tokens_are_told_apart_where_few_bits_of_the_hash_do_not():
    """Ids of 22 bits leave 10 bits of the hash in a slot, so that about thirty searches meet another token there."""
    unused, number = 1 << 21, 65_535
    tokens = [b"%05d" % k for k in range(number)]
    table = table_of([b""] * unused + tokens, list(range(unused, unused + number)))
    assert [table.find(token) for token in tokens] == list(range(unused, unused + number))
    assert {table.find(b"-%04d" % k) for k in range(10_000)} == {-1}


def test_the_table_may_hold_some_tokens_only(trained):
    vocabulary = trained.vocabulary
    chosen = np.arange(260, 280)
    tokens = EncodeTables(vocabulary, merge_kernel(), chosen).tokens
    for token_id in range(256, 300):
        assert tokens.find(vocabulary.tokens[token_id]) == (token_id if token_id in chosen else -1)
    for bad in (-1, len(vocabulary.token_offsets) - 1, 1 << 40):
        with pytest.raises(ValueError, match=f"whole token 1 has id {bad}, which is not in the vocabulary"):
            EncodeTables(vocabulary, merge_kernel(), np.array([256, bad]))


@pytest.mark.parametrize("entries", [4, 64, 1 << 17])
@pytest.mark.parametrize("ignore_merges", [False, True])
def test_ids_do_not_depend_on_what_the_first_cache_holds(monkeypatch, entries, ignore_merges):
    """No merge makes "abc" or the long token."""
    monkeypatch.setattr(_token_table, "FIRST_ENTRIES", entries)
    tokens = dict(enumerate([*BYTES, b"ab", b"cd", b"abcd", b"abc", b" " + b"ab" * 300]))
    vocabulary = fastlm.Tokenizer(tokens, [(b"a", b"b"), (b"c", b"d"), (b"ab", b"cd")]).vocabulary
    encoder = encoder_of(replace(vocabulary, rules=Rules(ignore_merges=ignore_merges)))
    for _ in range(3):
        for text, whole, merged in (
            ("abc", [259], [256, ord("c")]),
            ("abcd", [258], [258]),
            ("abca", [256, ord("c"), ord("a")], [256, ord("c"), ord("a")]),
            (" " + "ab" * 300, [260], [ord(" "), *[256] * 300]),
        ):
            assert encoder.encode(text) == (whole if ignore_merges else merged)
