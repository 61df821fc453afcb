"""Two nodes of Ray on this machine, each with a raylet of its own; one is killed while the job runs."""

from pathlib import Path

import pytest

import fastlm
from fastlm.bpe_training import ray_counting as counting
from fastlm.corpus import ray_encoding as encoding
from fastlm.corpus.read import Corpus
from tests import texts

pytestmark = [
    pytest.mark.nightly,  # starts and ends two raylets for each test
    # sockets and processes of ray's own are left to the garbage collector
    pytest.mark.filterwarnings("ignore"),
]

SEPARATOR = "<|endoftext|>"
STORE_BYTES = 100_000_000


@pytest.fixture
def nodes(monkeypatch):
    """A function that kills the second of two nodes; this process is connected to the first."""
    ray = pytest.importorskip("ray", reason="ray is not installed")
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("PYTHONPATH", str(Path(fastlm.__file__).parents[1]))
    options = {"num_cpus": 2, "object_store_memory": STORE_BYTES, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=options)
    try:
        second = cluster.add_node(num_cpus=2, object_store_memory=STORE_BYTES)
        ray.init(address=cluster.address, log_to_driver=False, logging_level="error")
        assert len([node for node in ray.nodes() if node["Alive"]]) == 2
        yield lambda: cluster.remove_node(second, allow_graceful=False)
    finally:
        ray.shutdown()
        cluster.shutdown()


@pytest.fixture
def corpus(tmp_path, monkeypatch):
    for module in (counting, encoding):
        monkeypatch.setattr(module, "PARTITION_BYTES", 200_000)
    (tmp_path / "text").write_text(SEPARATOR.join(texts.DOCUMENTS * 80), "utf-8", newline="")
    return Corpus([tmp_path / "text"], separator=SEPARATOR)


def killing_at(bytes_done, kill):
    """A callback of the progress that kills the node once."""
    killed = []

    def progress(*values):
        if values[-2] >= bytes_done and not killed:
            killed.append(True)
            kill()

    return progress, killed


def test_encoding_goes_on_when_a_node_dies(nodes, corpus, trained, tmp_path):
    options = {"shard_tokens": 50_000, "end_of_text": SEPARATOR, "validation_fraction": 0.1}
    expected = fastlm.encode_corpus(trained, corpus, tmp_path / "local", **options)
    progress, killed = killing_at(300_000, nodes)
    manifest = fastlm.encode_corpus(
        trained, corpus, tmp_path / "ray", engine="ray", num_threads=2, progress=progress, **options
    )
    assert killed
    assert manifest == expected
    for path in (tmp_path / "local").iterdir():
        assert (tmp_path / "ray" / path.name).read_bytes() == path.read_bytes()


def test_counting_goes_on_when_a_node_dies(nodes, corpus):
    expected = fastlm.train_bpe(corpus, 500)
    progress, killed = killing_at(300_000, nodes)
    found = fastlm.train_bpe(corpus, 500, engine="ray", num_threads=2, progress=progress)
    assert killed
    assert found.vocabulary.fingerprint == expected.vocabulary.fingerprint
