"""Tokenizer: exact ids, round trips, and every way to use one object."""

import copy
import multiprocessing
import os
import pickle
import random
import resource
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastlm
from fastlm import tokenizer as tokenizer_module
from tests import texts
from tests.children import LIMIT
from tests.reference import bpe

BYTES = {i: bytes([i]) for i in range(256)}


def reference_ids(tokenizer: fastlm.Tokenizer, text: str) -> list[int]:
    return bpe.encode(text, tokenizer.vocab, tokenizer.merges, tokenizer.special_tokens)


@settings(max_examples=2 * settings.default.max_examples)
@given(st.lists(texts.strings(), min_size=40, max_size=40))
def test_encodes_as_the_reference(trained, strings):
    for text in strings:
        ids = trained.encode(text)
        assert ids == reference_ids(trained, text)
        assert trained.decode_bytes(ids) == text.encode()


def test_every_way_to_encode_gives_the_same(trained):
    text = "<|endoftext|>".join(texts.DOCUMENTS) * 3
    ids = trained.encode(text)
    assert all(type(token_id) is int for token_id in ids)
    array = trained.encode_to_numpy(text)
    assert array.dtype == np.uint32
    assert array.tolist() == ids
    assert array.flags.owndata
    assert array.flags.writeable
    assert trained.encode(text.encode()) == ids
    assert trained.count(text) == trained.count(text.encode()) == len(ids)
    assert list(trained.encode_iterable([text])) == ids
    for threads in (None, 1, 2, 5):
        assert trained.encode_batch([text, "", "a b"] * 7, threads) == [ids, [], trained.encode("a b")] * 7
    assert trained.decode(ids) == text


@pytest.mark.parametrize("threads", [None, 1, 2, 5])
def test_a_flat_batch_holds_the_ids_of_each_text(trained, threads):
    for batch in ([], [""], ["a b"], [*texts.DOCUMENTS, "", "x" * 200_000, b"bytes", *texts.DOCUMENTS] * 3):
        ids, offsets = trained.encode_batch_flat(batch, threads)
        assert (ids.dtype, offsets.dtype) == (np.uint32, np.int64)
        assert len(offsets) == len(batch) + 1
        assert offsets[-1] == len(ids)
        for k, text in enumerate(batch):
            assert ids[offsets[k] : offsets[k + 1]].tolist() == trained.encode(text)
    assert trained.encode("not disturbed") == reference_ids(trained, "not disturbed")


@given(st.lists(texts.strings(12), max_size=30), st.integers(1, 200))
def test_encode_iterable_gives_the_ids_of_the_whole(trained, chunks, stream_bytes):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tokenizer_module, "STREAM_BYTES", stream_bytes)
        assert list(trained.encode_iterable(chunks)) == trained.encode("".join(chunks))


def test_encode_iterable_is_lazy_and_holds_little(trained):
    def chunks():
        for n in range(1_000_000_000):
            yield f"chunk {n} of a text without end\n"

    list(trained.encode_iterable(["a first text loads everything"]))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    stream = trained.encode_iterable(chunks())
    for _ in range(300_000):
        next(stream)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 4096  # KiB


def test_a_pattern_without_scanner_encodes_as_the_reference():
    pattern = r"[a-z]+|\d"
    with pytest.warns(UserWarning, match="no scanner for the pattern"):
        tokenizer = fastlm.train_bpe(texts.DOCUMENTS[:5], 500, ["<|endoftext|>", "<|"], pattern=pattern)
    rng = random.Random(5)
    for _ in range(300):
        text = texts.random_string(rng, any_scalar=False)
        expected = bpe.encode(text, tokenizer.vocab, tokenizer.merges, tokenizer.special_tokens, pattern)
        assert tokenizer.encode(text) == expected
        assert tokenizer.count(text) == len(expected)
        assert list(tokenizer.encode_iterable(iter(text))) == expected
    with pytest.raises(ValueError, match="byte 16 is not well-formed UTF-8"):
        tokenizer.encode(b"abc<|endoftext|>\xff")


