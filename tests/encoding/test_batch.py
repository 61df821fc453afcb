"""Texts that threads encode together, and the threads that stay between calls."""

import contextlib
import os
import random
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import fastlm
from fastlm import threads
from fastlm.encoding import _batch, _state, _token_table, batches
from fastlm.pretokenize.patterns import Pattern
from tests import texts
from tests.children import LIMIT

END = "<|endoftext|>"


@pytest.fixture
def small_chunks(monkeypatch):
    """Chunks and copies so small that short texts are shared too."""
    monkeypatch.setattr(_batch, "SMALLEST_CHUNK", 8)
    monkeypatch.setattr(batches, "LEAST_COPIED", 16)


def many_texts(seed: int) -> list[str]:
    rng = random.Random(seed)
    found = [texts.random_string(rng) + rng.choice(["", END, "<|"]) for _ in range(rng.randrange(300))]
    return [text * rng.choice([1, 1, 30]) for text in found]


@pytest.mark.parametrize("seed", range(20))
def test_shared_texts_have_the_ids_of_each_alone(trained, small_chunks, seed):
    batch = many_texts(seed)
    for on_special in ("token", "text"):
        alone = [trained.encode(text, on_special=on_special) for text in batch]
        for number in (2, 3, 9):
            ids, offsets = trained.encode_batch_flat(batch, number, on_special=on_special)
            assert offsets.tolist() == np.cumsum([0, *map(len, alone)]).tolist()
            assert ids.tolist() == [token_id for row in alone for token_id in row]
            assert trained.encode_batch(batch, number, on_special=on_special) == alone


def test_who_is_not_called_is_not_waited_for(trained, small_chunks):
    batch = many_texts(3)
    with _batch.Batch(trained._encoder, batch, None, 4) as encoded:
        for number in (2, 0):  # 1 and 3 never begin
            encoded.encode(number)
        encoded.gather()
        encoded.copy()
        ids, _ = encoded.arrays()
    assert ids.tolist() == [token_id for text in batch for token_id in trained.encode_ordinary(text)]


