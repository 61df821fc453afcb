"""What the methods of Tokenizer do beyond encode(text): options, arrays, batches, parts, first ids, threads."""

import itertools
import random
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastlm
from fastlm.encoding import _batch
from fastlm.pretokenize import text_splitter
from fastlm.vocabulary.vocabulary import AddedToken, Rules, vocabulary_from_tokens
from tests import texts

END, USER = "<|endoftext|>", "<|user|>"
PARTS = [END, USER, "<|", "|>", "a b", " the", "é", "\n", "1"]
with_special = st.lists(st.sampled_from(PARTS), max_size=12).map("".join)


@pytest.fixture(scope="module")
def framed(trained):
    """The trained vocabulary, with ids that begin and end a text."""
    v = trained.vocabulary
    special = trained.special_tokens
    rules = Rules(begin=(special[USER],), end=(special[END], special[END]))
    return fastlm.Tokenizer.from_vocabulary(
        vocabulary_from_tokens(v.tokens, v.merges, [AddedToken(*item) for item in special.items()], v.pattern, rules)
    )


@given(with_special)
def test_special_tokens_are_ids_or_text_or_refused(trained, text):
    special = set(trained.special_tokens.values())
    ordinary = trained.encode_ordinary(text)
    assert ordinary == trained.encode(text, on_special="text")
    assert special.isdisjoint(ordinary)
    assert trained.decode(ordinary) == text
    found = [token for token in (END, USER) if token in text]
    assert special.isdisjoint(trained.encode(text)) == (not found)
    assert trained.count(text, on_special="text") == len(ordinary)
    assert trained.encode_upto(text, 5, on_special="text") == ordinary[:5]
    assert list(trained.encode_iterable(iter(text), on_special="text")) == ordinary
    assert trained.encode_batch([text], on_special="text") == [ordinary]
    assert trained.encode_batch_flat([text], on_special="text")[0].tolist() == ordinary
    assert trained.encode_to_numpy(text, on_special="text").tolist() == ordinary
    assert trained.encode_with_offsets(text, on_special="text")[0].tolist() == ordinary
    calls = [
        lambda: trained.encode(text, on_special="raise"),
        lambda: trained.encode_batch_flat([text], on_special="raise")[0].tolist(),
        lambda: list(trained.encode_iterable(iter(text), on_special="raise")),
        lambda: trained.encode_with_offsets(text, on_special="raise")[0].tolist(),
    ]
    for call in calls:
        if found:
            with pytest.raises(ValueError, match=r"the text has the special token '<\|\w+\|>' at byte \d+"):
                call()
        else:
            assert call() == ordinary


def test_unknown_options_are_refused(trained):
    for call in (trained.encode, trained.count, trained.encode_to_numpy, trained.encode_with_offsets):
        with pytest.raises(ValueError, match="on_special must be 'token', 'text' or 'raise', got 'ignore'"):
            call("a", on_special="ignore")
    with pytest.raises(ValueError, match="on_special must be"):
        trained.encode_batch_flat(["a"], on_special="ignore")


@given(st.lists(st.tuples(with_special, st.booleans()), max_size=6))
def test_no_special_token_comes_of_untrusted_text(trained, parts):
    ids = trained.encode_parts(parts)
    trusted = sum(text.count(END) + text.count(USER) for text, trust in parts if trust)
    assert sum(token_id in trained.special_tokens.values() for token_id in ids) == trusted
    assert trained.decode(ids) == "".join(text for text, _ in parts)
    if all(trust for _, trust in parts) and not any("<|" in text[-12:] for text, _ in parts):
        assert ids == trained.encode("".join(text for text, _ in parts))
    if not any(trust for _, trust in parts):
        assert ids == trained.encode_ordinary("".join(text for text, _ in parts))


def test_parts_of_bytes_and_of_wrong_type(trained):
    assert trained.encode_parts([(b"a ", True), ("b", False)]) == trained.encode("a b")
    assert trained.encode_parts([]) == []
    with pytest.raises(TypeError, match="text must be str or bytes, got int"):
        trained.encode_parts([(1, True)])
    with pytest.raises(ValueError, match="byte 1 is not well-formed"):
        trained.encode_parts([(b"a\xff", True)])


@given(st.lists(texts.strings(12), max_size=4).map("".join), st.integers(0, 60))
def test_the_first_ids(trained, text, limit):
    assert trained.encode_upto(text, limit) == trained.encode(text)[:limit]


def test_the_first_ids_of_a_long_text(trained):
    text = (texts.DOCUMENTS[0] + END) * 40
    ids = trained.encode(text)
    for limit in (0, 1, 1000, 16_384, 16_385, 40_000, len(ids) - 1, len(ids), len(ids) + 1, 1 << 40):
        assert trained.encode_upto(text, limit) == ids[:limit]
    run = "x" * 300_000
    assert trained.encode_upto(run, 10) == trained.encode(run)[:10]
    with pytest.raises(ValueError, match="limit must not be negative, got -1"):
        trained.encode_upto("a", -1)


