"""Counting pretokens against collections.Counter."""

import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastlm.bpe_training._count import PretokenCounter
from fastlm.pretokenize import _scan
from tests import texts
from tests.reference import bpe

SCANNER = _scan.scanner("gpt2")


def as_counter(counter: PretokenCounter) -> Counter[bytes]:
    text, starts, counts = counter.words()
    assert len(counter) == len(counts) == len(starts) - 1
    words = [text[a:b].tobytes() for a, b in itertools.pairwise(starts)]
    assert len(set(words)) == len(words)
    return Counter(dict(zip(words, counts.tolist(), strict=True)))


def whole(text: bytes) -> np.ndarray:
    return np.array([[0, len(text)]])


@given(st.lists(texts.strings(), max_size=8))
def test_counts_as_a_counter_does(documents):
    counter = PretokenCounter()
    expected: Counter[bytes] = Counter()
    for document in documents:
        counter.count(document.encode(), whole(document.encode()), SCANNER)
        expected.update(bpe.pretokens(document))
    assert as_counter(counter) == expected


@given(texts.strings(), texts.strings())
def test_merging_two_counters_adds_them(left, right):
    counters = [PretokenCounter(), PretokenCounter()]
    for counter, text in zip(counters, (left, right), strict=True):
        counter.count(text.encode(), whole(text.encode()), SCANNER)
    counters[0].merge(counters[1])
    assert as_counter(counters[0]) == Counter(bpe.pretokens(left)) + Counter(bpe.pretokens(right))


def test_many_distinct_words_of_all_lengths():
    """More than a table's first size, with keys inline and in the arena, some alike but for their last byte."""
    words = [f"w{'x' * (n % 40)}{chr(97 + n % 26)}{n}".encode() for n in range(60_000)]
    text = b"".join(words)
    ends = np.cumsum([len(word) for word in words])
    counter = PretokenCounter()
    counter.count_ends(text, ends)
    counter.count_ends(text, ends)
    other = PretokenCounter()
    other.count_ends(text, ends)
    counter.merge(other)
    assert as_counter(counter) == Counter(dict.fromkeys(words, 3))


def test_pretokens_do_not_cross_segments():
    counter = PretokenCounter()
    counter.count(b"abcdef", np.array([[0, 2], [2, 3], [4, 6], [6, 6]]), SCANNER)
    assert as_counter(counter) == Counter([b"ab", b"c", b"ef"])


def test_bad_arguments():
    counter = PretokenCounter()
    for segments in ([[0, 4]], [[-1, 2]], [[2, 1]]):
        with pytest.raises(ValueError, match="segment 0"):
            counter.count(b"abc", np.array(segments), SCANNER)
    for ends in ([4], [0, 3], [2, 2], [2, 1]):
        with pytest.raises(ValueError, match="end"):
            counter.count_ends(b"abc", np.array(ends))
    with pytest.raises(_scan.InvalidUTF8Error) as caught:
        counter.count(b"abc \xff", whole(b"abc \xff"), SCANNER)
    assert caught.value.offset == 4
    with pytest.raises(TypeError):
        counter.merge(None)


def test_counts_beyond_63_bits_are_refused():
    """Two tables that are merged into each other count like Fibonacci's numbers; F(92) is the last below 2^63."""
    tables = [PretokenCounter(), PretokenCounter()]
    for table in tables:
        table.count(b"ab", whole(b"ab"), SCANNER)
    a, b = 1, 1
    for _ in range(90):
        tables[0].merge(tables[1])
        tables.reverse()
        a, b = b, a + b
    assert as_counter(tables[1]) == {b"ab": b}
    with pytest.raises(ValueError, match=r"the count of a pretoken exceeds 2\^63 - 1"):
        tables[0].merge(tables[1])
    with pytest.raises(RuntimeError, match="incomplete"):
        tables[0].words()
    assert as_counter(tables[1]) == {b"ab": b}
