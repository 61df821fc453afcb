"""Ranks and merging: the shards and the tokenizer are those of one process, byte for byte."""

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import fastlm
from fastlm import cli
from fastlm.bpe_training.rank_counts import count_rank, train_from_counts
from fastlm.corpus.encode_corpus import encode_corpus
from fastlm.corpus.merge_shards import merge_shards, parts_in
from fastlm.corpus.ranks import Rank
from fastlm.corpus.read import Blocks, Corpus
from fastlm.corpus.verify import verify_shards
from tests import texts

SEPARATOR = "<|endoftext|>"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Text, JSON lines, a compressed file, an empty file and Parquet, in one folder."""
    folder = tmp_path_factory.mktemp("corpus")
    text = SEPARATOR.join(texts.DOCUMENTS * 2)
    (folder / "a.txt").write_text(text, "utf-8", newline="")
    (folder / "b.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts.DOCUMENTS), "utf-8")
    (folder / "c.txt.gz").write_bytes(gzip.compress(text.encode()))
    (folder / "d.txt").write_text("", "utf-8")
    (folder / "e.txt").write_text("one long document " * 2_500, "utf-8")
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    table = pyarrow.table({"text": texts.DOCUMENTS * 4})
    parquet.write_table(table, folder / "f.parquet", row_group_size=20)
    return folder


@pytest.fixture(autouse=True)
def small_windows(monkeypatch):
    monkeypatch.setattr("fastlm.corpus.partitions.SEARCHED_BYTES", 512)
    monkeypatch.setattr("fastlm.corpus.text_blocks.BLOCK_BYTES", 4096)


QUICK = {(4, "bin")}


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def parts_of(tokenizer, corpus, folder, world_size, **options):
    for rank in range(world_size):
        out = folder / Rank(rank, world_size).folder
        encode_corpus(tokenizer, corpus, out, rank=rank, world_size=world_size, **options)
    return parts_in(folder)


@pytest.mark.parametrize(
    ("world_size", "shard_format"),
    [
        (world_size, name) if (world_size, name) in QUICK else pytest.param(world_size, name, marks=pytest.mark.nightly)
        for world_size in (1, 4, 9)
        for name in ("npy", "bin", "megatron")
    ],
)
def test_merged_shards_are_those_of_one_process(files, trained, tmp_path, shard_format, world_size, monkeypatch):
    monkeypatch.setattr("fastlm.corpus.merge_shards.CHUNK_IDS", 1000)
    corpus = Corpus([str(files)], separator=SEPARATOR)
    options = {"format": shard_format, "shard_tokens": 3000, "validation_fraction": 0.15, "end_of_text": SEPARATOR}
    expected = encode_corpus(trained, corpus, tmp_path / "one", **options)
    parts = parts_of(trained, corpus, tmp_path / "parts", world_size, **options)
    assert len(parts) == world_size
    for part in parts:
        verify_shards(part)
    seen = []
    manifest = merge_shards(parts[::-1], tmp_path / "merged", progress=lambda *told: seen.append(told))
    assert manifest == expected
    assert content(tmp_path / "merged") == content(tmp_path / "one")
    assert seen[-1][0] == seen[-1][1]
    # each rank has about its share of the corpus
    if world_size == 4:
        tokens = [sum(path.stat().st_size for path in part.glob("*.bin")) for part in parts]
        assert max(tokens) < 0.6 * sum(tokens)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    documents=st.lists(st.text(alphabet="ab \n<|endoftx>é日", max_size=60), min_size=1, max_size=30),
    world_size=st.integers(1, 4),
    shard_tokens=st.integers(20, 90),
    fraction=st.sampled_from([0.0, 0.3]),
    shard_format=st.sampled_from(["npy", "bin", "megatron"]),
)
def test_any_text_any_ranks(trained, tmp_path_factory, documents, world_size, shard_tokens, fraction, shard_format):
    folder = tmp_path_factory.mktemp("any")
    (folder / "text").write_text(SEPARATOR.join(documents), "utf-8", newline="")
    corpus = Corpus([str(folder / "text")], separator=SEPARATOR)
    options = {"format": shard_format, "shard_tokens": shard_tokens, "validation_fraction": fraction}
    try:
        encode_corpus(trained, corpus, folder / "one", **options)
    except ValueError as error:
        assert "holds no text" in str(error)  # noqa: PT017
        return
    parts = parts_of(trained, corpus, folder / "parts", world_size, **options)
    merge_shards(parts, folder / "merged")
    assert content(folder / "merged") == content(folder / "one")


def test_records_that_are_skipped(files, trained, tmp_path):
    bad = tmp_path / "bad.jsonl"
    lines = [json.dumps({"text": f"good {k}"}) if k % 7 else "bad" for k in range(500)]
    bad.write_text("\n".join(lines))
    (tmp_path / "bytes.txt").write_bytes(b"text \xff " * 3000)
    corpus = Corpus([str(bad), str(tmp_path / "bytes.txt"), str(bad)], on_error="skip")
    encode_corpus(trained, corpus, tmp_path / "one")
    merge_shards(parts_of(trained, corpus, tmp_path / "parts", 3), tmp_path / "merged")
    assert content(tmp_path / "merged") == content(tmp_path / "one")


def test_the_blocks_of_all_ranks_are_the_corpus(files, trained):
    corpus = Corpus([str(files)], separator=SEPARATOR)
    whole = Blocks(corpus, trained.splitter)
    expected = b"".join(bytes(block.text) for block in whole)
    for world_size in (1, 2, 3, 7, 40):
        found = [
            b"".join(bytes(block.text) for block in Rank(rank, world_size).blocks(Blocks(corpus, trained.splitter)))
            for rank in range(world_size)
        ]
        assert b"".join(found) == expected


def test_a_part_and_a_merge_resume(files, trained, tmp_path, monkeypatch):
    monkeypatch.setattr("fastlm.corpus.job_folder.CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr("fastlm.corpus.merge_shards.CHUNK_IDS", 1000)
    corpus = Corpus([str(files)], separator=SEPARATOR)
    options = {"shard_tokens": 3000, "validation_fraction": 0.15}
    encode_corpus(trained, corpus, tmp_path / "one", **options)

    class StopError(Exception):
        pass

    def stop_at(number):
        calls = iter(range(number))

        def progress(done, total):
            if next(calls, None) is None:
                raise StopError

        return progress

    for rank in range(3):
        out = tmp_path / "parts" / Rank(rank, 3).folder
        ranks = {"rank": rank, "world_size": 3, **options}
        for number in (1, 4, 9):
            with pytest.raises(StopError):
                encode_corpus(trained, corpus, out, resume=True, num_threads=1, progress=stop_at(number), **ranks)
        encode_corpus(trained, corpus, out, resume=True, **ranks)
        again = encode_corpus(trained, corpus, out, resume=True, **ranks)
        assert again == verify_shards(out)
    parts = parts_in(tmp_path / "parts")
    for number in (1, 5, 20):
        with pytest.raises(StopError):
            merge_shards(parts, tmp_path / "merged", resume=True, progress=stop_at(number))
        assert not (tmp_path / "merged" / "manifest.json").exists()
    merge_shards(parts, tmp_path / "merged", resume=True)
    assert content(tmp_path / "merged") == content(tmp_path / "one")
    merge_shards(parts, tmp_path / "merged", resume=True)
    with pytest.raises(FileExistsError):
        merge_shards(parts, tmp_path / "merged")


def test_what_merging_refuses(files, trained, tmp_path):
    corpus = Corpus([str(files)], separator=SEPARATOR)
    parts = parts_of(trained, corpus, tmp_path / "parts", 3)
    other = parts_of(trained, corpus, tmp_path / "other", 3, shard_tokens=5000)
    for chosen, message in (
        ([], "give the folders of all parts"),
        (parts[:2], "part 2 of 3 is missing"),
        ([*parts, parts[1]], "part 1 of 3 is given twice"),
        ([*parts[:2], other[2]], "is a part of another job than"),
    ):
        with pytest.raises(ValueError, match=message):
            merge_shards(chosen, tmp_path / "merged")
    with pytest.raises(FileNotFoundError):
        merge_shards([tmp_path], tmp_path / "merged")
    path = parts[1] / "train-00000.bin"
    changed = bytearray(path.read_bytes())
    changed[7] ^= 1
    path.write_bytes(bytes(changed))
    with pytest.raises(ValueError, match=r"train-00000\.bin: its sha256 is"):
        merge_shards(parts, tmp_path / "merged")
    with pytest.raises(ValueError, match="cannot resume with another inputs"):
        encode_corpus(trained, corpus, parts[0], rank=1, world_size=3, resume=True)
    # parts of one file have the same inputs
    text = Corpus([str(files / "a.txt")])
    one = parts_of(trained, text, tmp_path / "text", 2)
    with pytest.raises(ValueError, match="of another job, or of part 0 of 2"):
        encode_corpus(trained, text, one[0], rank=1, world_size=2, resume=True)
    text = (parts[0] / "part.json").read_text()
    (parts[0] / "part.json").write_text(text.replace('"rank": 0', '"rank": 1'))
    with pytest.raises(ValueError, match=r"part\.json: sha256: the content has"):
        merge_shards(parts, tmp_path / "merged")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rank": 0}, "rank and world_size belong together"),
        ({"rank": 2, "world_size": 2}, "rank must be from 0 to 1, got 2"),
        ({"rank": -1, "world_size": 2}, "rank must be from 0 to 1, got -1"),
        ({"rank": 0, "world_size": 0}, "world_size must be at least 1, got 0"),
        ({"rank": 0, "world_size": 2, "engine": "ray"}, "need engine='local'"),
    ],
)
def test_ranks_that_are_refused(trained, tmp_path, options, message):
    (tmp_path / "text").write_text("text")
    with pytest.raises(ValueError, match=message):
        encode_corpus(trained, tmp_path / "text", tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_documents_have_no_ranks(trained, tmp_path):
    with pytest.raises(ValueError, match="a cluster reads files"):
        encode_corpus(trained, ["text"], tmp_path / "out", rank=0, world_size=2)


@pytest.mark.parametrize("world_size", [1, 4, 9])
def test_counts_of_ranks_make_the_tokenizer_of_one_process(files, tmp_path, world_size):
    corpus = Corpus([str(files)], separator=SEPARATOR)
    options = {"pattern": "cl100k_base", "tie_break": "hf", "min_frequency": 2}
    expected = fastlm.train_bpe(corpus, 600, [SEPARATOR, "<|user|>"], **options)
    for rank in range(world_size):
        part = Rank(rank, world_size)
        count_rank(corpus, 600, [SEPARATOR, "<|user|>"], tmp_path / part.folder, part, **options)
    merged = train_from_counts(parts_in(tmp_path)[::-1])
    assert merged.vocabulary.fingerprint == expected.vocabulary.fingerprint
    with pytest.raises(ValueError, match=r"give the folders of all parts|part 0 of \d is missing"):
        train_from_counts(parts_in(tmp_path)[1:])


def test_counts_resume_and_must_be_finished(files, tmp_path):
    corpus, part = Corpus([str(files)], separator=SEPARATOR), Rank(0, 1)

    class StopError(Exception):
        pass

    def stop(phase, done, total):
        if done > 8_000:
            raise StopError

    options = {"checkpoint_seconds": 1e-9, "num_threads": 1}
    with pytest.raises(StopError):
        count_rank(corpus, 400, None, tmp_path / "part", part, progress=stop, **options)
    with pytest.raises(ValueError, match="counting is not finished"):
        train_from_counts([tmp_path / "part"])
    with pytest.raises(FileExistsError):
        count_rank(corpus, 400, None, tmp_path / "part", part)
    count_rank(corpus, 400, None, tmp_path / "part", part, resume=True)
    expected = fastlm.train_bpe(corpus, 400)
    assert train_from_counts([tmp_path / "part"]).vocabulary.fingerprint == expected.vocabulary.fingerprint


def test_commands(files, trained, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    trained.save("tokenizer")
    text = str(files / "a.txt")
    common = [text, "--tokenizer", "tokenizer", "--separator", SEPARATOR]
    assert cli.main(["encode", *common, "--out", "one"]) == 0
    for rank in range(3):
        assert cli.main(["encode", *common, "--out", "parts", "--rank", str(rank), "--world-size", "3"]) == 0
    assert cli.main(["merge", "parts", "--out", "merged"]) == 0
    assert content(Path("merged")) == content(Path("one"))
    train = ["train-tokenizer", text, "--vocab-size", "400"]
    assert cli.main([*train, "--out", "trained"]) == 0
    monkeypatch.setenv("SLURM_NTASKS", "2")
    for rank in range(2):
        monkeypatch.setenv("SLURM_PROCID", str(rank))
        assert cli.main([*train, "--out", "counts", "--rank", "auto"]) == 0
    assert cli.main(["merge", *map(str, Path("counts").iterdir()), "--out", "learned"]) == 0
    assert content(Path("learned")) == content(Path("trained"))
    capsys.readouterr()
    for options, message in (
        (["--rank", "0"], "--rank needs --world-size"),
        (["--world-size", "2"], "--world-size needs --rank"),
        (["--rank", "x", "--world-size", "2"], "--rank must be an integer of at least 0, got 'x'"),
        (["--rank", "2", "--world-size", "2"], "rank must be from 0 to 1, got 2"),
        (["--rank", "0", "--world-size", "2", "--shuffle", "1"], "a shuffled corpus cannot be divided among ranks"),
        (["--rank", "0", "--world-size", "2", "--document-table"], "--document-table needs whole shards"),
    ):
        assert cli.main(["encode", *common, "--out", "never", *options]) == 1
        assert message in capsys.readouterr().err
    monkeypatch.delenv("SLURM_PROCID")
    assert cli.main(["encode", *common, "--out", "never", "--rank", "auto"]) == 1
    assert "--rank auto needs the variables SLURM_PROCID and SLURM_NTASKS" in capsys.readouterr().err
    assert cli.main(["merge", "tokenizer", "--out", "never"]) == 1
    assert "no part in tokenizer" in capsys.readouterr().err
    assert not Path("never").exists()
