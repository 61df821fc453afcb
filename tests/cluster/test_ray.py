"""The engine "ray": merges and shards of the local engine, to the bit, whatever dies meanwhile."""

import functools
import gzip
import json
import os
import random
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastlm
from fastlm.bpe_training import ray_counting as counting
from fastlm.corpus import ray_encoding as encoding
from fastlm.corpus import text_blocks
from fastlm.corpus.block_encoder import BlockEncoder
from fastlm.corpus.encode_corpus import encode_corpus
from fastlm.corpus.encoded_parts import encode_part
from fastlm.corpus.job_folder import JobFolder
from fastlm.corpus.partitions import partitions_of
from fastlm.corpus.read import Blocks, Corpus
from fastlm.corpus.shard_writer import Shard, SplitWriter
from fastlm.corpus.text_blocks import Position
from fastlm.corpus.verify import verify_shards
from fastlm.pretokenize.patterns import find_pattern
from fastlm.pretokenize.text_splitter import TextSplitter
from tests import texts
from tests.children import LIMIT
from tests.cluster.stopping import StopError, stop_at

SEPARATOR = "<|endoftext|>"
DOCUMENTS = [document * 4 for document in texts.DOCUMENTS]
TEXT = SEPARATOR.join(DOCUMENTS)


@pytest.fixture(scope="module")
def ray():
    """A cluster of two workers."""
    ray = pytest.importorskip("ray", reason="ray is not installed")
    # workers are to import what this process does
    root = str(Path(fastlm.__file__).parents[1])
    # where little memory is free, Ray kills workers and tries again without end
    os.environ.setdefault("RAY_memory_monitor_refresh_ms", "0")
    ray.init(
        "local",
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="error",
        runtime_env={"env_vars": {"PYTHONPATH": root}},
    )
    yield ray
    ray.shutdown()


# sockets and processes of ray's own are left to the garbage collector
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")


@pytest.fixture
def small(monkeypatch):
    """Many tasks of little text."""
    monkeypatch.setattr(counting, "PARTITION_BYTES", 20_000)
    monkeypatch.setattr(encoding, "PARTITION_BYTES", 20_000)
    monkeypatch.setattr(encoding, "MOST_PARTITION_BYTES", 20_000)


def inputs(folder: Path, kind: str) -> Corpus:
    """The documents in one big text, in many files, in compressed JSON lines, or in Parquet."""
    if kind == "one text":
        (folder / "text").write_text(TEXT * 3, "utf-8", newline="")
        return Corpus([folder / "text"], separator=SEPARATOR)
    if kind == "many texts":
        for number, document in enumerate(DOCUMENTS):
            (folder / f"{number:03}.txt").write_text(document, "utf-8", newline="")
        return Corpus([folder])
    if kind == "jsonl.gz":
        pytest.importorskip("orjson")
        for name in ("a", "b"):
            lines = [json.dumps({"text": document}) for document in DOCUMENTS]
            (folder / f"{name}.jsonl.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
        return Corpus([folder])
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pyarrow.table({"text": [*DOCUMENTS, None, *DOCUMENTS]}), folder / "a.parquet", row_group_size=5)
    return Corpus([folder], on_error="skip")


KINDS = ["one text", "many texts", "jsonl.gz", "parquet"]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("kind", KINDS)
def test_merges_are_the_local_ones(ray, small, tmp_path, kind):
    corpus = inputs(tmp_path, kind)
    local = fastlm.train_bpe(corpus, 1500, num_threads=1)
    assert fastlm.train_bpe(corpus, 1500, engine="ray").merges == local.merges


@pytest.mark.parametrize(("kind", "shard_format"), [*zip(KINDS, ["npy", "megatron", "bin", "npy"], strict=True)])
def test_shards_and_manifest_are_the_local_ones(ray, small, trained, tmp_path, kind, shard_format):
    (tmp_path / "in").mkdir()
    corpus = inputs(tmp_path / "in", kind)
    options = {"format": shard_format, "end_of_text": SEPARATOR, "validation_fraction": 0.3, "shard_tokens": 7001}
    local = encode_corpus(trained, corpus, tmp_path / "local", num_threads=1, **options)
    assert encode_corpus(trained, corpus, tmp_path / "ray", engine="ray", **options) == local
    assert contents(tmp_path / "ray") == contents(tmp_path / "local")