def test_merges_whose_order_is_not_that_of_ids():
    """Ids say nothing of rank: here the last id merges first, and (c, d) outranks the pairs it is made of."""
    vocab = BYTES | {300: b"ab", 299: b"bc", 256: b"abc", 260: b"abab"}
    merges = [(b"b", b"c"), (b"a", b"b"), (b"ab", b"ab"), (b"ab", b"c"), (b"a", b"bc")]
    tokenizer = fastlm.Tokenizer(vocab, merges)
    for text in ("abc", "ab", "abab", "ababab", "ababc", "abcabc", "aab", "x"):
        assert tokenizer.encode(text) == bpe.encode(text, vocab, merges)


def test_longest_special_token_wins_and_order_does_not_matter():
    for special in (["<a>", "<a><a>"], ["<a><a>", "<a>"]):
        tokenizer = fastlm.Tokenizer(BYTES, [], special)
        ids = tokenizer.special_tokens
        assert tokenizer.encode("<a><a><a>") == [ids["<a><a>"], ids["<a>"]]


def test_lone_surrogates_become_replacement_characters(trained):
    assert trained.encode("a\ud800b") == trained.encode("a\ufffdb")
    assert trained.encode("\ud83d\ude00") == trained.encode("😀")
    assert list(trained.encode_iterable(["a\ud83d", "\ude00b"])) == trained.encode("a😀b")


class LyingBytes(bytes):
    def __len__(self):
        return 10**9


def test_a_subclass_of_bytes_cannot_lie_about_its_length(trained):
    assert trained.encode(LyingBytes(b"abc")) == trained.encode("abc")


def test_errors_come_back_from_other_processes(trained):
    with (
        multiprocessing.get_context("fork").Pool(1) as pool,
        pytest.raises(ValueError, match="byte 1 is not well-formed"),
    ):
        pool.map_async(trained.encode, [b"a\xff"]).get(timeout=LIMIT)


@pytest.mark.parametrize("encode", ["encode", "encode_to_numpy", "count"])
def test_texts_of_wrong_type(trained, encode):
    for wrong in (None, 3, ["a"], bytearray(b"a"), np.array([1])):
        with pytest.raises(TypeError, match="text must be str"):
            getattr(trained, encode)(wrong)
    with pytest.raises(ValueError, match="byte 3 is not well-formed UTF-8"):
        getattr(trained, encode)(b"abc\xff")
    assert trained.encode("still works") == reference_ids(trained, "still works")


def test_batches_of_wrong_type(trained):
    for wrong in ("text", b"text"):
        with pytest.raises(TypeError, match="expected a sequence of texts"):
            trained.encode_batch(wrong)
        with pytest.raises(TypeError, match="expected a sequence of texts"):
            trained.encode_batch_flat(wrong)
    with pytest.raises(TypeError, match="text must be str or bytes, got int"):
        trained.encode_batch(["a", 1], 2)
    for threads in (0, -3):
        with pytest.raises(ValueError, match="num_threads must be at least 1"):
            trained.encode_batch(["a"], threads)
    with pytest.raises(TypeError, match="num_threads must be an int"):
        trained.encode_batch(["a"], 1.5)
    with pytest.raises(TypeError, match="chunks must be an iterable of str"):
        list(trained.encode_iterable("text"))


def test_decoding(trained):
    ids = trained.encode("hällo 😀 wörld")
    for given_ids in (ids, tuple(ids), iter(ids), np.array(ids), np.array(ids, np.uint16), np.array(ids, np.uint64)):
        assert trained.decode(given_ids) == "hällo 😀 wörld"
    assert trained.decode(range(3, 6)) == '"#$'
    assert trained.decode([]) == ""
    assert trained.decode(np.array(ids)[::2]) == trained.decode(ids[::2])
    half = trained.encode("😀")[:1]
    assert trained.decode(half) == "\ufffd"
    assert trained.decode(half, "ignore") == ""
    with pytest.raises(UnicodeDecodeError):
        trained.decode(half, errors="strict")