def test_a_list_of_more_ids_than_are_listed_at_once(trained):
    text = b"0 1\n" * 1_500_000
    ids = trained.encode(text)
    assert len(ids) > 1 << 22
    assert ids == trained.encode_to_numpy(text).tolist()
    ids.append(-1)
    assert ids[-2:] == [trained.encode("\n")[0], -1]


def test_ids_around_a_text(trained, framed):
    begin, end = framed.special_tokens[USER], framed.special_tokens[END]
    for text in ("", "a b", f"{END}a"):
        ids = trained.encode(text)
        expected = [begin, *ids, end, end]
        assert framed.encode(text) == ids
        assert framed.encode(text, add_special_tokens=True) == expected
        assert framed.encode_to_numpy(text, add_special_tokens=True).tolist() == expected
        assert framed.encode_batch([text, text], add_special_tokens=True) == [expected] * 2
    for threads in (1, 2):
        flat, offsets = framed.encode_batch_flat(["a", "", "a b c"] * 20, threads, add_special_tokens=True)
        assert [flat[a:b].tolist() for a, b in itertools.pairwise(offsets)] == [
            framed.encode(text, add_special_tokens=True) for text in ["a", "", "a b c"] * 20
        ]


# --- arrays ---


def test_arrays_of_the_type_and_in_the_place_asked_for(trained):
    text = texts.DOCUMENTS[0]
    ids = trained.encode(text)
    for dtype in (np.uint16, np.uint32):
        array = trained.encode_to_numpy(text, dtype=dtype)
        assert array.dtype == dtype
        assert array.tolist() == ids
    for dtype in (np.uint16, np.int32, np.int64):
        out = np.full(len(ids) + 5, 7, dtype)
        filled = trained.encode_to_numpy(text, out=out)
        assert filled.base is out
        assert filled.tolist() == ids
        assert out[len(ids) :].tolist() == [7] * 5
    with pytest.raises(ValueError, match=rf"at least {len(ids)} elements"):
        trained.encode_to_numpy(text, out=np.empty(len(ids) - 1, np.uint32))
    with pytest.raises(ValueError, match="out must have one dimension"):
        trained.encode_to_numpy(text, out=np.empty((1, 10_000), np.uint32))
    for dtype in (np.uint8, np.float32):
        with pytest.raises(ValueError, match="does not hold all ids of the vocabulary, which are up to 999"):
            trained.encode_to_numpy(text, dtype=dtype)


@given(st.lists(texts.strings(10), max_size=6), st.none() | st.integers(0, 12), st.sampled_from(["left", "right"]))
def test_padded_rows(trained, batch, length, side):
    rows, mask = trained.encode_batch_padded(batch, 1, pad_id=999, length=length, side=side)
    lists = [trained.encode(text) for text in batch]
    width = max(map(len, lists), default=0) if length is None else length
    for row, kept, ids in zip(rows.tolist(), mask.tolist(), lists, strict=True):
        if side == "right":
            shown = ids[:width]
            assert row == shown + [999] * (width - len(shown))
            assert kept == [True] * len(shown) + [False] * (width - len(shown))
        else:
            shown = ids[-width:] if width else []
            assert row == [999] * (width - len(shown)) + shown
            assert kept == [False] * (width - len(shown)) + [True] * len(shown)
    assert rows.shape == mask.shape == (len(batch), width)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pad_id": -1}, "pad_id"),
        ({"pad_id": 0, "side": "top"}, "side must be"),
        ({"pad_id": 0, "length": -1}, "length"),
    ],
)
def test_bad_padding(trained, options, message):
    with pytest.raises(ValueError, match=message):
        trained.encode_batch_padded(["a"], **options)


# --- threads ---


@pytest.mark.parametrize("threads", [1, 2, 5, None])
def test_a_text_cut_for_threads_has_the_ids_of_the_whole(trained, monkeypatch, threads):
    monkeypatch.setattr(text_splitter, "MIN_CHUNK_BYTES", 64)
    monkeypatch.setattr(_batch, "SMALLEST_CHUNK", 8)
    rng = random.Random(2)
    for _ in range(20):
        text = "".join(texts.random_string(rng) + rng.choice([END, USER, "<|", " "]) for _ in range(200))
        ids = trained.encode(text)
        assert trained.encode(text, num_threads=threads) == ids
        assert trained.encode_to_numpy(text, num_threads=threads).tolist() == ids
        assert trained.count(text, num_threads=threads) == len(ids)
        ordinary = trained.encode_ordinary(text)
        assert trained.encode(text, on_special="text", num_threads=threads) == ordinary
        assert trained.encode_ordinary(text, num_threads=threads) == ordinary
        ids_at, spans = trained.encode_with_offsets(text, num_threads=threads)
        assert ids_at.tolist() == ids
        assert spans.tolist() == trained.encode_with_offsets(text)[1].tolist()
        parts = [(text, True), (text, False)]
        assert trained.encode_parts(parts, num_threads=threads) == trained.encode_parts(parts)
        assert trained.decode(ids, num_threads=threads) == text
    assert trained.encode("", num_threads=threads) == []
    assert trained.count("", num_threads=threads) == 0
    # nowhere to cut
    assert trained.encode("a" * 5000, num_threads=threads) == trained.encode("a" * 5000)


