"""What the encoder does with arguments that would be unsafe in native code, and with its states after errors."""

from dataclasses import replace

import numpy as np
import pytest

import fastlm
from fastlm.compat.tiktoken.splitting import OnePretoken
from fastlm.encoding import _batch, _encoder, _merge_table, _pretoken_cache, _state, _tables
from fastlm.encoding.build import encoder_of
from fastlm.kernels.merge import merge_kernel
from fastlm.pretokenize.patterns import Pattern
from fastlm.text._token_finder import TokenFinder
from fastlm.vocabulary.vocabulary import Rules, vocabulary_from_tokens

END = "<|endoftext|>"
BYTES = {i: bytes([i]) for i in range(256)}
TEXT = b"hello world"


class LyingBytes(bytes):
    def __len__(self):
        return 1 << 40


class LyingStr(str):
    def __len__(self):
        return 1 << 40


class LyingList(list):
    def __init__(self, items, length):
        super().__init__(items)
        self.length = length

    def __len__(self):
        return self.length


class LyingArray(np.ndarray):
    def __len__(self):
        return 1


@pytest.mark.parametrize(
    "kind",
    [
        *(_encoder.Encoder, _batch.Batch, _merge_table.MergeTable, _pretoken_cache.PretokenCache),
        *(_tables.EncodeTables, _state.EncodeState, _state.IdSink),
    ],
)
def test_no_object_exists_without_its_memory(kind):
    with pytest.raises(TypeError):
        kind.__new__(kind)


def test_an_encoder_is_not_initialised_twice(trained):
    encoder = trained._encoder
    expected = encoder.encode("the end")
    encoder.__init__(fastlm.Tokenizer(BYTES, []).vocabulary, merge_kernel(), np.empty(0, np.int64))
    assert encoder.encode("the end") == expected


# --- boundaries ---


@pytest.mark.parametrize(
    ("rows", "number"),
    [
        ([[5, -(1 << 30), 3]], 0),
        ([[5, 1 << 30, 3]], 0),
        ([[-1, 3, 3]], 0),
        ([[5, 4, 3]], 0),
        ([[12, 12, 3]], 0),
        ([[1 << 40, 1 << 40, 3]], 0),
        ([[-(1 << 63), 3, 3]], 0),
        ([[0, 5, 3], [4, 6, 3]], 1),
        ([[6, 7, 3], [0, 1, 3]], 1),
        ([[0, 1, 3], [1, 1, 1000]], 1),
        ([[0, 1, 1 << 40]], 0),
        ([[0, 1, -2]], 0),
        ([[0, 1, -(1 << 63)]], 0),
    ],
)
def test_boundaries_that_are_out_of_range(trained, rows, number):
    boundaries, out = np.array(rows, np.int64), np.empty(50, np.uint32)
    row = rf"boundary {number} is \({rows[number][0]}, {rows[number][1]}, {rows[number][2]}\): "
    normalizing = vocabulary_from_tokens(BYTES, [], [], trained.vocabulary.pattern, Rules(normalization="NFC"))
    encoder = trained._encoder
    calls = [
        lambda: trained.encode_between(TEXT, boundaries, out),
        lambda: fastlm.Tokenizer.from_vocabulary(normalizing).encode_between(TEXT, boundaries, out),
        lambda: encoder.encode(TEXT, boundaries),
        lambda: encoder.encode_to_numpy(TEXT, boundaries),
        lambda: encoder.encode_upto(TEXT, 3, boundaries),
        lambda: encoder.count(TEXT, boundaries),
        lambda: encoder.encode_batch_flat([b"a b", TEXT], [None, boundaries]),
        lambda: in_batch(encoder, [b"a b", TEXT], [None, boundaries]),
    ]
    for call in calls:
        with pytest.raises(ValueError, match=row):
            call()
    # an id that the vocabulary leaves out
    sparse = fastlm.Tokenizer(BYTES | {1000: b"ab"}, [(b"a", b"b")])
    with pytest.raises(ValueError, match=r"boundary 0 is \(1, 2, 999\): no token has id 999"):
        sparse.encode_between(TEXT, np.array([[1, 2, 999]]), out)