def processes_below(parent: int) -> dict[int, str]:
    """pid -> title of all processes that a process began, and they."""
    parents, titles = {}, {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            state, above = (path / "stat").read_text().rpartition(")")[2].split()[:2]
            titles[int(path.name)] = (path / "cmdline").read_text("utf-8", "replace")
        except OSError:
            continue
        if state != "Z":
            parents[int(path.name)] = int(above)
    found: dict[int, str] = {}
    new = {parent}
    while new:
        new = {pid for pid, above in parents.items() if above in new}
        found |= {pid: titles[pid] for pid in new}
    return found


class Killer(threading.Thread):
    """Kills one worker of this process as soon as it is at work, whose title says at what."""

    def __init__(self, work: str) -> None:
        super().__init__()
        self.work, self.killed = work, 0
        self.start()

    def run(self) -> None:
        deadline = time.monotonic() + LIMIT
        while not self.killed and time.monotonic() < deadline:
            at_work = [pid for pid, title in processes_below(os.getpid()).items() if title.startswith(self.work)]
            if at_work:
                os.kill(at_work[0], signal.SIGKILL)
                self.killed = at_work[0]


needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="workers are found in /proc")


def is_gone(pid: int) -> bool:
    deadline = time.monotonic() + LIMIT
    while pid in processes_below(os.getpid()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return pid not in processes_below(os.getpid())


@needs_proc
def test_a_killed_worker_costs_a_counting_task_only(ray, tmp_path, monkeypatch):
    monkeypatch.setattr(counting, "PARTITION_BYTES", 3_000_000)
    path = tmp_path / "text"
    path.write_bytes(TEXT.encode() * 30)
    local = fastlm.train_bpe(path, 1500, num_threads=1)
    killer = Killer("ray::_count_partition")
    assert fastlm.train_bpe(path, 1500, engine="ray").merges == local.merges
    killer.join()
    assert killer.killed
    assert is_gone(killer.killed)


@needs_proc
def test_a_killed_worker_costs_an_encoding_task_only(ray, trained, tmp_path, monkeypatch):
    monkeypatch.setattr(encoding, "PARTITION_BYTES", 3_000_000)
    path = tmp_path / "text"
    path.write_bytes(TEXT.encode() * 20)
    corpus = Corpus([path, path], separator=SEPARATOR)
    local = encode_corpus(trained, corpus, tmp_path / "local", num_threads=1)
    killer = Killer("ray::_encode_part")
    assert encode_corpus(trained, corpus, tmp_path / "ray", engine="ray") == local
    killer.join()
    assert killer.killed
    assert is_gone(killer.killed)


def test_finished_parts_and_shards_are_not_made_again(ray, small, trained, tmp_path, monkeypatch):
    """A driver that dies while it encodes, and once more when all shards are there."""
    (tmp_path / "in").mkdir()
    corpus = inputs(tmp_path / "in", "one text")
    options = {"shard_tokens": 7001, "validation_fraction": 0.2}
    local = encode_corpus(trained, corpus, tmp_path / "local", num_threads=1, **options)
    out = tmp_path / "ray"

    with pytest.raises(StopError):
        encode_corpus(trained, corpus, out, engine="ray", progress=stop_at(3), **options)
    finished = {path: path.stat().st_mtime_ns for path in (out / "unfinished").glob("cluster-part-*.json")}
    assert len(finished) >= 3

    def die(*arguments):
        raise StopError

    with monkeypatch.context() as patches:
        patches.setattr(JobFolder, "adopt", die)
        with pytest.raises(StopError):
            encode_corpus(trained, corpus, out, engine="ray", resume=True, **options)
    assert {path: path.stat().st_mtime_ns for path in finished} == finished
    assert not (out / "manifest.json").exists()
    shards = {path: path.stat().st_mtime_ns for path in out.glob("*.npy")}
    assert len(shards) == sum(map(len, local.splits.values()))
    assert encode_corpus(trained, corpus, out, engine="ray", resume=True, **options) == local
    assert {path: path.stat().st_mtime_ns for path in shards} == shards
    assert contents(out) == contents(tmp_path / "local")


def test_parts_of_another_partition_are_made_again(ray, small, trained, tmp_path, monkeypatch):
    (tmp_path / "in").mkdir()
    corpus = inputs(tmp_path / "in", "many texts")
    local = encode_corpus(trained, corpus, tmp_path / "local", num_threads=1)

    def stop(*progress):
        raise StopError

    with pytest.raises(StopError):
        encode_corpus(trained, corpus, tmp_path / "ray", engine="ray", progress=stop)
    monkeypatch.setattr(encoding, "PARTITION_BYTES", 50_000)
    assert encode_corpus(trained, corpus, tmp_path / "ray", engine="ray", resume=True) == local
    assert contents(tmp_path / "ray") == contents(tmp_path / "local")


def test_no_id_passes_through_the_driver(ray, small, trained, tmp_path, monkeypatch):
    (tmp_path / "in").mkdir()
    corpus = inputs(tmp_path / "in", "one text")

    def refuse(*arguments):
        raise AssertionError("the driver handles ids")

    for name in ("encode_part", "write_from_parts"):
        monkeypatch.setattr(encoding, name, refuse)
    monkeypatch.setattr(SplitWriter, "write", refuse)
    received = []
    get = ray.get
    monkeypatch.setattr(ray, "get", lambda found: received.append(get(found)) or received[-1])
    manifest = encode_corpus(trained, corpus, tmp_path / "ray", engine="ray", shard_tokens=7001)
    assert len(received) > 10
    assert {type(result) for result in received} == {encoding.EncodedPart, Shard}
    assert manifest == verify_shards(tmp_path / "ray")


def test_a_worker_that_does_not_see_the_output(trained, tmp_path):
    encoder = BlockEncoder(trained, np.dtype("<u2"))
    (tmp_path / "in").mkdir()
    corpus = inputs(tmp_path / "in", "many texts")
    partition = next(partitions_of(Blocks(corpus, encoder.splitter), 1 << 30))
    with pytest.raises(FileNotFoundError, match="all machines of the cluster must share the storage of the output"):
        encode_part(encoder, corpus, partition, 0, tmp_path / "elsewhere")


@pytest.mark.parametrize(
    ("kind", "engines"),
    [
        ("one text", ("ray", "local")),
        ("jsonl.gz", ("local", "ray")),
        ("parquet", ("ray", "local")),
    ],
)
def test_either_engine_goes_on_with_a_run_of_the_other(ray, small, trained, tmp_path, monkeypatch, kind, engines):
    monkeypatch.setattr("fastlm.corpus.job_folder.CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(text_blocks, "BLOCK_BYTES", 30_000)
    (tmp_path / "in").mkdir()
    corpus = inputs(tmp_path / "in", kind)
    options = {"shard_tokens": 7001, "validation_fraction": 0.2}
    encode_corpus(trained, corpus, tmp_path / "whole", num_threads=1, **options)

    with pytest.raises(StopError):
        encode_corpus(
            trained, corpus, tmp_path / "out", engine=engines[0], num_threads=1, progress=stop_at(3), **options
        )
    encode_corpus(trained, corpus, tmp_path / "out", engine=engines[1], num_threads=2, resume=True, **options)
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def bad_line(folder: Path) -> Corpus:
    pytest.importorskip("orjson")
    for name in "abc":
        (folder / f"{name}.jsonl").write_text('{"text": "so far"}\n' * 2 + ("{oh no\n" if name > "a" else ""))
    return Corpus([folder])


def bad_bytes(folder: Path) -> Corpus:
    content = bytearray(TEXT.encode() * 2)
    content[len(content) - 5000] = content[len(content) - 9000] = 0xFF
    (folder / "text").write_bytes(content)
    return Corpus([folder])


@pytest.mark.parametrize(("make", "job"), [(bad_line, "train"), (bad_line, "encode"), (bad_bytes, "train")])
def test_errors_are_the_local_ones(ray, small, trained, tmp_path, make, job):
    (tmp_path / "in").mkdir()
    corpus = make(tmp_path / "in")
    run = functools.partial(fastlm.train_bpe, corpus, 300)
    if job == "encode":
        run = functools.partial(encode_corpus, trained, corpus, tmp_path / "out")
    with pytest.raises(ValueError, match="in/") as local:
        run(num_threads=1)
    with pytest.raises(ValueError, match="in/") as remote:
        run(engine="ray")
    assert str(remote.value) == str(local.value)
    assert type(remote.value) is type(local.value)
    assert not (tmp_path / "out").exists()


def test_a_file_that_a_worker_sees_otherwise(tmp_path):
    path = tmp_path / "text"
    path.write_text("some text")
    splitter = TextSplitter([], find_pattern("gpt2"))
    (partition,) = partitions_of(Blocks(path, splitter), 1 << 20)
    path.write_text("other text")
    with pytest.raises(OSError, match="text: 10 bytes here, 9 bytes where the run was started"):
        partition.blocks(Corpus(()), splitter)
    path.unlink()
    with pytest.raises(FileNotFoundError, match="text"):
        partition.blocks(Corpus(()), splitter)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"engine": "dask"}, "engine must be 'local' or 'ray', got 'dask'"),
        ({"engine": "ray", "max_memory": 10**9}, "engine='ray' does not support max_memory"),
        ({"engine": "ray", "checkpoint": "there"}, "engine='ray' does not support checkpoint"),
    ],
)
def test_options_that_do_not_go_together(options, message):
    with pytest.raises(ValueError, match=message):
        fastlm.train_bpe(["text"], 300, **options)


