"""MergeLearner against the trainer that recounts everything after each merge."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastlm import _merge
from tests.reference import bpe

SYMBOL_OF_BYTE = np.argsort(bpe.BYTE_ORDER).astype(np.int32)


def arrays(words: Counter[bytes]):
    starts = np.cumsum([0, *map(len, words)])
    return np.frombuffer(b"".join(words), np.uint8), starts, np.array(list(words.values()), np.int64)


def learn(words: Counter[bytes], num_merges: int, tie_break: str, **limits: int | None) -> list[tuple[bytes, bytes]]:
    left, right = _merge.MergeLearner(*arrays(words), num_merges, SYMBOL_OF_BYTE, tie_break, **limits).learn()
    tokens = [bytes([b]) for b in bpe.BYTE_ORDER]
    merges = []
    for a, b in zip(left, right, strict=True):
        tokens.append(tokens[a] + tokens[b])
        merges.append((tokens[a], tokens[b]))
    assert len(set(tokens)) == len(tokens)
    return merges


# few letters make ties, and overlaps as in "aaaa"
words = st.one_of(
    *(st.binary(min_size=1, max_size=14).map(lambda w, n=n: bytes(97 + b % n for b in w)) for n in (1, 2, 4))
)
corpora = st.dictionaries(words, st.integers(1, 40), max_size=25).map(Counter)


@pytest.mark.parametrize("tie_break", _merge.TIE_BREAKS)
@given(corpora, st.integers(0, 60))
def test_learns_what_the_reference_learns(tie_break, corpus, num_merges):
    assert learn(corpus, num_merges, tie_break) == bpe.learn(corpus, num_merges, tie_break)


@pytest.mark.parametrize("tie_break", _merge.TIE_BREAKS)
@given(st.dictionaries(st.binary(min_size=1, max_size=30), st.integers(1, 5000), max_size=40).map(Counter))
def test_learns_what_the_reference_learns_on_any_bytes(tie_break, corpus):
    assert learn(corpus, 50, tie_break) == bpe.learn(corpus, 50, tie_break)


@pytest.mark.parametrize("tie_break", _merge.TIE_BREAKS)
@given(corpora, st.integers(0, 60), st.integers(1, 60), st.integers(1, 12) | st.none())
def test_leaves_out_rare_pairs_and_long_tokens(tie_break, corpus, num_merges, least, longest):
    expected = bpe.learn(corpus, num_merges, tie_break, least, longest)
    assert learn(corpus, num_merges, tie_break, min_count=least, max_token_length=longest) == expected


@pytest.mark.parametrize("total", [2**31 - 1, 2**31, 2**32, 2**40, 2**62])
def test_counts_beyond_32_bits(total):
    """xy is the most frequent pair by one; a count that wraps or is rounded puts another first."""
    corpus = Counter({b"xy": total // 2 + 1, b"xyz": total - total // 2 - 1, b"ab": total - 1, b"q": 3})
    assert learn(corpus, 2, "cs336") == bpe.learn(corpus, 2, "cs336")
    assert learn(corpus, 1, "hf") == [(b"x", b"y")]


def test_ends_when_no_word_has_two_symbols():
    assert learn(Counter({b"ab": 1}), 1000, "cs336") == [(b"a", b"b")]
    assert learn(Counter({b"a": 5}), 1000, "cs336") == []
    assert learn(Counter(), 5, "cs336") == []


@pytest.mark.parametrize("tie_break", _merge.TIE_BREAKS)
def test_more_merges_than_pairs_have_buckets_of_their_own(tie_break):
    """Words are read several times, also when there are too many symbols for a table of all pairs."""
    rng = np.random.default_rng(336)
    drawn = [
        (97 + rng.integers(26, size=rng.integers(2, 12)) ** 2 // 26).astype(np.uint8).tobytes() for _ in range(400)
    ]
    corpus = Counter({word: int(1000 // (rank + 1)) + 1 for rank, word in enumerate(dict.fromkeys(drawn))})
    assert learn(corpus, 1100, tie_break) == bpe.learn(corpus, 1100, tie_break)


def test_one_long_word():
    corpus = Counter({b"ab" * 5000 + b"abc" * 3000: 1})
    assert learn(corpus, 30, "hf") == bpe.learn(corpus, 30, "hf")


def test_progress_is_told_and_may_interrupt():
    seen = []
    _merge.MergeLearner(*arrays(Counter({b"abcdefgh": 2})), 7, SYMBOL_OF_BYTE, "hf").learn(seen.append)
    assert seen[-1] == 7

    def interrupt(done):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _merge.MergeLearner(*arrays(Counter({b"abcdefgh": 2})), 7, SYMBOL_OF_BYTE, "hf").learn(interrupt)


def test_bad_arguments():
    text, starts, counts = arrays(Counter({b"ab": 1, b"cd": 2}))
    good = (text, starts, counts, 2, SYMBOL_OF_BYTE, "hf")
    for position, bad, message in [
        (5, "none", "tie_break must be one of"),
        (3, -1, "num_merges must not be negative"),
        (1, starts[:-1], "starts must begin with 0"),
        (1, starts + 1, "starts must begin with 0"),
        (1, np.array([0, 5, 4]), "starts must ascend"),
        (2, np.array([1, 0]), "counts be at least 1"),
        (4, np.zeros(256, np.int32), "permutation"),
    ]:
        with pytest.raises(ValueError, match=message):
            _merge.MergeLearner(*good[:position], bad, *good[position + 1 :])
    with pytest.raises(ValueError, match="dtype"):
        _merge.MergeLearner(text, starts.astype(np.int32), counts, 2, SYMBOL_OF_BYTE, "hf")
