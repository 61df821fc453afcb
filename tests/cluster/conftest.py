"""Restores what Ray changes in the process."""

import signal

import pytest


@pytest.fixture(scope="module", autouse=True)
def _handler_of_sigterm():
    """ray.init installs a handler of SIGTERM, which forked children of later tests would inherit."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)