def test_documents_are_refused(ray):
    with pytest.raises(ValueError, match="a cluster reads files and addresses"):
        fastlm.train_bpe(["text"], 300, engine="ray")


def test_a_missing_ray_is_named_with_its_extra(monkeypatch, tmp_path):
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    (tmp_path / "text").write_text("text")
    with pytest.raises(ValueError, match=r"pip install ray"):
        fastlm.train_bpe(tmp_path / "text", 300, engine="ray")


def test_an_address_is_of_a_cluster(capsys, trained, tmp_path):
    from fastlm.cli import main

    trained.save(tmp_path / "t")
    arguments = [
        "encode",
        "text",
        "--tokenizer",
        str(tmp_path / "t"),
        "--out",
        str(tmp_path / "o"),
        "--address",
        "auto",
    ]
    assert main(arguments) == 1
    assert "--address needs --engine ray" in capsys.readouterr().err


parts = [*texts.PIECES, SEPARATOR, "<|endo", "text|>", "word", " and", "\n"]
# long enough to be divided, which Hypothesis' own lists seldom are
long_texts = st.integers(0, 1 << 32).map(lambda seed: "".join(random.Random(seed).choices(parts, k=300)))


@given(
    long_texts,
    st.sampled_from(["gpt2", "cl100k_base", "o200k_base", "deepseek-v3"]),
    st.data(),
)
@settings(max_examples=200)
def test_partitions_of_a_text_are_the_whole(tmp_path_factory, text, pattern, data):
    """The partitions in a row have the pretokens, boundaries and ends of documents of the whole text."""
    path = tmp_path_factory.getbasetemp() / "partitions"
    path.write_text(text, "utf-8", newline="")
    corpus = Corpus([path], separator=data.draw(st.sampled_from([None, SEPARATOR, "\n"])))
    splitter = TextSplitter(data.draw(st.sampled_from([[], [SEPARATOR], ["word", " and"]])), find_pattern(pattern))

    def read(blocks) -> tuple[list[int], list[list[int]], int]:
        at, pretokens, boundaries, ended = 0, [], [], 0
        for block in blocks:
            for start, end in block.segments.tolist():
                pretokens.extend((splitter.pattern.find_ends(bytes(block.text[start:end])) + at + start).tolist())
            boundaries.extend((block.boundaries + np.array([at, at, 0])).tolist())
            at += len(block.text)
            ended += block.documents
            block.release()
        return pretokens, boundaries, ended

    whole = read(Blocks(corpus, splitter))
    partitions = list(partitions_of(Blocks(corpus, splitter), 40))
    assert len(partitions) > 1
    assert read(block for partition in partitions for block in partition.blocks(corpus, splitter)) == whole
    assert [partition.start for partition in partitions[1:]] == [partition.stop for partition in partitions[:-1]]


def test_a_text_is_divided(tmp_path):
    (tmp_path / "text").write_text(TEXT, "utf-8", newline="")
    corpus = Corpus([tmp_path / "text"], separator=SEPARATOR)
    splitter = TextSplitter([SEPARATOR], find_pattern("gpt2"))
    partitions = list(partitions_of(Blocks(corpus, splitter), 50_000))
    assert len(partitions) in (len(TEXT.encode()) // 50_000, len(TEXT.encode()) // 50_000 + 1)
    assert partitions[0].start == Position()
    assert partitions[-1].stop is None
