"""Fixtures, Hypothesis profiles, and the folder of texts and vocabularies."""

import os
import signal
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings

import fastlm
from tests import texts

# the tensors of tests are tiny; a second thread of torch costs more than it gives
os.environ.setdefault("OMP_NUM_THREADS", "1")
# with their own cache, the tests do not depend on kernels that an earlier run compiled elsewhere
os.environ.setdefault("NUMBA_CACHE_DIR", str(Path(tempfile.gettempdir()) / "fastlm-tests-numba"))

_shared = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large]}
settings.register_profile("ci", max_examples=100, derandomize=True, **_shared)
# for builds with sanitizers, which are ten times slower
settings.register_profile("brief", max_examples=20, derandomize=True, **_shared)
# for mutants: what fails is not made smaller
settings.register_profile(
    "first-failure", settings.get_profile("ci"), max_examples=300, phases=(Phase.explicit, Phase.generate)
)
settings.register_profile("deep", max_examples=20_000, **_shared)
settings.load_profile(os.environ.get("FASTLM_TEST_PROFILE", "ci"))

DATA = Path(os.environ.get("FASTLM_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))


@pytest.fixture(scope="module", autouse=True)
def _signal_handlers_are_kept():
    """Tests restore the handlers that they or a library set.

    A forked child inherits a handler. multiprocessing.Pool ends its workers by SIGTERM, and waits forever for one whose
    handler in Python comes too late to interrupt a lock.
    """
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    after = {number: signal.getsignal(number) for number in before}
    for number, handler in before.items():
        if handler is not None:
            signal.signal(number, handler)
    assert after == before


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real texts and published vocabularies. Tests that need it are skipped if it does not exist."""
    if not DATA.is_dir():
        pytest.skip(f"no folder {DATA}: set FASTLM_DATA to real texts and official vocabularies")
    return DATA


@pytest.fixture(scope="session")
def gpt2(data: Path) -> fastlm.Tokenizer:
    """GPT-2's own vocabulary."""
    vectors = data / "vectors"
    return fastlm.Tokenizer.from_files(vectors / "gpt2_vocab.json", vectors / "gpt2_merges.txt", ["<|endoftext|>"])


@pytest.fixture(scope="session")
def trained() -> fastlm.Tokenizer:
    """A vocabulary of 1,000 tokens with two special tokens, trained here, so that its tests need no data."""
    return fastlm.train_bpe(texts.DOCUMENTS, 1000, ["<|endoftext|>", "<|user|>"])


@pytest.fixture
def one_torch_thread():
    """One thread in torch: the models of tests are too small for more."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
