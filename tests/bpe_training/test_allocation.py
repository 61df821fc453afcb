"""Each allocation fails once: an object that raised MemoryError stays usable or says that it is not."""

import io
import zlib
from collections import Counter

import numpy as np
import pytest

import fastlm
from fastlm import _merge
from fastlm.bpe_training import _count, _run_files
from fastlm.bpe_training._count import PretokenCounter
from fastlm.bpe_training._run_files import MergedRuns, RunReader, records
from fastlm.bpe_training.counting import Tables
from fastlm.corpus.text_blocks import Block
from fastlm.merging import _buckets, _merge_list, _pair_heap, _pair_index, _symbols, _words
from fastlm.merging._merge_list import MergeList
from fastlm.pretokenize import _scan
from fastlm.pretokenize.patterns import find_pattern
from tests.bpe_training.allocation import Allocator, each_failure
from tests.bpe_training.test_count import as_counter, whole
from tests.bpe_training.test_merge import SYMBOL_OF_BYTE, arrays
from tests.reference import bpe

SCANNER = _scan.scanner("gpt2")
# enough distinct pretokens that slots, entries and the arena grow several times
MANY = " ".join(f"{'long' * 5}x{n}" if n % 3 else f"w{n}" for n in range(30_000)).encode()
EXPECTED = Counter(bpe.pretokens(MANY.decode()))
INCOMPLETE = "an earlier error left the table incomplete"


def check_incomplete(counter: PretokenCounter) -> None:
    for use in (
        lambda: counter.count(b"a", whole(b"a"), SCANNER),
        lambda: counter.count_ends(b"a", np.array([1])),
        lambda: counter.merge(PretokenCounter()),
        lambda: PretokenCounter().merge(counter),
        counter.words,
        counter.sort,
    ):
        with pytest.raises(RuntimeError, match=INCOMPLETE):
            use()


def count_scanned(counter: PretokenCounter) -> None:
    counter.count(MANY, whole(MANY), SCANNER)


def count_ends(counter: PretokenCounter) -> None:
    counter.count_ends(MANY, np.cumsum([len(word) for word in bpe.pretokens(MANY.decode())]))


def merge(counter: PretokenCounter) -> None:
    counter.merge(COUNTED)


COUNTED = PretokenCounter()
count_scanned(COUNTED)


@pytest.mark.parametrize("change", [count_scanned, count_ends, merge])
def test_a_counter(change):
    for counter, allocator, patch in each_failure([_count], PretokenCounter):
        try:
            change(counter)
        except MemoryError:
            check_incomplete(counter)
            counter.clear()
            patch.undo()
            change(counter)
        else:
            assert not allocator.failed
            patch.undo()
        assert as_counter(counter) == EXPECTED


def test_a_counter_that_cannot_be_made_or_read():
    for _, _, patch in each_failure([_count], lambda: None):
        try:
            counter = PretokenCounter()
        except MemoryError:
            patch.undo()
            counter = PretokenCounter()
        counter.count(b"a a", whole(b"a a"), SCANNER)
        try:
            text, _, counts = counter.words()
        except MemoryError:
            text, _, counts = counter.words()
        assert text.tobytes() == b"a a"
        assert counts.tolist() == [1, 1]


def test_tables_do_not_reuse_a_table_that_failed():
    tables = Tables(find_pattern("gpt2"))

    def part():
        return Block(MANY, np.empty((0, 3), np.int64), str, consumed=len(MANY)), 0

    with pytest.MonkeyPatch.context() as patch:
        Allocator(patch, [_count], 12)
        with pytest.raises(MemoryError):
            tables.count(part())
    assert not tables.idle()
    tables.count(part())
    assert as_counter(tables.added_up(1)) == EXPECTED


WORDS = Counter({f"{n}{n % 7}{n % 13}{'ab' * (n % 5)}".encode(): n for n in range(1, 2500)})
MERGES = bpe.learn(Counter(dict(list(WORDS.items())[:60])), 12, "hf")
MODULES = [_merge, _buckets, _merge_list, _pair_heap, _pair_index, _symbols, _words]


def known() -> MergeList:
    number = {bytes([b]): k for k, b in enumerate(bpe.BYTE_ORDER)}
    pairs = []
    for left, right in MERGES:
        pairs.append((number[left], number[right]))
        number[left + right] = len(number)
    left, right = np.array(pairs, np.int32).T.copy()
    return MergeList(left, right)


def learner(count: int = 800) -> _merge.MergeLearner:
    cells = _merge.cells_of(arrays(WORDS)[1])
    return _merge.MergeLearner(cells, count, SYMBOL_OF_BYTE, "cs336", known=known())


def full_learner(count: int = 800) -> _merge.MergeLearner:
    made = learner(count)
    made.add(*arrays(WORDS))
    return made


def as_lists(merges) -> tuple[list[int], list[int]]:
    return merges[0].tolist(), merges[1].tolist()