def in_batch(encoder, batch_texts, boundaries):
    with _batch.Batch(encoder, batch_texts, boundaries, 2) as batch:
        batch.encode(0)
        batch.gather()
        batch.copy()
        return batch.arrays()


@pytest.mark.parametrize(
    ("boundaries", "error", "message"),
    [
        ([[0, 1, 3]], TypeError, "boundaries must be an int64 array .*, got list"),
        (None, TypeError, "got NoneType"),
        (TokenFinder([b"a"]), TypeError, "got TokenFinder"),
        (np.zeros((1, 3), np.int32), ValueError, r"got int32 \(1, 3\)"),
        (np.zeros((1, 3), np.float64), ValueError, r"got float64 \(1, 3\)"),
        (np.zeros((1, 4), np.int64), ValueError, r"got int64 \(1, 4\)"),
        (np.zeros((1, 2), np.int64), ValueError, r"got int64 \(1, 2\)"),
        (np.zeros(3, np.int64), ValueError, r"got int64 \(3,\)"),
        (np.zeros((1, 3), ">i8"), ValueError, "got >i8"),
    ],
)
def test_boundaries_of_another_type(trained, boundaries, error, message):
    with pytest.raises(error, match=message):
        trained.encode_between(TEXT, boundaries, np.empty(5, np.uint32))


def test_boundaries_of_any_layout(trained):
    rows = np.array([[0, 1, 3], [4, 4, -1], [9, 11, 5]])
    expected = [array.tolist() for array in trained.encode_between(TEXT, rows, np.empty(50, np.uint32))]
    for same in (np.asfortranarray(rows), rows[::-1][::-1], rows.view(LyingArray)):
        ids, before = trained.encode_between(TEXT, same, np.empty(50, np.uint32))
        assert [ids.tolist(), before.tolist()] == expected


@pytest.mark.parametrize(
    ("out", "error"),
    [
        (5, TypeError),
        (bytearray(100), TypeError),
        ([1, 2], TypeError),
        (np.empty(10, np.int32), ValueError),
        (np.empty((2, 5), np.uint32), ValueError),
        (np.empty(10, np.uint32)[::2], ValueError),
        (np.empty(10, ">u4"), ValueError),
    ],
)
def test_arrays_that_cannot_take_ids(trained, out, error):
    with pytest.raises(error, match="out must be"):
        trained.encode_between(TEXT, np.empty((0, 3), np.int64), out)
    read_only = np.empty(50, np.uint32)
    read_only.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        trained.encode_between(TEXT, np.empty((0, 3), np.int64), read_only)


@pytest.mark.parametrize("dtype", [np.uint16, np.uint32])
def test_nothing_is_written_behind_an_array_that_is_too_small(trained, dtype):
    text = "the end of the text. " * 2000
    expected = trained.encode(text)
    rows = np.array([[20, 40, 3], [60, 61, -1]])
    for size in (*range(20), 100, 4095, 4096, 4097, len(expected) - 1, len(expected), len(expected) + 1):
        memory = np.full(len(expected) + 5000, 7777, dtype)
        ids, _ = trained.encode_between(text, rows[:0], memory[:size])
        assert ids.tolist() == expected
        assert (memory[size:] == 7777).all()
        trained.encode_between(text, rows, memory[:size])
        assert (memory[size:] == 7777).all()


def test_too_many_merges_are_refused_before_a_table_is_made():
    """No array of this size: 2^26 times the same merge."""
    many = np.broadcast_to(np.uint32(0), 1 << 26)
    with pytest.raises(ValueError, match="too many merges: 67108864, the maximum is 67108863"):
        _merge_table.MergeTable(many, many, many, np.arange(256, dtype=np.uint32))


