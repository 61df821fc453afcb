"""Documents in a random order: the same for every way of encoding, and after a kill at any moment."""

import itertools
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastlm
from fastlm.cli import main
from fastlm.corpus import shuffle
from fastlm.corpus.document_table import read_document_table, write_document_tables
from fastlm.corpus.encode_corpus import encode_corpus
from fastlm.corpus.manifest import read_manifest
from fastlm.corpus.read import Corpus
from fastlm.corpus.shard_formats import read_ends, shard_files
from fastlm.corpus.shuffle import encode_shuffled, shuffle_order
from fastlm.corpus.verify import verify_shards

TEXTS = [f"the cat {k} sat {'on ' * (k % 5)}" for k in range(83)]
TOKENIZER = fastlm.train_bpe([" ".join(TEXTS)], 290, ["<|endoftext|>"])


def documents_of(folder, split="train"):
    """The ids of each document of a split, in order."""
    manifest = read_manifest(folder)
    found, rest = [], []
    for number, ids in enumerate(manifest.map(folder, split)):
        ends = read_ends(folder / shard_files(split, number, manifest.job.format)[1])
        parts = np.split(np.asarray(ids), ends)
        for part in parts[:-1]:
            found.append([*rest, *part.tolist()])
            rest = []
        rest = [*rest, *parts[-1].tolist()]
    assert not rest
    return found


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@settings(max_examples=25, deadline=None)
@given(
    texts=st.lists(st.sampled_from(TEXTS), min_size=1, max_size=40),
    seed=st.integers(0, 2**64 - 1),
    shard_format=st.sampled_from(["npy", "bin", "megatron"]),
    shard_tokens=st.integers(1, 60),
    fraction=st.sampled_from([0.0, 0.4]),
    sizes=st.tuples(st.integers(1, 200), st.integers(1, 64)),
)
def test_shuffled_shards_are_the_plain_ones_in_the_order_of_the_keys(
    tmp_path_factory, texts, seed, shard_format, shard_tokens, fraction, sizes
):
    directory = tmp_path_factory.mktemp("shuffle")
    options = {"format": shard_format, "shard_tokens": shard_tokens, "validation_fraction": fraction}
    options |= {"end_of_text": "<|endoftext|>"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shuffle, "BUCKET_BYTES", sizes[0])
        patch.setattr(shuffle, "_PART_BYTES", sizes[1])
        manifest = encode_shuffled(TOKENIZER, texts, directory / "shuffled", seed=seed, **options)
    encode_corpus(TOKENIZER, texts, directory / "plain", **options)
    assert manifest == read_manifest(directory / "shuffled")
    verify_shards(directory / "shuffled")
    for split in manifest.splits:
        plain = documents_of(directory / "plain", split)
        expected = [plain[number] for number in shuffle_order(seed, len(plain))]
        assert documents_of(directory / "shuffled", split) == expected
    assert manifest.job.shuffle == seed


def test_orders_are_permutations_that_depend_on_the_seed():
    orders = [tuple(shuffle_order(seed, 50).tolist()) for seed in range(20)]
    assert all(sorted(order) == list(range(50)) for order in orders)
    assert len(set(orders)) == 20
    # each place is about as likely for a document
    places = np.array([np.argmin(shuffle_order(seed, 10)) for seed in range(2000)])
    assert np.abs(np.bincount(places, minlength=10) - 200).max() < 70


def test_it_does_not_depend_on_the_number_of_buckets(tmp_path, monkeypatch):
    encode_shuffled(TOKENIZER, TEXTS, tmp_path / "one", seed=3, shard_tokens=100)
    monkeypatch.setattr(shuffle, "BUCKET_BYTES", 64)
    encode_shuffled(TOKENIZER, TEXTS, tmp_path / "many", seed=3, shard_tokens=100, num_threads=1)
    assert contents(tmp_path / "one") == contents(tmp_path / "many")


