"""The browser of the tests of this folder."""

import pytest

from tests.view import browser as browsers


@pytest.fixture(scope="session")
def browser():
    """A headless Chromium. Tests that need it are skipped if none is installed."""
    program = browsers.find()
    if program is None:
        pytest.skip(f"no browser: none of {', '.join(browsers.NAMES)} is installed (Debian: apt-get install chromium)")
    with browsers.running(program) as running:
        yield running