def test_a_finder_of_ids_that_the_vocabulary_lacks(trained):
    for token_id in (1000, 1 << 40):
        finder = TokenFinder([b"o"], [token_id])
        for call in (trained._encoder.encode, trained._encoder.count, trained._encoder.encode_to_numpy):
            with pytest.raises(ValueError, match=rf"no token has id {token_id}"):
                call("o" * 300, finder)
        with pytest.raises(ValueError, match=rf"no token has id {token_id}"):
            trained._encoder.encode_batch_flat([b"a", b"o"], finder)


# --- lengths ---


@pytest.mark.parametrize("length", [0, 1, 1 << 40])
def test_no_length_that_lies_decides_a_size(trained, length):
    texts = LyingList([LyingStr("the end"), "a b", LyingBytes(b"of it")] * 20, length)
    expected = [trained.encode(text) for text in ["the end", "a b", "of it"] * 20]
    flat = [token_id for ids in expected for token_id in ids]
    for threads in (1, 2):
        assert trained.encode_batch(texts, threads) == expected
        assert trained.encode_batch_flat(texts, threads)[0].tolist() == flat
    assert trained._encoder.encode_batch_flat(texts)[0].tolist() == flat
    assert in_batch(trained._encoder, texts, None)[0].tolist() == flat
    assert trained.encode_batch_padded(texts, 1, pad_id=0)[0].shape[0] == 60
    assert trained.encode_batch_flat(iter(texts), 1)[0].tolist() == flat
    assert trained.encode(LyingStr("the end")) == trained.encode("the end")
    assert trained.encode_upto(LyingBytes(b"the end"), 2) == trained.encode("the end")[:2]


def test_fewer_boundaries_than_texts(trained):
    for call in (trained._encoder.encode_batch_flat, lambda *given: in_batch(trained._encoder, *given)):
        for boundaries in ([], [None], LyingList([None], 3), [None] * 4):
            with pytest.raises(ValueError, match="expected boundaries of 3 texts, got"):
                call(["a", "b", "c"], boundaries)


def test_arguments_of_another_type_are_named(trained):
    with pytest.raises(TypeError, match="out must be an array, got int"):
        trained.encode_to_numpy("a", out=5)
    with pytest.raises(TypeError, match="length must be an int, got float"):
        trained.encode_batch_padded(["a"], pad_id=0, length=1.0)
    with pytest.raises(TypeError, match="pad_id must be an int, got str"):
        trained.encode_batch_padded(["a"], pad_id="0")
    with pytest.raises(TypeError, match="limit must be an int, got float"):
        trained.encode_upto("a", 1.0)
    assert trained.encode_upto("the end", 1 << 100) == trained.encode("the end")
    assert trained.encode_upto("the end", np.int64(1)) == trained.encode("the end")[:1]


def test_a_small_array_takes_no_more_ids_than_it_has_room_for(trained):
    out = np.full(4, 7, np.uint32).view(LyingArray)
    with pytest.raises(ValueError, match=r"out must have one dimension and at least \d+ elements"):
        trained.encode_to_numpy("the end of a text that has more ids", out=out)
    assert out.tolist() == [7] * 4


# --- vocabularies and patterns ---


class BadPattern(Pattern):
    """Returns the ends that it was given."""

    def find_ends(self, text):
        return ENDS[self.splits[0]]


ENDS = {
    "none": np.empty(0, np.int64),
    "short": np.array([1, 3]),
    "long": np.array([3, 12]),
    "falling": np.array([5, 3, 11]),
    "twice": np.array([5, 5, 11]),
    "negative": np.array([-3, 11]),
    "zero": np.array([0, 11]),
}


@pytest.mark.parametrize("name", sorted(ENDS))
def test_a_pattern_whose_ends_are_not_those_of_the_text(trained, name):
    encoder = encoder_of(replace(trained.vocabulary, pattern=BadPattern((name,))))
    for call in (encoder.encode, encoder.count, lambda text: encoder.encode_upto(text, 2)):
        with pytest.raises(ValueError, match="the pattern must return ascending pretoken ends up to 11"):
            call(TEXT)


