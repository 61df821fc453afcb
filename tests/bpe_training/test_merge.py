"""MergeLearner against the trainer that recounts everything after each merge."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastlm import _merge
from fastlm.merging._merge_list import MergeList
from tests.reference import bpe

SYMBOL_OF_BYTE = np.argsort(bpe.BYTE_ORDER).astype(np.int32)
HEADER = 3  # cells of a word before its symbols: their number, and two of its count


def arrays(words: Counter[bytes]):
    starts = np.cumsum([0, *map(len, words)])
    return np.frombuffer(b"".join(words), np.uint8), starts, np.array(list(words.values()), np.int64)


def learn(words: Counter[bytes], num_merges: int, tie_break: str, **limits: int | None) -> list[tuple[bytes, bytes]]:
    return spelled(*learner_of(words, num_merges, tie_break, **limits).learn())


def learner_of(words: Counter[bytes], num_merges: int, tie_break: str, **options: object) -> _merge.MergeLearner:
    text, starts, counts = arrays(words)
    learner = _merge.MergeLearner(_merge.cells_of(starts), num_merges, SYMBOL_OF_BYTE, tie_break, **options)
    learner.add(text, starts, counts)
    return learner


def spelled(left: np.ndarray, right: np.ndarray) -> list[tuple[bytes, bytes]]:
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


@pytest.mark.parametrize("hashed", [False, True])
@pytest.mark.parametrize("rest", [{b"xyz": 2**62, b"abc": 2**62 - 1}, {b"xyxy": 2**61, b"ab": 5}])
def test_pair_counts_beyond_63_bits_are_refused(hashed, rest):
    """xy occurs 2^63 times, or once less; with many known merges the pairs share buckets."""
    known = None
    if hashed:
        left, right = np.divmod(np.arange(800, dtype=np.int32), 29)
        known = MergeList(left + 200, right + 200)
    number = 3 + (len(known) if known else 0)
    for count in (2**62 - 1, 2**62):
        corpus = Counter({b"xy": count, **rest})
        learner = learner_of(corpus, number, "cs336", known=known)
        if count < 2**62:
            assert spelled(*learner.learn())[-3:] == bpe.learn(corpus, 3, "cs336")
        else:
            with pytest.raises(ValueError, match=r"the count of a pair exceeds 2\^63 - 1"):
                learner.learn()


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
    learner_of(Counter({b"abcdefgh": 2}), 7, "hf").learn(seen.append)
    assert seen[-1] == 7

    def interrupt(done):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        learner_of(Counter({b"abcdefgh": 2}), 7, "hf").learn(interrupt)


def test_words_may_come_in_parts():
    corpus = Counter({b"abcab": 3, b"cab": 2, b"bca": 7, b"a": 9, b"abab": 1})
    text, starts, counts = arrays(corpus)
    learner = _merge.MergeLearner(_merge.cells_of(starts), 5, SYMBOL_OF_BYTE, "cs336")
    for word in range(len(counts)):
        learner.add(text[starts[word] : starts[word + 1]], starts[word : word + 2] - starts[word], counts[[word]])
    assert spelled(*learner.learn()) == bpe.learn(corpus, 5, "cs336")


def known_merges(merges: list[tuple[bytes, bytes]]) -> MergeList:
    number = {bytes([b]): k for k, b in enumerate(bpe.BYTE_ORDER)}
    pairs = []
    for left, right in merges:
        pairs.append((number[left], number[right]))
        number[left + right] = len(number)
    left, right = np.array(pairs, np.int32).reshape(-1, 2).T.copy()
    return MergeList(left, right)


@pytest.mark.parametrize("tie_break", _merge.TIE_BREAKS)
@given(corpora, corpora, st.integers(0, 30), st.integers(0, 30))
def test_goes_on_from_merges_learned_elsewhere(tie_break, other, corpus, before, after):
    merges = bpe.learn(other, before, tie_break)
    learner = learner_of(corpus, len(merges) + after, tie_break, known=known_merges(merges))
    expected = bpe.learn(corpus, len(merges) + after, tie_break, known=merges)
    assert spelled(*learner.learn()) == expected


@pytest.mark.parametrize("tie_break", _merge.TIE_BREAKS)
@given(corpora, st.integers(0, 40))
def test_goes_on_from_its_own_merges(tie_break, corpus, before):
    expected = bpe.learn(corpus, 40, tie_break)
    learner = learner_of(corpus, 40, tie_break, known=known_merges(expected[:before]))
    assert spelled(*learner.merged) == expected[:before]
    assert spelled(*learner.learn()) == expected


def test_known_merges_of_many_words_and_of_one_long_word():
    words = Counter({f"{n}{n % 7}{n % 13}".encode(): n for n in range(1, 3000)})
    for corpus in (words, Counter({b"ab" * 5000 + b"abc" * 3000: 1})):
        expected = bpe.learn(corpus, 30, "hf")
        learner = learner_of(corpus, 30, "hf", known=known_merges(expected[:20]))
        assert spelled(*learner.learn()) == expected


def test_a_part_of_the_words_leaves_no_places_to_merge_for_the_next_part():
    """The second part has no pair to merge. Where the first has one, it has the end of a word and a header."""
    header = [0] * (HEADER - 1)
    known = MergeList(np.array([7, 1], np.int32), np.array([8, 2], np.int32))
    first = np.array([2, *header, 7, 8, 2, *header, 1, 2], np.int32)
    assert known.apply(first, 0, len(first)) == 2 * HEADER + 2
    assert first[: 2 * HEADER + 2].tolist() == [1, *header, 256, 1, *header, 257]
    # cell HEADER + 2 is the 2 after the nines, and its symbols would be 1 and the size of the second word
    second = np.array([HEADER + 3, *header, 9, 9, 2, *[9] * (HEADER - 1), 1, 2, *header, 5, 6], np.int32)
    expected = second.tolist()
    assert known.apply(second, 0, len(second)) == len(second)
    assert second.tolist() == expected


def test_known_merges_are_checked():
    for left, right, message in [
        ([256], [0], "merge 0 joins symbols 256 and 0, not two below 256"),
        ([0, 0], [1, 257], "merge 1 joins symbols 0 and 257, not two below 257"),
        ([0, -1], [1, 0], "merge 1 joins"),
        ([0, 1, 0], [1, 2, 1], "merge 2 repeats"),
        ([0, 1], [1], "equally long"),
    ]:
        with pytest.raises(ValueError, match=message):
            MergeList(np.array(left, np.int32), np.array(right, np.int32))
    two = MergeList(np.array([0, 1], np.int32), np.array([1, 2], np.int32))
    with pytest.raises(ValueError, match="num_merges must be at least the number of known merges, got 1"):
        _merge.MergeLearner(0, 1, SYMBOL_OF_BYTE, "hf", known=two)
    with pytest.raises(ValueError, match="cells 0:5 of 4"):
        two.apply(np.zeros(4, np.int32), 0, 5)


def test_bad_arguments():
    text, starts, counts = arrays(Counter({b"ab": 1, b"cd": 2}))
    good = (10, 2, SYMBOL_OF_BYTE, "hf")
    for position, bad, message in [
        (0, -1, "the distinct words take -1 cells"),
        (0, 2**32, "the distinct words take 4294967296 cells, more than 2"),
        (3, "none", "tie_break must be one of"),
        (1, -1, "num_merges must be at least the number of known merges, got -1"),
        (2, np.zeros(256, np.int32), "permutation"),
    ]:
        with pytest.raises(ValueError, match=message):
            _merge.MergeLearner(*good[:position], bad, *good[position + 1 :])
    learner = _merge.MergeLearner(*good)
    for words, message in [
        ((text, starts[:-1], counts), "starts must begin with 0"),
        ((text, starts + 1, counts), "starts must begin with 0"),
        ((text, np.array([0, 5, 4]), counts), "starts must ascend"),
        ((text, starts, np.array([1, 0])), "counts must be at least 1"),
        ((text, starts.astype(np.int32), counts), "dtype"),
    ]:
        with pytest.raises(ValueError, match=message):
            learner.add(*words)
    learner.add(text, starts, counts)
    with pytest.raises(ValueError, match="the words do not fit into 10 cells"):
        learner.add(text, starts, counts)
