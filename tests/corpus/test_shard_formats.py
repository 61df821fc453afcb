"""The files of shards: what a reader refuses, with the file and what it expected."""

import json
import os

import numpy as np
import pytest

from fastlm.corpus.encode_corpus import encode_corpus
from fastlm.corpus.manifest import read_manifest, with_checksum
from fastlm.corpus.read import Corpus
from fastlm.corpus.shard_formats import map_ids, megatron_index, read_ends
from fastlm.corpus.verify import verify_shards
from tests.reference import shards as reference

DOCUMENTS = ["one document", "another one, which is longer", "", "the last"]


@pytest.fixture
def shard(trained, tmp_path, monkeypatch, request):
    """The folder of one shard, and a call that replaces a file of it, with a manifest that agrees."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    source, out = tmp_path / "text", tmp_path / "out"
    source.write_text("<|endoftext|>".join(DOCUMENTS))
    encode_corpus(trained, Corpus([source], separator="<|endoftext|>"), out, format=request.param)
    manifest = json.loads((out / "manifest.json").read_text())
    del manifest["sha256"]

    def replace(name: str, content: bytes) -> None:
        (out / name).write_bytes(content)
        manifest["splits"]["train"][0]["sha256"][name] = reference.sums_of({name: content})[name]
        (out / "manifest.json").write_text(json.dumps(with_checksum(manifest)))

    return out, replace


def ends_of(*ends: int) -> bytes:
    return np.array(ends, "<u8").tobytes()


@pytest.mark.parametrize("shard", ["bin"], indirect=True)
def test_ends_of_documents_that_do_not_rise_or_rise_too_far(shard):
    out, replace = shard
    good = np.frombuffer((out / "train-00000.index").read_bytes(), "<u8").tolist()
    assert len(good) == len(DOCUMENTS)
    verify_shards(out)
    for wrong in ([good[1], good[0], *good[2:]], [*good[:-1], good[-1] + 1], [*good[:-1], 1 << 62]):
        replace("train-00000.index", ends_of(*wrong))
        with pytest.raises(
            ValueError, match=rf"00000\.index: the ends of documents must rise from 0 to at most {good[-1]}"
        ):
            verify_shards(out)
    replace("train-00000.index", ends_of(*good[:-1]))
    with pytest.raises(ValueError, match=r"00000\.index: 3 documents; expected 4"):
        verify_shards(out)
    # an unfinished document of the next shard may follow the last end
    replace("train-00000.index", ends_of(*good[:-1], good[-1] - 1))
    verify_shards(out)


@pytest.mark.parametrize("shard", ["megatron"], indirect=True)
def test_documents_of_megatron_have_all_ids(shard):
    out, replace = shard
    ends = read_ends(out / "train-00000.idx")
    ends[-1] -= 1
    replace("train-00000.idx", megatron_index(ends, np.dtype("<u2")))
    with pytest.raises(ValueError, match=rf"00000\.idx: the documents have {ends[-1]} ids; expected {ends[-1] + 1}"):
        verify_shards(out)


@pytest.mark.parametrize("shard", ["megatron"], indirect=True)
@pytest.mark.parametrize("wrong", [-1, -(1 << 31), 70_000])
def test_ids_of_megatron_that_are_not_in_the_vocabulary(shard, wrong):
    """Large vocabularies have signed ids."""
    out, _ = shard
    manifest = json.loads((out / "manifest.json").read_text())
    del manifest["sha256"]
    manifest["job"] |= {"vocabulary_size": 70_000, "dtype": "<i4"}
    ids = np.array([5, 69_999, wrong], "<i4")
    files = {"train-00000.bin": ids.tobytes(), "train-00000.idx": megatron_index(np.array([3]), np.dtype("<i4"))}
    for name, content in files.items():
        (out / name).write_bytes(content)
    manifest["splits"]["train"] = [{"tokens": 3, "documents": 1, "sha256": reference.sums_of(files)}]
    (out / "manifest.json").write_text(json.dumps(with_checksum(manifest | {"tokens": 3, "documents": 1})))
    with pytest.raises(ValueError, match=rf"00000\.bin: id {wrong} at 2; expected ids below 70000"):
        verify_shards(out)


@pytest.mark.parametrize("shard", ["npy"], indirect=True)
def test_arrays_of_another_dtype_or_shape(shard):
    out, replace = shard
    path = out / "train-00000.npy"
    ids = np.load(path)
    for wrong in (ids.astype("<u4"), ids.astype(">u2"), ids.astype("<i2"), ids[None], ids[0].reshape(())):
        np.save(path, wrong)
        replace(path.name, path.read_bytes())
        with pytest.raises(ValueError, match=r"00000\.npy: .* of shape .*; expected one dimension of uint16"):
            verify_shards(out)
    for others in (ids[:-1], np.append(ids, ids[:1])):
        np.save(path, others)
        replace(path.name, path.read_bytes())
        with pytest.raises(ValueError, match=rf"00000\.npy: {len(others)} ids; expected \d+"):
            read_manifest(out).map(out, "train")


def test_a_file_of_ids_of_an_odd_length(tmp_path):
    path = tmp_path / "x.bin"
    path.write_bytes(b"abc")
    with pytest.raises(ValueError, match=r"x\.bin: 3 bytes; expected a multiple of 2, for ids of uint16"):
        map_ids(path, "bin", np.dtype("<u2"))
    path.write_bytes(b"")
    assert len(map_ids(path, "megatron", np.dtype("<u2"))) == 0


def test_indices_that_are_none(tmp_path):
    path = tmp_path / "x.index"
    path.write_bytes(ends_of(1 << 63))
    with pytest.raises(ValueError, match=r"x\.index: the end of a document is beyond 2\^63 ids"):
        read_ends(path)
    path.write_bytes(ends_of((1 << 63) - 1))
    assert read_ends(path).tolist() == [(1 << 63) - 1]
    path.write_bytes(b"1234567")
    with pytest.raises(ValueError, match=r"x\.index: 7 bytes; expected a multiple of 8"):
        read_ends(path)


def test_indices_of_megatron_that_are_none(tmp_path):
    path = tmp_path / "x.idx"
    good = megatron_index(np.array([3, 7]), np.dtype("<u2"))
    path.write_bytes(good)
    assert read_ends(path).tolist() == [3, 7]
    version_2 = good[:9] + (2).to_bytes(8, "little") + good[17:]
    for wrong in (b"", good[:33], b"X" + good[1:], version_2):
        path.write_bytes(wrong)
        with pytest.raises(ValueError, match=r"x\.idx: not an index of Megatron-LM of version 1"):
            read_ends(path)
    for sequences in (0, 1, 3, 1 << 62, (1 << 64) - 1):
        path.write_bytes(good[:18] + sequences.to_bytes(8, "little") + good[26:])
        with pytest.raises(ValueError, match=rf"x\.idx: {len(good)} bytes; expected"):
            read_ends(path)
    for at, value, message in (
        (17, 6, "ids of dtype code 6; expected one of"),
        (26, 9, rf"{len(good)} bytes; expected"),
        (37, 0xFF, r"length 0 is -\d+; expected 0 or more"),
        (42, 1, "offset 0 is 1; expected the sum of the lengths before it"),
        (len(good) - 8, 1, "the documents must begin with sequence 0, and end with the last of 2"),
        (len(good) - 16, 5, "first sequence of a document 1 is 5; expected not above the next one"),
    ):
        path.write_bytes(good[:at] + bytes([value]) + good[at + 1 :])
        with pytest.raises(ValueError, match=rf"x\.idx: {message}"):
            read_ends(path)
    path.write_bytes(good + b"?")
    with pytest.raises(ValueError, match=rf"x\.idx: {len(good) + 1} bytes; expected {len(good)}"):
        read_ends(path)
    with pytest.raises(ValueError, match="a document of 2147483648 ids is too long for Megatron's index"):
        megatron_index(np.array([1 << 31]), np.dtype("<u2"))


def test_a_shard_of_megatron_that_ended_early(trained, tmp_path, monkeypatch):
    """Only the last shard of a split may have fewer ids than a shard is made of."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    source, out = tmp_path / "text", tmp_path / "out"
    source.write_text("<|endoftext|>".join(DOCUMENTS * 20))
    encode_corpus(trained, Corpus([source], separator="<|endoftext|>"), out, format="megatron", shard_tokens=100)
    manifest = json.loads((out / "manifest.json").read_text())
    first, second = manifest["splits"]["train"][:2]
    assert first["tokens"] >= 100
    moved = first["tokens"] - 99
    first["tokens"], second["tokens"] = 99, second["tokens"] + moved
    del manifest["sha256"]
    (out / "manifest.json").write_text(json.dumps(with_checksum(manifest)))
    with pytest.raises(ValueError, match=r"train\[0\]\.tokens: expected at least 100, found 99"):
        read_manifest(out)