class Fake:
    """A vocabulary that nothing has checked."""

    def __init__(self, vocabulary, **changes):
        self.__dict__.update({name: getattr(vocabulary, name) for name in vocabulary.__dataclass_fields__} | changes)


def test_vocabularies_that_nothing_has_checked(trained):
    v, none = trained.vocabulary, np.empty(0, np.int64)
    high = v.merge_new.copy()
    high[-1] = 1000
    bad_bytes = v.byte_ids.copy()
    bad_bytes[7] = 5000
    offsets = v.token_offsets.copy()
    offsets[5] = 1 << 40
    for changes, message in [
        ({"merge_new": high}, "merge_new holds id 1000, but the vocabulary has 1000 ids"),
        ({"merge_left": high}, "merge_left holds id 1000"),
        ({"byte_ids": bad_bytes}, "byte_ids holds id 5000"),
        ({"byte_ids": v.byte_ids[:100]}, "byte_ids must have 256 ids, got 100"),
        ({"token_offsets": offsets}, "token offsets must ascend"),
        ({"token_offsets": offsets[:1]}, "token offsets must ascend"),
        ({"merge_left": v.merge_left[:5]}, "merges must have the same length"),
    ]:
        with pytest.raises(ValueError, match=message):
            _encoder.Encoder(Fake(v, **changes), merge_kernel(), none)
    for token_id in (-1, 1000, 1 << 40):
        with pytest.raises(ValueError, match=f"whole token 0 has id {token_id}, which is not in the vocabulary"):
            _encoder.Encoder(v, merge_kernel(), np.array([token_id]))
    with pytest.raises(TypeError):
        _state.EncodeState(None, _pretoken_cache.PretokenCache(16, 16, 16), 0)
    for sizes in ((0, 1, 1), (3, 1, 1), (12, 1, 1), (-16, 1, 1), (16, -1, 0), (16, 0, -1)):
        with pytest.raises(ValueError, match="must"):
            _pretoken_cache.PretokenCache(*sizes)


# --- states ---


def test_a_call_that_raises_gives_its_state_back(trained):
    """Else the next call would make another pretoken cache, which costs as much as 50 KB of text."""
    tokenizer = fastlm.Tokenizer.from_vocabulary(trained.vocabulary)
    encoder, good = tokenizer._encoder, "the end"
    expected = tokenizer.encode(good)
    rows, out = np.array([[0, 1, 5000]]), np.empty(5, np.uint32)
    without_bytes = fastlm.Tokenizer.from_vocabulary(
        replace(trained.vocabulary, pattern=BadPattern(("short",)))
    )._encoder
    calls = [
        lambda bad: encoder.encode(bad),
        lambda bad: encoder.encode_to_numpy(bad),
        lambda bad: encoder.count(bad),
        lambda bad: encoder.encode_upto(bad, 1 << 40),
        lambda bad: encoder.encode_upto(good, -1),
        lambda bad: encoder.encode_batch_flat([good, bad]),
        lambda bad: encoder.encode_between(bad, rows[:0], out),
        lambda bad: encoder.encode_between(good, rows, out),
        lambda bad: encoder.encode_between(good, rows, None),
        lambda bad: encoder.encode(good, rows),
        lambda bad: encoder.encode(good, 5),
        lambda bad: in_batch(encoder, [good, bad], None),
        lambda bad: tokenizer.encode_batch([good, bad], 1),
        lambda bad: tokenizer.encode_with_offsets(bad),
        lambda bad: tokenizer.encode_parts([(good, True), (bad, False)]),
        lambda bad: tokenizer.encode(bad, num_threads=2),
    ]
    for call in calls:
        for bad in (b"\xff", b"the \xff", b"the end " * 5000 + b"\xff", None):
            with pytest.raises((ValueError, TypeError)):
                call(bad)
            assert tokenizer.encode(good) == expected
    assert encoder.num_states == 1
    for _ in range(3):
        with pytest.raises(ValueError, match="the pattern must"):
            without_bytes.encode(TEXT)
    assert without_bytes.num_states == 1


