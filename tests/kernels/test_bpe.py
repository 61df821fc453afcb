"""The merge kernel by itself: as jitted functions, compiled in this process, and compiled ahead of time."""

import ctypes
import functools
import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit

import fastlm
from fastlm.encoding import _merge_table, _state
from fastlm.encoding._merge_table import MergeTable
from fastlm.kernels import _compiled, merge
from fastlm.kernels import bpe as kernel
from tests import texts
from tests.reference import bpe


def test_kernel_and_driver_agree_on_the_least_scratch():
    assert kernel.SCRATCH_WORDS == _state.SCRATCH_WORDS


def test_a_lane_tells_the_last_rank_from_none():
    last = _merge_table.MAX_MERGES - 1
    assert kernel.rank_at(np.uint32(last), np.uint64(63)) == kernel.NO_RANK - 1
    assert kernel.rank_at(kernel.NONE, np.uint64(0)) == kernel.NO_RANK


def table_of(vocabulary) -> MergeTable:
    v = vocabulary
    return MergeTable(v.merge_left, v.merge_right, v.merge_new, v.byte_ids)


def tables_of(table: MergeTable) -> kernel.Tables:
    """What the jitted functions take."""
    arrays = (np.array(array) for array in (table.byte_ids, table.byte_pairs, table.slots, table.merges))
    return kernel.Tables(*arrays, *map(np.uint64, (table.shift, table.multiplier, table.row_bits)))


POINTER, INT64 = ctypes.c_void_p, ctypes.c_int64
MERGE = ctypes.CFUNCTYPE(INT64, POINTER, POINTER, INT64, POINTER, POINTER, INT64)
MERGE_BATCH = ctypes.CFUNCTYPE(INT64, POINTER, POINTER, POINTER, INT64, POINTER, POINTER, POINTER)


@functools.cache
def functions() -> dict[str, tuple[Any, Any]]:
    """`merge` and `merge_batch` compiled in this process, and ahead of time for each instruction set here."""
    addresses = {isa: _compiled.kernel_addresses(isa) for isa in _compiled.supported_isas()}
    addresses["jit"] = {name: kernel.compiled(name).address for name in kernel.FUNCTIONS}
    return {isa: (MERGE(each["merge"]), MERGE_BATCH(each["merge_batch"])) for isa, each in addresses.items()}


def test_the_environment_variable_compiles_in_the_process(monkeypatch):
    monkeypatch.delenv("FASTLM_JIT", raising=False)
    ahead = merge.merge_kernel.__wrapped__()
    monkeypatch.setenv("FASTLM_JIT", "1")
    found = merge.merge_kernel.__wrapped__()
    addresses = [{name: getattr(kind, name) for name in kernel.FUNCTIONS} for kind in (found, ahead)]
    assert found.isa == "jit"
    assert addresses[0] == {name: kernel.compiled(name).address for name in kernel.FUNCTIONS}
    assert addresses[1] == _compiled.kernel_addresses()
    table = table_of(fastlm.train_bpe(["ab ab"], 257, []).vocabulary)
    assert merged_by(MERGE(found.merge), b"ab" * 100, table, kernel.SCRATCH_WORDS) == [256] * 100


def merged(pretoken: bytes, table: MergeTable, words: int = kernel.SCRATCH_WORDS) -> list[int]:
    """Ids of a pretoken, which all compiled kernels give, alone and in a batch."""
    found = {isa: merged_by(merge, pretoken, table, words) for isa, (merge, _) in functions().items()}
    assert all(ids == found["jit"] for ids in found.values()), found
    if len(pretoken) <= kernel.WIDTH:
        assert merged_together([pretoken], table) == [found["jit"]]
    return found["jit"]


def merged_by(function: Any, pretoken: bytes, table: MergeTable, words: int) -> list[int]:
    text = np.frombuffer(pretoken, np.uint8)
    ids = np.full(len(pretoken) + 1, 77, np.uint32)
    scratch = np.full(words + 512, 77, np.uint64)
    n = function(table.address, text.ctypes.data, len(text), ids.ctypes.data, scratch.ctypes.data, words)
    assert ids[-1] == 77
    assert (scratch[words:] == 77).all()
    return merged_by(function, pretoken, table, -n) if n < 0 else ids[:n].tolist()


