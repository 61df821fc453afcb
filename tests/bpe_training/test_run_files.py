"""Sorted runs on disk against collections.Counter: written, merged, read back, damaged."""

import contextlib
import dataclasses
import io
import itertools
import zlib
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastlm import _merge
from fastlm.bpe_training import run_files
from fastlm.bpe_training._count import ENTRY_BYTES, SLOT_BYTES, PretokenCounter
from fastlm.bpe_training._run_files import MergedRuns, RunReader, records
from fastlm.bpe_training.counting import Tables
from fastlm.bpe_training.memory_limit import MemoryLimit, entries_in
from fastlm.bpe_training.run_files import RunFiles
from fastlm.corpus.text_blocks import Block
from fastlm.pretokenize import _scan
from fastlm.pretokenize.patterns import find_pattern
from fastlm.pretokenize.text_splitter import DOCUMENT_END
from fastlm.process_memory import resident_bytes
from tests import texts
from tests.reference import bpe

SCANNER = _scan.scanner("gpt2")

# alike in their first bytes, some longer than a key, some with zeros at the end
words = st.binary(min_size=1, max_size=40).map(lambda word: bytes(b % 3 for b in word))
counted = st.dictionaries(words, st.integers(1, 2**60), max_size=30)


def arrays(counts: dict[bytes, int]):
    starts = np.cumsum([0, *map(len, counts)])
    return np.frombuffer(b"".join(counts), np.uint8), starts, np.array(list(counts.values()), np.int64)


def items(text, starts, counts):
    return [
        (text[a:b].tobytes(), n) for (a, b), n in zip(itertools.pairwise(starts.tolist()), counts.tolist(), strict=True)
    ]


def read(runs: RunFiles):
    return [item for part in runs.words() for item in items(*part)]


def counter_of(counts: dict[bytes, int]) -> PretokenCounter:
    counter = PretokenCounter()
    for word, times in counts.items():
        for _ in range(times):
            counter.count_ends(word, np.array([len(word)]))
    return counter


@given(st.dictionaries(words | st.binary(min_size=1, max_size=40), st.integers(1, 3), max_size=60))
def test_a_table_is_sorted_by_the_bytes_of_its_words(counts):
    counter = counter_of(counts)
    counter.sort()
    assert items(*counter.words()) == sorted(counts.items())
    assert items(*counter.words(1, 3)) == sorted(counts.items())[1:3] if len(counts) else True
    counter.clear()
    counter.count_ends(b"ab", np.array([1, 2]))
    assert dict(items(*counter.words())) == {b"a": 1, b"b": 1}


@given(st.lists(counted, max_size=5), st.integers(1, 7), st.booleans())
def test_runs_add_up(tmp_path_factory, several, part, named):
    expected: Counter[bytes] = Counter()
    with contextlib.closing(RunFiles(tmp_path_factory.mktemp("runs") if named else None)) as runs:
        for counts in several:
            expected.update(counts)
            runs.listed.append(runs._written([arrays(dict(sorted(counts.items())))]))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(run_files, "PART", part)
            patch.setattr(run_files, "BUFFER_BYTES", 1)
            assert read(runs) == sorted(expected.items())
            runs.merge()
            assert read(runs) == sorted(expected.items())
        if several:
            (run,) = runs.listed
            assert run.words == len(expected)
            assert run.cells == _merge.cells_of(np.cumsum([0, *map(len, expected)]))
            runs.discard()
            if named:
                assert [path.name for path in runs._directory.iterdir()] == [run.name]


@given(st.lists(texts.strings(), max_size=6), st.integers(1, 9), st.integers(1, 30))
def test_a_table_with_a_limit_counts_all_in_several_runs(documents, capacity, long_bytes):
    with contextlib.closing(RunFiles(None)) as runs:
        counter = PretokenCounter(capacity=capacity, long_bytes=long_bytes)
        expected: Counter[bytes] = Counter()
        for document in map(str.encode, documents):
            at = 0
            while (stopped := counter.count(document, np.array([[at, len(document)]]), SCANNER)) is not None:
                assert at <= stopped < len(document)
                assert len(counter) <= capacity
                at = stopped
                runs.spill(counter)
            expected.update(bpe.pretokens(document.decode()))
        runs.spill(counter)
        assert read(runs) == sorted(expected.items())