def test_a_byte_without_an_id_gives_the_state_back(trained):
    v = trained.vocabulary
    lost = v.byte_ids.copy()
    lost[ord("q")] = 0xFFFFFFFF
    keep = np.flatnonzero((v.merge_left != v.byte_ids[ord("q")]) & (v.merge_right != v.byte_ids[ord("q")]))
    merges = {name: getattr(v, name)[keep] for name in ("merge_left", "merge_right", "merge_new")}
    encoder = _encoder.Encoder(Fake(v, byte_ids=lost, **merges), merge_kernel(), np.empty(0, np.int64))
    for call in (encoder.encode, encoder.count, lambda text: encoder.encode_upto(text, 9)):
        for _ in range(3):
            with pytest.raises(ValueError, match="byte 2 of the text, 0x71, has no token"):
                call("a qb")
            assert encoder.encode("a b")
    assert encoder.num_states == 1


def test_a_batch_used_in_another_order(trained):
    encoder = trained._encoder
    with _batch.Batch(encoder, ["a b"] * 9, None, 4) as batch:
        for call in (batch.gather, batch.copy, batch.arrays, batch.lists):
            with pytest.raises(RuntimeError, match="must be called first"):
                call()
        for number in (-1, batch.num_threads, 1 << 40):
            with pytest.raises(ValueError, match="thread must be"):
                batch.encode(number)
        batch.encode(0)
        with pytest.raises(RuntimeError, match="must be called once"):
            batch.encode(0)
        with pytest.raises(RuntimeError, match="must be called first"):
            batch.copy()
        batch.gather()
        with pytest.raises(RuntimeError, match="the results once"):
            batch.gather()
        batch.copy()
        assert len(batch.arrays()[0]) == 9 * len(trained.encode("a b"))
    for call in (batch.gather, batch.copy, batch.arrays, batch.lists, lambda: batch.encode(0)):
        with pytest.raises(RuntimeError, match="must be called"):
            call()
    with pytest.raises(ValueError, match="num_threads must be at least 1, got 0"):
        _batch.Batch(encoder, ["a"], None, 0)
    with pytest.raises(TypeError, match="text must be str"):
        _batch.Batch(encoder, ["a", 5], None, 2)


def test_bytes_that_keys_take_for_padding():
    """0xFF inverted is the padding of a key, and 0xFE the mark of a long one: such pretokens are not cached."""
    vocab = {i: bytes([i]) for i in range(256)} | {256: b"ab", 257: b"a\xff", 258: b"b\xfe"}
    merges = [(b"a", b"b"), (b"a", b"\xff"), (b"b", b"\xfe")]
    vocabulary = vocabulary_from_tokens(vocab, merges, (), OnePretoken(("",)))
    encoder = encoder_of(vocabulary)
    ends = [b"", b"\xff", b"\xff\xff", b"\xfe", b"\xfe\xff", b"\xff\xfe"]
    counts = (1, 7, 8, 14, 15, 16, 20, 300)
    pretokens = [start * n + end for start in (b"a", b"b", b"ab", b"x") for n in counts for end in ends]
    for _ in range(3):  # with and without entries of the others
        for pretoken in pretokens:
            assert b"".join(vocab[token_id] for token_id in encoder.encode(pretoken)) == pretoken
            assert encoder.encode(pretoken) == encoder_of(vocabulary).encode(pretoken)
        pretokens.reverse()


def test_a_cache_that_grows_keeps_the_ids_of_long_pretokens():
    """Pretokens of more ids than an entry has, before and after the cache has doubled several times."""
    tokenizer = fastlm.Tokenizer(BYTES, [])
    text = "".join(f" {number}" for number in range(1_000_000, 1_400_000))
    for _ in range(2):
        assert tokenizer.encode_to_numpy(text).astype(np.uint8).tobytes() == text.encode()