def test_a_thread_that_is_left_behind_keeps_its_state(trained):
    """As after an interrupt between the start of a thread and the moment at which its caller knows of it."""
    text = "".join(texts.DOCUMENTS)
    expected, long = trained.encode(text), text * (6_000_000 // len(text))
    for _ in range(5):
        batch = _batch.Batch(trained._encoder, [long, long], None, 2, as_lists=True)

        def encode(batch=batch):
            with contextlib.suppress(InterruptedError, RuntimeError):  # RuntimeError: the batch ended before the call
                batch.encode(1)

        thread = threading.Thread(target=encode)
        with batch:
            thread.start()
            time.sleep(0.003)
        assert [trained.encode(text) for _ in range(3)] == [expected] * 3
        thread.join()


def test_the_error_is_that_of_the_first_text(trained, small_chunks):
    batch = [b"a" * n for n in range(1, 300)]
    batch[100], batch[200] = b"abc\xff", b"\xff"
    for encode in (trained.encode_batch_flat, trained.encode_batch):
        for number in (1, 2, 5):
            with pytest.raises(ValueError, match="byte 3 "):
                encode(batch, number)
        assert encode(batch[:100], 2)
        with pytest.raises(TypeError):
            encode([*batch[:50], 7], 2)
    text = b"word " * 50_000 + b"\xff"
    with pytest.raises(ValueError, match="byte 250000 "):
        trained.encode_to_numpy(text, num_threads=2)


def test_a_pattern_without_scanner_is_shared(small_chunks):
    vocab = {i: bytes([i]) for i in range(256)} | {256: b"ab"}
    tokenizer = fastlm.Tokenizer(vocab, [(b"a", b"b")], [END], pattern=r"[a-z]{3}|.")
    batch = [f"abab{END}xaby" * n for n in range(20)]
    with pytest.warns(UserWarning, match="no scanner"):
        alone = [tokenizer.encode(text) for text in batch]
    assert tokenizer.encode_batch(batch, 3) == alone


@pytest.mark.parametrize("number", [1, 2, 4])
def test_tables_that_begin_anew_give_the_same_ids(trained, small_chunks, monkeypatch, number):
    expected = trained.encode_batch(many_texts(1), 1)
    monkeypatch.setattr(_token_table, "FIRST_ENTRIES", 16)
    monkeypatch.setattr(_state, "LARGEST_CACHE", 16)
    tokenizer = fastlm.Tokenizer.from_vocabulary(trained.vocabulary)
    rng = random.Random(number)
    words = ["".join(rng.choices("abcdefgh", k=rng.randrange(2, 30))) for _ in range(20_000)]
    alone = [trained.encode(" ".join(words[k : k + 50])) for k in range(0, len(words), 50)]
    assert tokenizer.encode_batch([" ".join(words[k : k + 50]) for k in range(0, len(words), 50)], number) == alone
    assert tokenizer.encode_batch(many_texts(1), number) == expected


def test_workers_are_kept_and_no_more_than_run_at_once(trained, small_chunks):
    tokenizer = fastlm.Tokenizer.from_vocabulary(trained.vocabulary)
    batch = many_texts(5)
    for _ in range(20):
        tokenizer.encode_batch_flat(batch, 3)
        tokenizer.encode_batch(batch, 2)
    before = threading.active_count()
    for _ in range(20):
        tokenizer.encode_batch_flat(batch, 3)
    assert threading.active_count() == before


# --- threads ---


@pytest.mark.parametrize("count", [1, 2, 7])
def test_work_is_done_together(count):
    left = list(range(100))
    done = []

    def work(_: int) -> None:
        while left:
            done.append(left.pop())

    threads.together(work, count)
    assert sorted(done) == list(range(100))


def test_an_error_of_a_thread_arrives():
    both = threading.Barrier(2)

    def work(number: int) -> None:
        both.wait()
        if number:
            raise OSError("of the other")

    with pytest.raises(OSError, match="of the other"):
        threads.together(work, 2)


def test_calls_within_calls_end():
    def outer(_: int) -> None:
        threads.together(lambda _: None, 3)

    for _ in range(20):
        threads.together(outer, 50)


def test_an_ordered_map_that_is_left_has_no_calls_under_way():
    under_way = []

    def slow(number: int) -> int:
        under_way.append(number)
        threading.Event().wait(0.01)
        under_way.remove(number)
        return number

    mapped = threads.map_in_order(slow, range(50), 4)
    assert [next(mapped), next(mapped)] == [0, 1]
    mapped.close()
    assert under_way == []


# how the standard library starts a thread
START = "_start_joinable_thread" if hasattr(threading, "_start_joinable_thread") else "_start_new_thread"
PROGRAM = """
import atexit, os, sys
import fastlm
tokenizer = fastlm.Tokenizer({i: bytes([i]) for i in range(256)} | {256: b"ab"}, [(b"a", b"b")])
batch = ["ab cd " * 2000] * 40
expected = tokenizer.encode_batch(batch, 1)
assert tokenizer.encode_batch(batch, 3) == expected
atexit.register(lambda: print(tokenizer.encode_batch(batch, 3) == expected))
"""
FORK = """
child = os.fork()
if child == 0:
    os._exit(0 if tokenizer.encode_batch(batch, 3) == expected else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""


@pytest.mark.parametrize("program", [PROGRAM, pytest.param(PROGRAM + FORK, marks=pytest.mark.skipif(
    not hasattr(os, "fork"), reason="forks"))])  # fmt: skip
def test_threads_neither_outlive_a_fork_nor_hold_up_the_exit(program):
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, timeout=LIMIT, check=True
    )
    assert result.stdout == "True\n"


@pytest.mark.parametrize(("number", "ahead"), [(1, 3), (2, 1), (2, 3)])
def test_calls_behind_come_in_order_and_wait_for_no_more_than_so_many(number, ahead):
    made, begun, most = [], [], 0

    def items():
        nonlocal most
        for k in range(20):
            made.append(k)
            most = max(most, len(made) - len(begun))
            yield k

    def doubled(k):
        threading.Event().wait(0.001)
        begun.append(k)
        return 2 * k

    assert list(threads.map_behind(doubled, items(), number, ahead)) == [2 * k for k in range(20)]
    assert begun == list(range(20))
    assert most <= (1 if number == 1 else ahead + 1)
    assert list(threads.map_behind(doubled, iter([]), number, ahead)) == []


@pytest.mark.parametrize("number", [1, 2])
def test_none_is_called_after_a_call_behind_that_fails(number):
    done, all_made = [], threading.Event()

    def items():
        yield from range(6)
        all_made.set()

    def failing(k):
        if number > 1:
            all_made.wait()
        if k == 3:
            raise OSError("no room")
        done.append(k)

    with pytest.raises(OSError, match="no room"):
        list(threads.map_behind(failing, items(), number, 6))
    assert done == [0, 1, 2]


def test_a_call_under_way_is_waited_for_when_the_next_item_fails():
    begun, goes_on, done = threading.Event(), threading.Event(), []

    def items():
        yield 0
        yield 1
        begun.wait()
        threading.Timer(0.05, goes_on.set).start()
        raise KeyError("bad")

    def slow(k):
        begun.set()
        goes_on.wait()
        done.append(k)

    with pytest.raises(KeyError, match="bad"):
        list(threads.map_behind(slow, items(), 2, 5))
    assert done == [0]


def test_the_error_of_the_first_text_is_raised(trained):
    """One thread takes all chunks, and meets the errors of both texts."""
    texts_of_chunks = [b"plain text " * 4000] * 8
    for first, second in ((0, 7), (1, 2), (3, 4)):
        given = list(texts_of_chunks)
        given[first] = b"x" * (1000 + first) + b"\xff" + given[first]
        given[second] = b"x" * (1000 + second) + b"\xff" + given[second]
        with _batch.Batch(trained._encoder, given, None, 2) as batch:
            batch.encode(0)
            with pytest.raises(fastlm.InvalidUTF8Error) as caught:
                batch.gather()
        assert caught.value.offset == 1000 + first


def test_an_error_of_a_later_text_does_not_replace_that_of_an_earlier_one(monkeypatch):
    """Thread 1 takes the last text, and meets its error only after thread 0 has met the error of the first."""
    met, taken = threading.Event(), threading.Event()

    def find_ends(self, text):
        number = int(text[:1])
        if number == 3:
            taken.set()
            assert met.wait(LIMIT)
        raise ValueError(f"text {number} has no pretokens")

    monkeypatch.setattr(_batch, "SMALLEST_CHUNK", 1)
    monkeypatch.setattr(Pattern, "find_ends", find_ends)
    tokenizer = fastlm.Tokenizer({i: bytes([i]) for i in range(256)}, [], pattern=r"[a-z]{3}|.")
    with _batch.Batch(tokenizer._encoder, [b"0", b"1", b"2", b"3"], None, 4) as batch:
        last = threading.Thread(target=batch.encode, args=(3,))
        last.start()
        assert taken.wait(LIMIT)
        batch.encode(0)
        met.set()
        last.join()
        with pytest.raises(ValueError, match="text 0 has no pretokens"):
            batch.gather()


def test_a_thread_that_does_not_begin_is_done_without(monkeypatch):
    """As when the first allocation of the new thread fails: Thread.start would wait forever."""
    monkeypatch.setattr(threads, "_idle", [])
    monkeypatch.setattr(threading, START, lambda *arguments, **options: None)
    done = []
    threads.together(done.append, 3)
    assert done == [0]
    for mapped in (threads.map_in_order(str, range(5), 2), threads.map_behind(str, range(5), 2, 1)):
        with pytest.raises(RuntimeError, match="a new thread ended before it began to run"):
            list(mapped)


def test_a_thread_that_begins_late_is_done_without(monkeypatch):
    kept = []
    monkeypatch.setattr(threads, "START_SECONDS", 0.05)
    monkeypatch.setattr(threads, "_idle", [])
    monkeypatch.setattr(threading, START, lambda *arguments, **options: kept.append(arguments))
    done = []
    threads.together(done.append, 3)
    assert done == [0]
    with pytest.raises(RuntimeError, match=r"a new thread did not begin to run in 0\.05 seconds"):
        list(threads.map_in_order(str, range(5), 2))


def test_a_thread_that_cannot_be_created_is_done_without(monkeypatch):
    def failing(*arguments, **options):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threads, "_idle", [])
    monkeypatch.setattr(threading, START, failing)
    done = []
    threads.together(done.append, 3)
    assert done == [0]
    with pytest.raises(RuntimeError, match="can't start new thread"):
        list(threads.map_behind(str, range(5), 2, 1))


def test_an_error_of_the_thread_itself_arrives(monkeypatch):
    """As when an allocation fails outside of the work."""

    def failing(self, future, work, item):
        raise MemoryError("of the thread")

    monkeypatch.setattr(threads, "_idle", [])
    monkeypatch.setattr(threads.Helper, "_do", failing)
    with pytest.raises(MemoryError, match="of the thread"):
        threads.Call(str, 1).future.result(60)