@given(st.lists(texts.strings(), max_size=6), st.integers(1, 9))
def test_ends_given_to_a_table_with_a_limit(documents, capacity):
    with contextlib.closing(RunFiles(None)) as runs:
        counter = PretokenCounter(capacity=capacity, long_bytes=20)
        expected: Counter[bytes] = Counter()
        for document in documents:
            pretokens = bpe.pretokens(document)
            text, ends = b"".join(pretokens), np.cumsum([0, *map(len, pretokens)])[1:]
            while (counted := counter.count_ends(text, ends)) is not None:
                runs.spill(counter)
                if counted:
                    text, ends = text[ends[counted - 1] :], ends[counted:] - ends[counted - 1]
            expected.update(pretokens)
        runs.spill(counter)
        assert read(runs) == sorted(expected.items())


def test_many_runs_of_many_words():
    """More words than a part has, in buffers that fill many times."""
    with contextlib.closing(RunFiles(None)) as runs:
        expected: Counter[bytes] = Counter()
        for run in range(5):
            counts = {f"w{n * (run + 1) % 50_000}{'x' * (n % 23)}".encode(): n + 1 for n in range(40_000)}
            expected.update(counts)
            ordered = sorted(counts.items())
            parts = [dict(ordered[k : k + 7000]) for k in range(0, len(ordered), 7000)]
            runs.listed.append(runs._written(map(arrays, parts)))
        assert read(runs) == sorted(expected.items())


def test_a_damaged_run_is_refused(tmp_path):
    counts = {b"ab": 300, b"abc" * 30: 2, b"b": 2**40}
    content = records(*arrays(counts)).tobytes()
    path = tmp_path / "run-000000"

    def reading(content: bytes, size: int, checksum: int):
        path.write_bytes(content)
        with open(path, "rb", buffering=0) as file:
            return items(*MergedRuns([RunReader(file, str(path), size, checksum, 1)]).words(100))

    checksum = zlib.crc32(content)
    assert reading(content, len(content), checksum) == list(counts.items())
    for cut in range(len(content)):
        with pytest.raises(ValueError, match=r"run-000000 is damaged: (it ends|a number|another|a word|its)"):
            reading(content[:cut], len(content), checksum)
    for byte in range(len(content)):
        for bit in range(8):
            changed = bytearray(content)
            changed[byte] ^= 1 << bit
            with pytest.raises(ValueError, match="run-000000 is damaged"):
                reading(bytes(changed), len(content), checksum)
    with pytest.raises(ValueError, match=r"a word has \d+ bytes, \d+ are left"):
        reading(b"\xff" * 8 + b"\x7f", 9, 0)


@pytest.mark.parametrize("buffer_bytes", [1, 1 << 12])
@given(st.lists(words, min_size=2, max_size=9))
def test_words_that_do_not_ascend_are_refused(buffer_bytes, several):
    text, starts, counts = b"".join(several), np.cumsum([0, *map(len, several)]), np.ones(len(several), np.int64)
    content = records(text, starts, counts).tobytes()

    def read_all():
        reader = RunReader(io.BytesIO(content), "a run", len(content), zlib.crc32(content), buffer_bytes)
        return items(*MergedRuns([reader]).words(100))

    if all(a < b for a, b in itertools.pairwise(several)):
        assert [word for word, _ in read_all()] == several
    else:
        with pytest.raises(ValueError, match="a run is damaged: its words do not ascend"):
            read_all()


def test_counts_that_add_up_to_more_than_64_bits_are_refused():
    run = records(*arrays({b"a": 1, b"b": 2**62})).tobytes()

    def merged(number):
        return MergedRuns([RunReader(io.BytesIO(run), f"run {k}", len(run), zlib.crc32(run), 1) for k in range(number)])

    assert items(*merged(1).words(9)) == [(b"a", 1), (b"b", 2**62)]
    with pytest.raises(ValueError, match=r"run \d: the count of a pretoken.* exceeds 2\^63 - 1"):
        merged(2).words(9)