@pytest.mark.parametrize("n", [1, 511, 512, 513, 5000])
def test_decoding_few_and_many(trained, n):
    ids = (trained.encode(texts.DOCUMENTS[0]) * 5000)[:n]
    spelled = b"".join(map(trained.vocab.__getitem__, ids))
    for given_ids in (ids, tuple(ids), np.array(ids), [*map(np.int32, ids)]):
        assert trained.decode_bytes(given_ids) == spelled
    for bad in (-1, len(trained.vocab), 2**63 - 1):
        with pytest.raises(KeyError, match=f"id {bad} at position {n - 1} is not in the vocabulary"):
            trained.decode_bytes([*ids[:-1], bad])


@pytest.mark.parametrize("bad", [[-1], [1000], [5, 2**40], np.array([2**63], np.uint64), [1, 2**31]])
def test_decoding_unknown_ids(trained, bad):
    with pytest.raises(KeyError, match="is not in the vocabulary"):
        trained.decode(bad)


@pytest.mark.parametrize(
    "bad", ["12", b"12", [1.0], [None], ["1"], [[1]], np.ones((2, 2), int), [2**70], None, 3, [True], [np.True_, 1]]
)
def test_decoding_what_are_no_ids(trained, bad):
    with pytest.raises(TypeError):
        trained.decode(bad)


def test_ids_that_are_not_used_are_unknown():
    tokenizer = fastlm.Tokenizer(BYTES | {1000: b"ab"}, [(b"a", b"b")])
    assert tokenizer.encode("abab") == [1000, 1000]
    assert tokenizer.vocab_size == 257
    with pytest.raises(KeyError, match="id 999 at position 1"):
        tokenizer.decode([1000, 999])


def test_construction_refuses_what_does_not_fit():
    for vocab, merges, special, message in [
        ({i: bytes([i]) for i in range(255)}, [], [], "lacks 1 of the 256 bytes, the first is 0xff"),
        (BYTES, [(b"a", b"b")], [], "merge 0 of b'a' and b'b': b'ab' is not in the vocabulary"),
        (BYTES | {256: b"ab"}, [(b"a", b"b"), (b"a", b"b")], [], "merge 1 repeats merge 0"),
        (BYTES | {256: b""}, [], [], "id 256 with bytes b''"),
        (BYTES | {-1: b"ab"}, [], [], "id -1"),
        (BYTES | {2**31: b"ab"}, [], [], "id 2147483648 is far above the number of tokens"),
        (BYTES, [], [""], "must not be empty"),
        (BYTES, [], ["<s>", "<s>"], "given twice"),
        (BYTES, [], ["\ud800"], "lone surrogate"),
    ]:
        with pytest.raises(ValueError, match=message):
            fastlm.Tokenizer(vocab, merges, special)
    with pytest.raises(ValueError, match="merge 0 is \\(b'a',\\), not two tokens"):
        fastlm.Tokenizer(BYTES, [(b"a",)])
    with pytest.raises(TypeError, match="merge 0 must join bytes"):
        fastlm.Tokenizer(BYTES, [("a", "b")])
    with pytest.raises(TypeError, match="must map int to bytes"):
        fastlm.Tokenizer(BYTES | {256: "ab"}, [])
    with pytest.raises(TypeError, match="special tokens must be str"):
        fastlm.Tokenizer(BYTES, [], [b"<s>"])
    with pytest.raises(TypeError, match="special_tokens must be a list"):
        fastlm.Tokenizer(BYTES, [], "<s>")


def test_special_tokens_not_in_the_vocabulary_are_appended():
    tokenizer = fastlm.Tokenizer(BYTES, [], ["<b>", "<a>"])
    assert tokenizer.special_tokens == {"<b>": 256, "<a>": 257}
    assert tokenizer.vocab[257] == b"<a>"


def test_a_special_token_may_be_a_single_byte():
    tokenizer = fastlm.train_bpe(["xaxa"], 257, ["a"])
    assert tokenizer.encode("xa") == [tokenizer.encode("x")[0], 0]
    assert tokenizer.decode(tokenizer.encode("xa")) == "xa"


