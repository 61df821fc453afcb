"""Encoding on Ray to an object store: the workers write the objects, and a job resumes from the store alone."""

from pathlib import Path

import pytest

import fastlm
from fastlm.corpus import ray_encoding as encoding
from fastlm.corpus.read import Corpus
from fastlm.corpus.verify import verify_shards
from fastlm.files.remote import location
from tests import texts
from tests.cluster.stopping import StopError, stop_at
from tests.files.s3 import BUCKET, s3_server

pytestmark = [
    pytest.mark.nightly,  # starts a cluster that finds the server
    # sockets and processes of ray's own are left to the garbage collector
    pytest.mark.filterwarnings("ignore"),
]

SEPARATOR = "<|endoftext|>"
OUT = f"s3://{BUCKET}/ids"


@pytest.fixture
def cluster(monkeypatch):
    """A cluster whose workers find the server by their environment."""
    ray = pytest.importorskip("ray", reason="ray is not installed")
    pytest.importorskip("moto")
    monkeypatch.setenv("PYTHONPATH", str(Path(fastlm.__file__).parents[1]))
    with s3_server():
        ray.init("local", num_cpus=2, object_store_memory=100_000_000, include_dashboard=False, log_to_driver=False)
        yield
        ray.shutdown()


def test_shards_in_a_store(cluster, trained, tmp_path, monkeypatch):
    monkeypatch.setattr(encoding, "PARTITION_BYTES", 50_000)
    (tmp_path / "text").write_text(SEPARATOR.join(texts.DOCUMENTS * 3), "utf-8", newline="")
    corpus = Corpus([tmp_path / "text"], separator=SEPARATOR)
    options = {"shard_tokens": 20_000, "end_of_text": SEPARATOR, "validation_fraction": 0.1}
    expected = fastlm.encode_corpus(trained, corpus, tmp_path / "local", **options)

    with pytest.raises(StopError):
        fastlm.encode_corpus(trained, corpus, OUT, engine="ray", progress=stop_at(3), **options)
    assert not (location(OUT) / "manifest.json").exists()
    finished = [name for name in location(OUT).names() if "cluster-part" in name and name.endswith(".json")]
    assert len(finished) >= 3
    assert fastlm.encode_corpus(trained, corpus, OUT, engine="ray", resume=True, **options) == expected
    assert verify_shards(location(OUT)) == expected
    names = {name for shards in expected.splits.values() for shard in shards for name in shard.sha256}
    assert set(location(OUT).names()) == {*names, "manifest.json"}
