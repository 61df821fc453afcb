"""Signals during a long call: handlers run while native code encodes, and may end the call."""

import signal
from contextlib import contextmanager

import numpy as np
import pytest

from tests import texts

pytestmark = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs timers of POSIX")

TEXT = "".join(texts.DOCUMENTS)
LONG = TEXT * (24_000_000 // len(TEXT))

CALLS = {
    "encode": lambda tokenizer: tokenizer.encode(LONG),
    "encode_to_numpy": lambda tokenizer: tokenizer.encode_to_numpy(LONG),
    "count": lambda tokenizer: tokenizer.count(LONG),
    "one thread": lambda tokenizer: tokenizer.encode_batch_flat([TEXT] * (len(LONG) // len(TEXT)), num_threads=1),
    "two threads": lambda tokenizer: tokenizer.encode_batch([TEXT] * (len(LONG) // len(TEXT)), num_threads=2),
    "two long texts": lambda tokenizer: tokenizer.encode_batch([LONG, LONG], num_threads=2),
}


@contextmanager
def alarms(handler):
    """Calls a handler every half millisecond, as soon as Python lets signals in."""
    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("name", CALLS)
def test_handlers_run_during_a_call(trained, name):
    """The call itself has no Python code between its parts: only native code can have let the signals in."""
    CALLS[name](trained)
    seen = []

    def handler(number, frame):
        # the frame is that of the caller of native code
        seen.append(frame.f_code.co_name)

    with alarms(handler):
        CALLS[name](trained)
    assert len(seen) > 5, seen


@pytest.mark.parametrize("name", CALLS)
def test_an_interrupt_ends_a_call_and_leaves_the_tokenizer_whole(trained, name):
    expected = trained.encode(TEXT)

    def handler(number, frame):
        signal.setitimer(signal.ITIMER_REAL, 0)
        raise KeyboardInterrupt

    def call_until_interrupted():
        while True:
            CALLS[name](trained)

    for _ in range(3):
        with pytest.raises(KeyboardInterrupt), alarms(handler):
            call_until_interrupted()
    assert trained.encode(TEXT) == expected
    ids, offsets = trained.encode_batch_flat([TEXT, TEXT], num_threads=2)
    assert np.array_equal(ids, expected * 2)
    assert offsets.tolist() == [0, len(expected), 2 * len(expected)]