def test_a_run_may_be_refused_as_it_is_written(tmp_path):
    def check(words, cells):
        raise ValueError(f"{words} words, {cells} cells")

    for directory in (None, tmp_path):
        runs = RunFiles(directory, check=check)
        with pytest.raises(ValueError, match="2 words, 6 cells"):
            runs.spill(counter_of({b"abc": 2, b"a": 1}))
        assert not runs.listed
        assert not runs._unnamed
    assert not list(tmp_path.iterdir())


def test_what_is_listed_is_kept_and_numbers_go_on(tmp_path):
    runs = RunFiles(tmp_path)
    for _ in range(2):
        runs.spill(counter_of({b"abc": 2}))
    (tmp_path / ".run-000009.0123456789ab.tmp").touch()
    (tmp_path / "other").touch()
    again = RunFiles(tmp_path, runs.listed[1:])
    again.discard()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "run-000001"]
    again.spill(counter_of({b"abc": 3, b"d": 1}))
    assert again.listed[-1].name == "run-000002"
    assert read(again) == [(b"abc", 5), (b"d", 1)]


def test_a_limit_is_shared_out():
    limit = MemoryLimit(400 << 20, 2, 50 << 20)
    table = limit.table()
    entries = entries_in(limit.table_bytes * 7 // 8)
    slots = 1 << 14
    while entries > 0.7 * slots:
        slots *= 2
    assert entries * ENTRY_BYTES + slots * SLOT_BYTES <= limit.table_bytes
    assert entries * ENTRY_BYTES * 2.5 > limit.table_bytes  # most of it is used
    text = b"".join(b"%08d" % n for n in range(entries + 1000))
    assert table.count_ends(text, np.arange(8, len(text) + 8, 8)) == entries
    with pytest.raises(
        ValueError,
        match=r"at least [\d,]+ bytes for 2 threads \(the process already holds 52,428,800\), got 62,914,560",
    ):
        dataclasses.replace(limit, limit=60 << 20)
    with pytest.raises(ValueError, match="learning merges from the 7 distinct pretokens"):
        limit.check_words(7, 10**9)
    assert resident_bytes() > 10 << 20


def test_tables_count_from_the_middle_of_a_block():
    text = b"one two three four"
    boundaries = np.array([[at, at, DOCUMENT_END] for at in (3, 13)])
    block = Block(text, boundaries, str, consumed=11)
    tables = Tables(find_pattern("gpt2"))
    assert tables.count((block, 7)) == 11
    assert dict(items(*tables.added_up(1).words())) == {b" three": 1, b" four": 1}


def test_bad_arguments():
    for options in ({"capacity": 0}, {"long_bytes": 0}):
        with pytest.raises(ValueError, match="must be at least 1"):
            PretokenCounter(**options)
    with pytest.raises(ValueError, match="starts must begin with 0, end with"):
        records(np.zeros(3, np.uint8), np.array([0, 2]), np.array([1]))
    with pytest.raises(ValueError, match="entries 4:0 of 0"):
        PretokenCounter().words(4)


@pytest.mark.parametrize(
    ("expected", "message"),
    [
        ({"words": 3}, "it has 2 words, not 3"),
        ({"words": 1}, "it has 2 words, not 1"),
        ({"cells": 3}, r"its words take \d+ cells, not 3"),
    ],
)
def test_a_run_with_other_words_than_its_state_lists(expected, message):
    content = bytes(records(*arrays({b"ab": 1, b"cd": 2})))

    def words(**listed):
        reader = RunReader(io.BytesIO(content), "a run", len(content), zlib.crc32(content), 1, **listed)
        return items(*MergedRuns([reader]).words(10))

    assert words(words=2) == words() == [(b"ab", 1), (b"cd", 2)]
    with pytest.raises(ValueError, match=f"a run is damaged: {message}"):
        words(**expected)