def merged_together(pretokens: list[bytes], table: MergeTable) -> list[list[int]]:
    """Ids of each pretoken of a batch, which all compiled kernels give."""
    found = {isa: merged_together_by(merge_batch, pretokens, table) for isa, (_, merge_batch) in functions().items()}
    assert all(ids == found["jit"] for ids in found.values()), found
    return found["jit"]


def merged_together_by(function: Any, pretokens: list[bytes], table: MergeTable) -> list[list[int]]:
    # the bytes behind a pretoken are arbitrary
    texts = np.full((kernel.BATCH, kernel.WIDTH), 0xA5, np.uint8)
    for row, pretoken in zip(texts, pretokens, strict=False):
        row[: len(pretoken)] = np.frombuffer(pretoken, np.uint8)
    lengths = np.zeros(kernel.BATCH, np.int64)
    lengths[: len(pretokens)] = [len(pretoken) for pretoken in pretokens]
    ids = np.full((kernel.BATCH + 1, kernel.WIDTH), 77, np.uint32)
    n_ids = np.full(kernel.BATCH, -1, np.int64)
    scratch = np.full(kernel.SCRATCH_WORDS + 1, 77, np.uint64)
    pointers = [array.ctypes.data for array in (ids, n_ids, scratch)]
    function(table.address, texts.ctypes.data, lengths.ctypes.data, len(pretokens), *pointers)
    assert (ids[len(pretokens) :] == 77).all()
    assert (n_ids[len(pretokens) :] == -1).all()
    assert scratch[-1] == 77
    return [row[:n].tolist() for row, n in zip(ids, n_ids[: len(pretokens)].tolist(), strict=False)]


def settled(pretoken: bytes, table: MergeTable) -> list[int]:
    """The same by the loop with a heap."""
    symbols = np.empty(len(pretoken), np.uint32)
    scratch = np.empty(3 * len(pretoken), np.uint64)
    kernel.settle_with_heap(np.frombuffer(pretoken, np.uint8), 0, len(pretoken), tables_of(table), scratch, symbols)
    return symbols[symbols != 2**32 - 1].tolist()


def by_windows(pretoken: bytes, table: MergeTable, window: int) -> list[int] | None:
    """The same by windows of this size, or None where that fails."""
    ids = np.empty(len(pretoken), np.uint32)
    scratch = np.empty(4 * window, np.uint64)
    text = np.frombuffer(pretoken, np.uint8)
    n = kernel.merge_by_windows(text, len(pretoken), tables_of(table), ids, window, scratch)
    return None if n < 0 else ids[:n].tolist()


@pytest.fixture(scope="module")
def table(trained):
    return table_of(trained.vocabulary)


