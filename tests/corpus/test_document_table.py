"""The table of documents says where each document comes from and where its ids begin."""

import gzip
import json

import numpy as np
import pytest

import fastlm
from fastlm.cli import main
from fastlm.corpus import text_blocks
from fastlm.corpus.document_table import read_document_table, table_path, write_document_tables
from fastlm.corpus.encode_corpus import encode_corpus
from fastlm.corpus.manifest import read_manifest
from fastlm.corpus.read import Corpus
from fastlm.corpus.verify import verify_shards

TEXTS = [f"the cat {k} sat on mat {'x' * (k % 7)} and ran\n" for k in range(90)]


@pytest.fixture(scope="module")
def tokenizer():
    return fastlm.train_bpe([" ".join(TEXTS)], 300, ["<|endoftext|>"])


def ids_of(folder, split="train"):
    return np.concatenate(read_manifest(folder).map(folder, split))


def documents_of(folder, tokenizer, split="train"):
    """Source, position and text of each document, by the table."""
    table, ids = read_document_table(folder, split), ids_of(folder, split)
    ends = [*table["first_id"][1:].tolist(), len(ids)]
    job = read_manifest(folder).job
    return [
        (job.inputs[source]["name"], position, tokenizer.decode(ids[first:end]).removesuffix("<|endoftext|>"))
        for (source, position, first), end in zip(table.tolist(), ends, strict=True)
    ]


@pytest.mark.parametrize("shard_format", ["npy", "bin", "megatron"])
@pytest.mark.parametrize("block_bytes", [1 << 22, 64])
def test_texts_with_separators(tokenizer, tmp_path, monkeypatch, shard_format, block_bytes):
    monkeypatch.setattr(text_blocks, "BLOCK_BYTES", block_bytes)
    first, second = tmp_path / "a.txt", tmp_path / "b.txt.gz"
    first.write_text("<|endoftext|>".join(TEXTS[:50]))
    second.write_bytes(gzip.compress("<|endoftext|>".join(["", *TEXTS[50:], ""]).encode()))
    corpus = Corpus([str(first), str(second)], separator="<|endoftext|>")
    options = {"format": shard_format, "shard_tokens": 100, "end_of_text": "<|endoftext|>", "validation_fraction": 0.3}
    encode_corpus(tokenizer, corpus, tmp_path / "ids", **options)
    assert [path.name for path in write_document_tables(tmp_path / "ids", tokenizer)] == [
        "train-documents.npy",
        "val-documents.npy",
    ]
    whole = {str(first): first.read_bytes(), str(second): gzip.decompress(second.read_bytes())}
    found = [*documents_of(tmp_path / "ids", tokenizer), *documents_of(tmp_path / "ids", tokenizer, "val")]
    for source, position, text in found:
        assert whole[source][position:].startswith(text.encode())
        assert position == 0 or whole[source][:position].endswith(b"<|endoftext|>")
    assert sorted(text for _, _, text in found) == sorted([*TEXTS, ""])
    verify_shards(tmp_path / "ids")


def test_lines_and_rows(tokenizer, tmp_path):
    pytest.importorskip("orjson")
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    lines = [json.dumps({"text": text}) for text in TEXTS[:40]]
    lines[3:3] = ["", "no json", json.dumps({"other": 1})]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    rows = [*TEXTS[40:60], None, *TEXTS[60:]]
    parquet.write_table(pa.table({"text": rows}), tmp_path / "b.parquet", row_group_size=7)
    names = [str(tmp_path / name) for name in ("a.jsonl", "b.parquet")]
    encode_corpus(tokenizer, Corpus(names, on_error="skip"), tmp_path / "ids", end_of_text="<|endoftext|>")
    write_document_tables(tmp_path / "ids", tokenizer)
    found = documents_of(tmp_path / "ids", tokenizer)
    assert [text for _, _, text in found] == TEXTS
    for source, position, text in found:
        if source == names[0]:
            assert json.loads(lines[position - 1])["text"] == text
        else:
            assert rows[position] == text


def test_without_a_separator_in_the_ids(tokenizer, tmp_path):
    (tmp_path / "a.txt").write_text("\n\n".join(TEXTS))
    encode_corpus(tokenizer, Corpus([str(tmp_path / "a.txt")], separator="\n\n"), tmp_path / "ids", shard_tokens=64)
    write_document_tables(tmp_path / "ids", tokenizer)
    assert [text for _, _, text in documents_of(tmp_path / "ids", tokenizer)] == "\n\n".join(TEXTS).split("\n\n")


def test_sources_that_changed_or_cannot_be_read_again_are_refused(tokenizer, tmp_path):
    encode_corpus(tokenizer, TEXTS, tmp_path / "list")
    with pytest.raises(ValueError, match="needs sources that can be read again; found 'list'"):
        write_document_tables(tmp_path / "list", tokenizer)
    path = tmp_path / "a.txt"
    path.write_text("one two")
    encode_corpus(tokenizer, path, tmp_path / "ids")
    other = fastlm.train_bpe(["zebra quilt " * 30], 260)
    with pytest.raises(ValueError, match="expected this one, found"):
        write_document_tables(tmp_path / "ids", other)
    path.write_text("one two three")
    with pytest.raises(ValueError, match=r"a.txt: changed after it was encoded: 13 bytes of version .* expected 7"):
        write_document_tables(tmp_path / "ids", tokenizer)
    assert read_document_table(tmp_path / "ids", "train") is None
    np.save(table_path(tmp_path / "ids", "train"), np.zeros(3))
    with pytest.raises(ValueError, match=r"train-documents.npy: float64 of shape \(3,\); expected 1 rows"):
        read_document_table(tmp_path / "ids", "train")


def test_the_command_writes_the_table(tokenizer, tmp_path, capsys):
    tokenizer.save(tmp_path / "tokenizer")
    (tmp_path / "a.txt").write_text("\n\n".join(TEXTS))
    options = ["--tokenizer", str(tmp_path / "tokenizer"), "--out", str(tmp_path / "ids"), "--separator", "\n\n"]
    assert main(["encode", str(tmp_path / "a.txt"), *options, "--document-table"]) == 0
    assert len(read_document_table(tmp_path / "ids", "train")) == read_manifest(tmp_path / "ids").documents
