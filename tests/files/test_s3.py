"""A real S3 server on this machine, whose requests fail as chosen: the job finishes, or ends with a clear error."""

import os
import signal
import subprocess
import sys
import time

import pytest

import fastlm
from fastlm.corpus.verify import verify_shards
from fastlm.files.remote import location

pytest.importorskip("s3fs")
pytest.importorskip("moto")

from tests.children import LIMIT, ended
from tests.files.s3 import BUCKET, s3_server

# libraries of the server and of S3
pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.skipif(sys.platform == "win32", reason="needs signals")]

DOCUMENTS = [f"document {number} with some text of its own" for number in range(1500)]
OPTIONS = {"shard_tokens": 6000, "validation_fraction": 0.1, "end_of_text": "<|endoftext|>"}
ALL = range(1, 31)
SOME = (1, 5)


@pytest.fixture(scope="module")
def server():
    with s3_server() as faults:
        yield faults


@pytest.fixture(autouse=True)
def _no_faults_afterwards(request):
    yield
    if "server" in request.fixturenames:
        request.getfixturevalue("server").set(0)


@pytest.fixture(scope="module")
def expected(trained, tmp_path_factory):
    return fastlm.encode_corpus(trained, DOCUMENTS, tmp_path_factory.mktemp("local") / "ids", **OPTIONS)


def address(name):
    return f"s3://{BUCKET}/{name}"


def test_tokenizer_and_shards(server, trained, expected):
    trained.save(address("tokenizer"))
    assert fastlm.load(address("tokenizer")).vocabulary.fingerprint == trained.vocabulary.fingerprint
    manifest = fastlm.encode_corpus(trained, DOCUMENTS, address("ids"), **OPTIONS)
    assert manifest == expected
    assert verify_shards(location(address("ids"))) == expected
    with pytest.raises(FileNotFoundError, match="s3://no-such-bucket/ids"):
        verify_shards(location("s3://no-such-bucket/ids"))


@pytest.mark.parametrize(
    "every", [number if number in SOME else pytest.param(number, marks=pytest.mark.nightly) for number in ALL]
)
def test_every_kth_request_fails(server, trained, expected, every):
    """Finished, or a clear error; never a manifest over missing data. Then it resumes without faults."""
    out = address(f"every-{every}")
    server.set(every)
    manifest, message = None, out
    try:
        manifest = fastlm.encode_corpus(trained, DOCUMENTS, out, **OPTIONS)
    except OSError as error:
        message = str(error)
    assert out in message
    failed = server.failed
    server.set(0)
    assert failed or every > 20
    assert (location(out) / "manifest.json").exists() == (manifest is not None)
    if manifest is None:
        manifest = fastlm.encode_corpus(trained, DOCUMENTS, out, resume=True, **OPTIONS)
    assert manifest == expected
    assert verify_shards(location(out)) == expected


def test_uploads_of_shards_always_fail(server, trained, expected):
    """The small objects of the state still work, so the job gets as far as it can."""
    out = address("no-shards")
    server.set(1, lambda method, path: method in ("PUT", "POST") and "/train-00001.npy" in path)
    with pytest.raises(OSError, match=r"s3://bucket/no-shards/train-00001\.npy"):
        fastlm.encode_corpus(trained, DOCUMENTS, out, **OPTIONS)
    server.set(0)
    assert not (location(out) / "manifest.json").exists()
    assert fastlm.encode_corpus(trained, DOCUMENTS, out, resume=True, **OPTIONS) == expected
    assert verify_shards(location(out)) == expected


PROGRAM = """
import sys, time, fastlm
from fastlm.corpus import documents, job_folder
job_folder.CHECKPOINT_SECONDS = 0.0
documents.GatheredDocuments.is_enough = property(lambda self: len(self) >= 50)
tokenizer = fastlm.load(sys.argv[1])
texts = [f"document {number} with some text of its own" for number in range(1500)]
fastlm.encode_corpus(tokenizer, texts, sys.argv[2], resume=True, shard_tokens=6000, validation_fraction=0.1,
                     end_of_text="<|endoftext|>", num_threads=1)
"""


@pytest.mark.nightly  # each process imports the clients of S3
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_job_resumes_from_the_store(server, trained, expected, tmp_path, number):
    """Its local files are lost with it, as with a machine."""
    trained.save(tmp_path / "tokenizer")
    out = address(f"killed-{number}")
    kills = 0
    while not (location(out) / "manifest.json").exists():
        before = location(out).sizes().get("unfinished/state.json")
        command = [sys.executable, "-W", "ignore", "-c", PROGRAM, str(tmp_path / "tokenizer"), out]
        with ended(subprocess.Popen(command, env=os.environ)) as process:
            while kills < 3 and process.poll() is None:
                if location(out).sizes().get("unfinished/state.json") not in (None, before):
                    process.send_signal(number)
                    kills += 1
                    break
                time.sleep(0.02)
            process.wait(LIMIT)
        assert process.returncode in (0, -number if number == signal.SIGKILL else 143)
    assert kills
    assert verify_shards(location(out)).splits == expected.splits
    assert not [name for name in location(out).names() if name.startswith("unfinished/")]