@settings(max_examples=max(1, settings.default.max_examples // 4))
@given(st.one_of(st.binary(min_size=1, max_size=150), texts.strings().filter(bool).map(str.encode)))
def test_both_merge_loops_do_what_the_reference_does(trained, table, pretoken):
    expected = reference_ids(pretoken, trained)
    assert merged(pretoken, table) == settled(pretoken, table) == expected


SHORT = st.one_of(
    st.binary(min_size=1, max_size=kernel.WIDTH),
    st.text("abe th\u00e9", min_size=1, max_size=8).map(lambda text: text.encode()[: kernel.WIDTH]),
)


@given(st.lists(SHORT, min_size=1, max_size=kernel.BATCH))
def test_a_batch_has_the_ids_of_each_pretoken(trained, table, pretokens):
    assert merged_together(pretokens, table) == [reference_ids(pretoken, trained) for pretoken in pretokens]


def test_a_batch_with_buckets_that_are_full(monkeypatch):
    """Searches that continue in the next bucket, and rows whose hash is alike."""
    letters = [bytes([byte]) for byte in b"abcdefghijklmnopqrstuvwxyz"]
    pairs = [(first, second) for first in letters for second in letters]
    tokens = [bytes([byte]) for byte in range(256)] + [first + second for first, second in pairs]
    v = fastlm.Tokenizer(dict(enumerate(tokens)), pairs).vocabulary
    monkeypatch.setattr(_merge_table, "MAX_LOAD", 0.97)
    monkeypatch.setattr(_merge_table, "MAX_FULL_BUCKETS", 10_000)
    table = table_of(v)
    slots = table.slots.reshape(-1, 8)
    assert (slots != 0).all(axis=1).any()
    words = [bytes(random.Random(seed).choices(b"abcdefghijklmnopqrstuvwxyz", k=1 + seed % 16)) for seed in range(640)]
    rank_of = {pair: rank for rank, pair in enumerate(pairs)}
    id_of = {token: token_id for token_id, token in enumerate(tokens)}
    for start in range(0, len(words), kernel.BATCH):
        batch = words[start : start + kernel.BATCH]
        expected = [[id_of[t] for t in bpe.merge(word, rank_of)] for word in batch]
        assert merged_together(batch, table) == expected
        assert [merged(word, table) for word in batch] == expected


def test_pairs_of_tokens_in_the_bucket_after_a_full_one(monkeypatch):
    """Pairs of bytes have a table of their own, so these merges are of a longer token and a letter."""
    letters = [bytes([byte]) for byte in b"abcdefgh"]
    pairs = [(first, second) for first in letters for second in letters]
    thirds = [bytes([byte]) for byte in b"abcdefghijklmn"]
    pairs += [(first + second, third) for first, second in pairs[:64] for third in thirds]
    tokens = [*(bytes([byte]) for byte in range(256)), *(left + right for left, right in pairs)]
    tokenizer = fastlm.Tokenizer(dict(enumerate(tokens)), pairs)
    monkeypatch.setattr(_merge_table, "MAX_LOAD", 0.97)
    monkeypatch.setattr(_merge_table, "MAX_FULL_BUCKETS", 10_000)
    table = table_of(tokenizer.vocabulary)
    assert (table.slots.reshape(-1, 8) != 0).all(axis=1).any()
    for left, right in pairs:
        for pretoken in (left + right, left + right + b"a", (left + right) * 30):
            assert merged(pretoken, table) == settled(pretoken, table) == reference_ids(pretoken, tokenizer)


def reference_ids(pretoken: bytes, tokenizer) -> list[int]:
    id_of = {token: token_id for token_id, token in tokenizer.vocab.items()}
    rank_of = {pair: rank for rank, pair in enumerate(tokenizer.merges)}
    return [id_of[token] for token in bpe.merge(pretoken, rank_of)]


@pytest.mark.parametrize("length", [1, 2, 15, 16, 17, 31, 32, 33, 63, 64, 65, 66])
def test_every_length_at_which_the_loop_changes(trained, table, length):
    rng = random.Random(length)
    for alphabet in (b"a", b"ab", b"the ", bytes(range(256))):
        for _ in range(20):
            pretoken = bytes(rng.choices(alphabet, k=length))
            assert merged(pretoken, table) == reference_ids(pretoken, trained)


def test_one_token_that_is_longer_than_a_window():
    """Windows of the whole pretoken, which need more scratch than there is at first."""
    tokens = [bytes([byte]) for byte in range(256)] + [b"a" * (2 << k) for k in range(8)]
    merges = [(b"a" * (1 << k), b"a" * (1 << k)) for k in range(8)]
    tokenizer = fastlm.Tokenizer(dict(enumerate(tokens)), merges)
    table = table_of(tokenizer.vocabulary)
    for length in (128, 192, 193, 200, 255, 256, 257, 300, 512, 600):
        assert merged(b"a" * length, table) == reference_ids(b"a" * length, tokenizer)


def test_windows_that_differ_in_their_last_byte(trained, table):
    """A window that repeats the one before is merged once."""
    for period in ("a", "ab", "the ", "abcde"):
        for length in range(100, 240, 7):
            for last in ("", "z", "e"):
                pretoken = ((period * length)[: length - len(last)] + last).encode()
                assert merged(pretoken, table) == settled(pretoken, table) == reference_ids(pretoken, trained)


@given(st.integers(0, 2**32 - 1))
def test_random_merges_in_any_order(seed):
    """Unlike those of a training, so that an entry of the heap is often old, and its pair has another rank by then."""
    rng = random.Random(seed)
    tokens = [bytes([byte]) for byte in range(256)]
    merges: list[tuple[bytes, bytes]] = []
    for _ in range(40):
        left, right = (rng.choice([b"a", b"b", *tokens[256:]]) for _ in range(2))
        if left + right not in tokens and len(left + right) < 8:
            tokens.append(left + right)
            merges.append((left, right))
    rng.shuffle(merges)
    tokenizer = fastlm.Tokenizer(dict(enumerate(tokens)), merges)
    made = table_of(tokenizer.vocabulary)
    pretoken = bytes(rng.choices(b"ab", k=rng.choice([5, 16, 40, 64])))
    assert settled(pretoken, made) == merged(pretoken, made) == reference_ids(pretoken, tokenizer)


def test_long_runs(trained, table):
    rng = random.Random(1)
    for text in ("a" * 3000, "ab" * 1500, "".join(rng.choices("abcd", k=3000)), " " * 3000):
        expected = bpe.encode(text, trained.vocab, trained.merges, (), r"(?s).+")
        assert merged(text.encode(), table) == settled(text.encode(), table) == expected


@given(st.integers(0, 2**32 - 1), st.integers(65, 1500), st.sampled_from(["ab", "the and of", "aeiou nrst", None]))
def test_windows_give_the_ids_of_the_whole_or_fail(trained, table, seed, length, alphabet):
    rng = random.Random(seed)
    if alphabet is None:
        text = rng.randbytes(length)
    else:  # repeats of some pieces, and then others
        pieces = ["".join(rng.choices(alphabet, k=rng.randint(1, 9))) for _ in range(rng.randint(1, 4))]
        text = "".join(rng.choices(pieces, k=length)).encode()[:length]
    whole = settled(text, table)
    assert merged(text, table) == whole
    for window in (64, 80, 100, 300, length):
        assert by_windows(text, table, window) in (whole, None)
    assert by_windows(text, table, length) == whole


def test_windows_fail_where_a_token_is_as_long_as_they_are():
    """Then a larger one is taken."""
    tokens = [b"-" * 2**k for k in range(1, 9)]
    left = [b"-" * 2**k for k in range(8)]
    vocab = {i: bytes([i]) for i in range(256)} | {256 + k: token for k, token in enumerate(tokens)}
    tokenizer = fastlm.Tokenizer(vocab, list(zip(left, left, strict=True)))
    dashes = b"-" * 5000
    assert by_windows(dashes, table_of(tokenizer.vocabulary), 64) is None
    assert by_windows(dashes, table_of(tokenizer.vocabulary), 4096) is not None
    # 5000 = 19 * 256 + 128 + 8
    assert merged(dashes, table_of(tokenizer.vocabulary)) == [263] * 19 + [262, 258]


@given(
    st.lists(st.tuples(st.integers(0, 300), st.integers(0, 300)), unique=True, max_size=600),
    st.integers(0, 2**32 - 1),
)
def test_pairs_are_found_and_others_are_not(pairs, seed):
    """Ids of merges are any; the loop does not care whether they come in order."""
    rng = np.random.default_rng(seed)
    left, right = np.array(pairs, np.uint32).reshape(-1, 2).T
    new = rng.integers(0, 2**32 - 1, len(pairs)).astype(np.uint32)
    made = MergeTable(left, right, new, np.arange(256, dtype=np.uint32))
    tables = tables_of(made)
    rank_of = {pair: rank for rank, pair in enumerate(pairs)}
    for pair in [*pairs, *zip(*rng.integers(0, 301, (2, 50)).tolist(), strict=True)]:
        rank = find_rank(tables, *map(np.uint32, pair))
        assert rank == rank_of.get(tuple(pair), 2**32 - 1)
        if pair in rank_of:
            assert made.merges[2 * rank + 3] == new[rank]
        if max(pair) < 256:
            assert made.byte_pairs[pair[0] << 8 | pair[1]] == rank


@njit
def find_rank(tables, left, right):
    return kernel.rank_of(tables, left, right)


def test_a_pair_given_twice_is_refused():
    ids = np.array([1, 2, 1], np.uint32)
    with pytest.raises(ValueError, match="merge 2 repeats merge 0: ids 1, 1"):
        MergeTable(ids, ids, ids, np.arange(256, dtype=np.uint32))


def test_pairs_made_to_collide_are_refused(monkeypatch):
    """With a multiplier of 0 all pairs have the same hash, as if someone had found 64 * 8 that have."""
    ids = np.arange(2000, dtype=np.uint32)
    monkeypatch.setattr(_merge_table, "MULTIPLIERS", (0, 0))
    with pytest.raises(ValueError, match="collide under every hash"):
        MergeTable(ids, ids, ids, ids[:256])
    monkeypatch.setattr(_merge_table, "MULTIPLIERS", (0, 0x9E3779B97F4A7C15))
    assert MergeTable(ids, ids, ids, ids[:256]).multiplier == 0x9E3779B97F4A7C15