def test_what_a_tokenizer_shows_cannot_change_it(trained):
    with pytest.raises(TypeError, match="read-only"):
        trained.vocab.clear()
    trained.merges.clear()
    trained.special_tokens.clear()
    assert len(trained.vocab) == trained.vocab_size == 1000
    assert "1000 tokens" in repr(trained)
    assert trained.pattern == "gpt2"


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_pickles(trained, protocol):
    text = texts.DOCUMENTS[-2]
    restored = pickle.loads(pickle.dumps(trained, protocol))
    assert restored.encode(text) == trained.encode(text)
    assert restored.vocabulary.fingerprint == trained.vocabulary.fingerprint


def test_copies(trained):
    for copied in (copy.copy(trained), copy.deepcopy(trained)):
        assert copied.encode("a copy<|user|>") == trained.encode("a copy<|user|>")


def test_threads_share_one_tokenizer(trained):
    expected = [trained.encode(text) for text in texts.DOCUMENTS]
    fresh = pickle.loads(pickle.dumps(trained))
    wrong = []

    def work(seed: int) -> None:
        for n in random.Random(seed).choices(range(len(texts.DOCUMENTS)), k=100):
            text = texts.DOCUMENTS[n]
            if (
                fresh.encode(text) != expected[n]
                or fresh.count(text) != len(expected[n])
                or fresh.decode(expected[n]) != text
            ):
                wrong.append(n)

    with ThreadPoolExecutor(32) as pool:
        list(pool.map(work, range(32)))
    assert wrong == []


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
@pytest.mark.filterwarnings("ignore:This process")
def test_processes_use_it_after_a_start(trained, method):
    expected = [trained.encode(text) for text in texts.DOCUMENTS[:8]]
    assert trained.encode_batch(texts.DOCUMENTS[:8], 2) == expected
    with multiprocessing.get_context(method).Pool(2) as pool:
        assert pool.map(trained.encode, texts.DOCUMENTS[:8], chunksize=2) == expected
        assert pool.starmap(trained.encode_batch, [(texts.DOCUMENTS[:8], 2)] * 2) == [expected] * 2


def test_a_forked_child_may_use_it_from_a_thread(trained):
    trained.encode("warm")
    with ThreadPoolExecutor(1) as pool:
        child = pool.submit(_fork_and_encode, trained).result()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def _fork_and_encode(tokenizer: fastlm.Tokenizer) -> int:
    child = os.fork()
    if child == 0:
        os._exit(0 if tokenizer.decode(tokenizer.encode("in a child")) == "in a child" else 1)
    return child


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("one letter", "a" * 1_000_000),
        ("spaces", " " * 1_000_000),
        ("spaces, then a letter", " " * 1_000_000 + "x"),
        ("newlines", "\n" * 1_000_000),
        ("random CJK", "".join(random.Random(1).choices([chr(c) for c in range(0x4E00, 0x9FA5)], k=330_000))),
        ("random letters", "".join(random.Random(2).choices("abcdefghijklmnop", k=1_000_000))),
    ],
)
def test_a_megabyte_of_one_pretoken(trained, name, text):
    ids = trained.encode(text)
    assert trained.decode(ids) == text
    assert trained.count(text) == len(ids)
    # a prefix short enough for the reference
    assert trained.encode(text[:2000]) == reference_ids(trained, text[:2000])


def test_memory_stays_flat_over_many_texts(trained):
    """Ten times as many distinct pretokens as the cache of learned ones holds."""
    rng = random.Random(9)
    pretokens = ["".join(rng.choices("abcdefghijklmnopqrstuvwxyzäöü", k=rng.randrange(5, 40))) for _ in range(400_000)]

    def encode_all() -> None:
        for start in range(0, len(pretokens), 1000):
            text = " ".join(pretokens[start : start + 1000])
            assert trained.decode_bytes(trained.encode_to_numpy(text)) == text.encode()

    encode_all()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    encode_all()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2048  # KiB
