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


def test_a_table_that_holds_a_long_pretoken_is_full_before_the_next_one():
    """A table takes one pretoken whatever its size, and no other one beyond its limit, at the start of a text too."""
    counter = PretokenCounter(long_bytes=20)
    first, second = b"a" * 18, b"b" * 18
    assert counter.count(first, whole(first), SCANNER) is None
    assert counter.count(second, whole(second), SCANNER) == 0
    assert counter.count_ends(second, np.array([18])) == 0
    assert as_counter(counter) == Counter({first: 1})
    counter.clear()
    longest = b"c" * 100
    assert counter.count(longest, whole(longest), SCANNER) is None
    assert as_counter(counter) == Counter({longest: 1})


def test_a_sorted_table_counts_only_after_it_was_cleared():
    counter = PretokenCounter()
    text = b"one two one"
    counter.count(text, whole(text), SCANNER)
    counter.sort()
    for change in (
        lambda: counter.count(text, whole(text), SCANNER),
        lambda: counter.count_ends(text, np.array([len(text)])),
        lambda: counter.merge(PretokenCounter()),
    ):
        with pytest.raises(RuntimeError, match="the table is sorted; clear it first"):
            change()
    assert as_counter(counter) == Counter({b"one": 1, b" two": 1, b" one": 1})
    counter.clear()
    counter.count(text, whole(text), SCANNER)
    assert len(counter) == 3