def test_a_run_that_is_stopped_anywhere_continues(tmp_path, monkeypatch):
    text = tmp_path / "text.txt"
    text.write_text("\n\n".join(TEXTS))
    source = Corpus([str(text)], separator="\n\n")
    encode_shuffled(TOKENIZER, source, tmp_path / "whole", seed=3, shard_tokens=100, validation_fraction=0.3)
    replace, opened = os.replace, shuffle.open if hasattr(shuffle, "open") else open
    for stop in itertools.count(1):
        calls = itertools.count(1)

        def stopping(function, *arguments, calls=calls, stop=stop):
            if next(calls) == stop:
                raise InterruptedError("stopped")
            return function(*arguments)

        out = tmp_path / f"stopped-{stop}"
        with monkeypatch.context() as patch:
            patch.setattr(shuffle.os, "replace", lambda a, b, stopping=stopping: stopping(replace, a, b))
            patch.setattr(shuffle, "open", lambda a, b, stopping=stopping: stopping(opened, a, b), raising=False)
            try:
                options = {"seed": 3, "shard_tokens": 100, "validation_fraction": 0.3}
                encode_shuffled(TOKENIZER, source, out, **options)
                break
            except InterruptedError:
                assert not (out / "manifest.json").exists() or stop > 3
        encode_shuffled(TOKENIZER, source, out, resume=True, **options)
        assert contents(out) == contents(tmp_path / "whole")
        encode_shuffled(TOKENIZER, source, out, resume=True, **options)
        assert contents(out) == contents(tmp_path / "whole")
    assert stop > 10


def test_other_runs_and_folders_are_refused(tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("\n\n".join(TEXTS))
    source = Corpus([str(text)], separator="\n\n")
    encode_shuffled(TOKENIZER, source, tmp_path / "ids", seed=3)
    with pytest.raises(FileExistsError, match=r"The folder holds 'manifest.json'"):
        encode_shuffled(TOKENIZER, source, tmp_path / "ids", seed=3)
    with pytest.raises(ValueError, match="cannot resume with another shuffle: the run began with 3, not 4"):
        encode_shuffled(TOKENIZER, source, tmp_path / "ids", seed=4, resume=True)
    with pytest.raises(ValueError, match="cannot resume with another shard_tokens"):
        encode_shuffled(TOKENIZER, source, tmp_path / "ids", seed=3, shard_tokens=7, resume=True)
    with pytest.raises(ValueError, match="cannot resume with another shuffle"):
        encode_corpus(TOKENIZER, source, tmp_path / "ids", resume=True)
    encode_corpus(TOKENIZER, source, tmp_path / "plain")
    with pytest.raises(ValueError, match="cannot resume with another shuffle: the run began with None, not 3"):
        encode_shuffled(TOKENIZER, source, tmp_path / "plain", seed=3, resume=True)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "x").touch()
    with pytest.raises(FileExistsError, match="The folder holds 'x'"):
        encode_shuffled(TOKENIZER, source, tmp_path / "other", seed=3, resume=True)
    for seed in (-1, 1 << 64, True, "3"):
        with pytest.raises(ValueError, match=r"seed must be an integer from 0 to less than 2\^64"):
            encode_shuffled(TOKENIZER, source, tmp_path / "new", seed=seed)
    with pytest.raises(ValueError, match="a shuffled corpus cannot be divided among ranks"):
        encode_shuffled(TOKENIZER, source, tmp_path / "new", seed=3, rank=0, world_size=2)
    assert not (tmp_path / "new").exists()
    before = (tmp_path / "plain" / "manifest.json").read_text()
    assert '"shuffle"' not in before


def test_the_command_shuffles_and_writes_the_table(tmp_path, capsys):
    TOKENIZER.save(tmp_path / "tokenizer")
    text = tmp_path / "text.txt"
    text.write_text("\n\n".join(TEXTS))
    options = ["--tokenizer", str(tmp_path / "tokenizer"), "--out", str(tmp_path / "ids"), "--separator", "\n\n"]
    options += ["--validation-fraction", "0.2", "--document-table"]
    assert main(["encode", str(text), *options, "--shuffle", "5"]) == 0
    assert "83 documents" in capsys.readouterr().out
    found = []
    for split in ("train", "val"):
        table = read_document_table(tmp_path / "ids", split)
        for row, ids in zip(table.tolist(), documents_of(tmp_path / "ids", split), strict=True):
            document = TOKENIZER.decode(ids)
            assert text.read_text()[row[1] :].startswith(document)
            found.append(document)
        assert table["first_id"][0] == 0
        assert np.all(np.diff(table["first_id"].astype(np.int64)) > 0)
    assert sorted(found) == sorted(TEXTS)
    assert found != TEXTS
    write_document_tables(Path(tmp_path / "ids"), TOKENIZER)