def test_decoding_a_batch(trained):
    batch = [trained.encode(text) for text in texts.DOCUMENTS]
    for threads in (1, 3, None):
        assert trained.decode_batch(batch, threads) == texts.DOCUMENTS
    assert trained.decode_batch([]) == []
    with pytest.raises(KeyError, match="id 99999"):
        trained.decode_batch([[1], [99999]], 2)
    split = trained.encode("é")
    assert len(split) in (1, 2)
    assert trained.decode_batch([[trained.vocabulary.byte_ids[0xC3]]], errors="ignore") == [""]


def test_decoding_may_leave_special_tokens_out(trained):
    ids = trained.encode(f"a{END}b{USER}")
    assert trained.decode(ids, skip_special_tokens=True) == "ab"
    assert trained.decode(np.array(ids), skip_special_tokens=True) == "ab"
    assert trained.decode([], skip_special_tokens=True) == ""


# --- many special tokens ---


def test_ten_thousand_special_tokens():
    special = [f"<|reserved_{n}|>" for n in range(5000)] + [f"word{n} " for n in range(5000)]
    tokenizer = fastlm.Tokenizer({i: bytes([i]) for i in range(256)}, [], special)
    rng = random.Random(1)
    for _ in range(200):
        parts = [rng.choice([*special, "x", "<|reserved_", "word1", "|>"]) for _ in range(20)]
        ids = tokenizer.encode("".join(parts))
        assert tokenizer.decode(ids) == "".join(parts)
        assert sum(token_id >= 256 for token_id in ids) >= sum(part in tokenizer.special_tokens for part in parts)


# --- a text that is cut ---


@given(
    st.lists(st.tuples(texts.strings(10), st.sampled_from(["", END, "xy"]), st.sampled_from([-1, 0, 999])), max_size=8),
    texts.strings(10),
    st.booleans(),
    st.integers(0, 100),
)
def test_ids_between_cuts_and_their_places(trained, parts, last, narrow, capacity):
    text, rows, expected, places = b"", [], [], []
    for part, cut, cut_id in parts:
        text += part.encode()
        expected += trained.encode_ordinary(part)
        rows.append((len(text), len(text) + len(cut), cut_id))
        places.append(len(expected))
        expected += [cut_id] * (cut_id >= 0)
        text += cut.encode()
    cuts = np.array(rows, np.int64).reshape(-1, 3)
    out = np.empty(capacity, np.uint16 if narrow else np.uint32)
    ids, found = trained.encode_between(text + last.encode(), cuts, out)
    assert ids.dtype == out.dtype
    assert (ids.base is out) == (len(ids) <= capacity)
    assert ids.tolist() == expected + trained.encode_ordinary(last)
    assert found.tolist() == places


@pytest.mark.parametrize("dtype", [np.uint16, np.uint32])
def test_more_ids_between_cuts_than_are_foreseen(trained, dtype):
    text = b"\x01" * 400_000 + b"ab" * 200_000 + b"!1" * 150_000
    cuts = np.array([[400_000, 400_000, 3], [800_000, 800_000, -1], [len(text), len(text), 4]])
    parts = [trained.encode(text[a:b]) for a, b in [(0, 400_000), (400_000, 800_000), (800_000, None)]]
    ids, places = trained.encode_between(text, cuts, np.empty(5, dtype))
    assert ids.tolist() == [*parts[0], 3, *parts[1], *parts[2], 4]
    assert places.tolist() == [len(parts[0]), len(parts[0]) + 1 + len(parts[1]), len(ids) - 1]
    assert trained.count(text) == len(trained.encode(text))


def test_ids_that_a_type_does_not_hold(trained):
    wide = fastlm.Tokenizer({i: bytes([i]) for i in range(256)} | {70_000: b"ab"}, [(b"a", b"b")])
    none = np.empty((0, 3), np.int64)
    with pytest.raises(ValueError, match="uint16 does not hold the ids of 70001 tokens"):
        wide.encode_between(b"ab", none, np.empty(1, np.uint16))
    assert wide.encode_between(b"ab", none, np.empty(1, np.uint32))[0].tolist() == [70_000]
    with pytest.raises(
        ValueError, match=r"out must be a contiguous uint16 or uint32 array with one dimension, got uint8 \(1,\)"
    ):
        trained.encode_between(b"ab", none, np.empty(1, np.uint8))
    normalizing = replace(wide.vocabulary, rules=Rules(normalization="NFC"))
    with pytest.raises(ValueError, match="uint16 does not hold all ids of the vocabulary, which are up to 70000"):
        fastlm.Tokenizer.from_vocabulary(normalizing).encode_between(b"ab", none, np.empty(1, np.uint16))