LEARNED = as_lists(full_learner().learn())


def test_a_learner_that_learns():
    for made, allocator, patch in each_failure(MODULES, full_learner):
        try:
            merges = made.learn()
        except MemoryError:
            patch.undo()
            done = as_lists(made.merged)
            assert done == (LEARNED[0][: len(done[0])], LEARNED[1][: len(done[1])])
            with pytest.raises(RuntimeError, match="an earlier error left the learner unusable"):
                made.learn()
        else:
            assert not allocator.failed
            assert as_lists(merges) == LEARNED


def test_a_learner_that_is_made():
    for _, _, patch in each_failure(MODULES, lambda: None):
        try:
            made = full_learner(40)
        except MemoryError:
            patch.undo()
            made = full_learner(40)
        assert as_lists(made.merged)[0] == LEARNED[0][: len(MERGES)]
    assert as_lists(made.learn()) == (LEARNED[0][:40], LEARNED[1][:40])


def test_words_that_a_learner_could_not_take_may_be_given_again():
    text, starts, counts = arrays(WORDS)
    half = 30
    cut = starts[half]
    rest = text[cut:], starts[half:] - cut, counts[half:]

    def half_a_learner():
        made = learner(40)
        made.add(text[:cut], starts[: half + 1], counts[:half])
        return made

    for made, _, patch in each_failure(MODULES, half_a_learner):
        try:
            made.add(*rest)
        except MemoryError:
            patch.undo()
            made.add(*rest)
        patch.undo()
        assert as_lists(made.learn()) == (LEARNED[0][:40], LEARNED[1][:40])


def test_run_files():
    counts = dict(sorted({f"{'w' * (n % 90)}{n}".encode(): n + 1 for n in range(3000)}.items()))
    content = records(*arrays(Counter(counts))).tobytes()

    def merged() -> MergedRuns:
        file = io.BytesIO(content)
        return MergedRuns([RunReader(file, "a run", len(content), zlib.crc32(content), 1)])

    for _, _, patch in each_failure([_run_files], lambda: None):
        runs = None
        try:
            runs = merged()
            text, _, found = runs.words(4000)
        except MemoryError:
            patch.undo()
            if runs is not None:
                with pytest.raises(RuntimeError, match="the position in the run files undefined"):
                    runs.words(4000)
            text, _, found = merged().words(4000)
        assert text.tobytes() == b"".join(counts)
        assert found.tolist() == list(counts.values())
    for _, _, patch in each_failure([_run_files], lambda: None):
        try:
            again = records(*arrays(Counter(counts)))
        except MemoryError:
            patch.undo()
            again = records(*arrays(Counter(counts)))
        assert again.tobytes() == content


@pytest.mark.parametrize("options", [{}, {"max_memory": 1 << 40}])
@pytest.mark.parametrize("threads", [1, 2])
def test_training(options, threads):
    """An allocation fails at a time: training raises MemoryError, and the next one gives the same tokenizer."""
    documents = [MANY.decode()] * 3
    expected = fastlm.train_bpe(documents, 400, num_threads=1).vocabulary.fingerprint
    modules = [_count, _run_files, *MODULES]
    for k in [*range(1, 30), *range(30, 400, 37)]:
        with pytest.MonkeyPatch.context() as patch:
            allocator = Allocator(patch, modules, k)
            try:
                tokenizer = fastlm.train_bpe(documents, 400, num_threads=threads, **options)
            except MemoryError:
                assert allocator.failed
                continue
            assert not allocator.failed
            assert tokenizer.vocabulary.fingerprint == expected
    assert fastlm.train_bpe(documents, 400, **options).vocabulary.fingerprint == expected


def test_a_sorted_counter_says_so():
    counter = PretokenCounter()
    counter.count(b"b a", whole(b"b a"), SCANNER)
    counter.sort()
    for use in (
        lambda: counter.count(b"a", whole(b"a"), SCANNER),
        lambda: counter.count_ends(b"a", np.array([1])),
        lambda: counter.merge(PretokenCounter()),
    ):
        with pytest.raises(RuntimeError, match="the table is sorted; clear it first"):
            use()
    counter.sort()
    other = PretokenCounter()
    other.merge(counter)
    assert as_counter(other) == as_counter(counter) == Counter([b"b", b" a"])
    counter.clear()
    counter.count(b"c", whole(b"c"), SCANNER)
    assert as_counter(counter) == Counter([b"c"])


def test_objects_made_by_new_alone():
    counter = PretokenCounter.__new__(PretokenCounter)
    counter.count(b"b a", whole(b"b a"), SCANNER)
    assert as_counter(counter) == Counter([b"b", b" a"])
    for kind in (_merge.MergeLearner, MergeList, RunReader, MergedRuns):
        with pytest.raises(TypeError):
            kind.__new__(kind)
