"""Hostile sources of a corpus, shards, and ids for training."""

from __future__ import annotations

import gzip
import io
import json
import lzma
import pickle
import struct
from typing import Any

import numpy as np

from tests.hostile_files import readers
from tests.hostile_files.readers import HostileFile


def _gzip_of(megabytes: int, word: bytes) -> bytes:
    block = word * ((1 << 20) // len(word))
    return b"".join(gzip.compress(block * 16, 9, mtime=0) for _ in range(megabytes // 16))


def _npy(header: str, body: bytes = b"") -> bytes:
    text = header.encode().ljust(118 + 64 * (len(header) // 64)) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + body


def _idx(sequences: int, code: int = 8, lengths: tuple[int, ...] = ()) -> bytes:
    head = b"MMIDIDX\0\0" + struct.pack("<QBQQ", 1, code, sequences, sequences + 1 & (1 << 64) - 1)
    return head + struct.pack(f"<{len(lengths)}i", *lengths)


def _llmc(magic: int, version: int, count: int, body: bytes = b"") -> bytes:
    return struct.pack("<3i", magic, version, count).ljust(1024, b"\0") + body


def _manifest(**changes: Any) -> bytes:
    from fastlm.corpus.manifest import with_checksum

    job = {
        "tokenizer": "0" * 64, "vocabulary_size": 300, "format": "bin", "dtype": "<u2", "shard_tokens": 100,
        "end_of_text_id": None, "on_special": "token", "validation_fraction": 0.0, "field": "text", "separator": None,
        "kind": None, "on_error": "raise", "inputs": [],
    }  # fmt: skip
    shard = {"tokens": 2, "documents": 1, "sha256": {"train-00000.bin": "0" * 64, "train-00000.index": "0" * 64}}
    content = {"version": 2, "job": job, "splits": {"train": [shard]}, "documents": 1, "tokens": 2, "skipped": {}}
    return json.dumps(with_checksum(content | changes)).encode()


def _zst(content: bytes) -> bytes:
    import pyarrow

    return pyarrow.compress(content, codec="zstd", asbytes=True)


def _parquet(count: int) -> bytes:

    import pyarrow
    from pyarrow import parquet

    sink = io.BytesIO()
    words = pyarrow.array(["word " * 2_000_000]).dictionary_encode()
    table = pyarrow.table({"text": pyarrow.DictionaryArray.from_arrays(np.zeros(count, np.int32), words.dictionary)})
    parquet.write_table(table, sink, compression="zstd")
    return sink.getvalue()


def _arrow(offsets: list[int]) -> bytes:
    import pyarrow

    buffers = [None, pyarrow.py_buffer(np.array(offsets, np.int32)), pyarrow.py_buffer(b"hello world")]
    array = pyarrow.Array.from_buffers(pyarrow.string(), len(offsets) - 1, buffers)
    sink = pyarrow.BufferOutputStream()
    with pyarrow.ipc.new_file(sink, pyarrow.schema([("text", array.type)])) as file:
        file.write_batch(pyarrow.record_batch([array], ["text"]))
    return bytes(sink.getvalue())


def corpus_files() -> list[HostileFile]:
    """Sources of a corpus, and shards."""
    cut = gzip.compress(b"text " * 1000)[:-9]
    files = [
        HostileFile("gzip-cut-short", readers.read_corpus, {"a.txt.gz": cut}),
        HostileFile("gzip-of-nothing", readers.read_corpus, {"a.txt.gz": b"\x1f\x8b" + bytes(40)}),
        HostileFile("xz-cut-short", readers.read_corpus, {"a.txt.xz": lzma.compress(b"text " * 1000)[:-9]}),
        HostileFile("gzip-one-word", readers.count_corpus, {"a.txt.gz": _gzip_of(64, b"word")}),
        HostileFile("gzip-line-of-words", readers.read_corpus, {"a.jsonl.gz": _gzip_of(64, b"word ")}),
        HostileFile("gzip-one-line", readers.read_corpus, {"a.jsonl.gz": _gzip_of(64, b"[")}),
        HostileFile("xz-one-word", readers.count_corpus, {"a.txt.xz": lzma.compress(b"word" * (1 << 23), preset=0)}),
        HostileFile("text-not-utf8", readers.count_corpus, {"a.txt": b"text \xff\xfe text"}),
        HostileFile("jsonl-nested", readers.read_corpus, {"a.jsonl": b"[" * 100_000 + b"\n"}),
        HostileFile("jsonl-number", readers.read_corpus, {"a.jsonl": b'{"text": 1}\n'}),
        HostileFile("jsonl-digits", readers.read_corpus, {"a.jsonl": b'{"text": ' + b"9" * 100_000 + b"}\n"}),
        HostileFile("jsonl-lone-surrogate", readers.read_corpus, {"a.jsonl": b'{"text": "\\ud800"}\n'}),
        HostileFile("jsonl-cut-short", readers.read_corpus, {"a.jsonl": b'{"text": "abc'}),
        HostileFile("manifest-two-shards", readers.verify, {"manifest.json": _manifest(documents=1 << 62)}, True),
        HostileFile("manifest-digits", readers.verify, {"manifest.json": b'{"version":' + b"9" * 100_000 + b"}"}, True),
        HostileFile("manifest-of-a-list", readers.verify, {"manifest.json": b"[]"}, True),
        HostileFile("manifest-nested", readers.verify, {"manifest.json": b"[" * 100_000}, True),
        HostileFile("manifest-splits", readers.verify, {"manifest.json": _manifest(splits={"../x": []})}, True),
        HostileFile("manifest-cut-short", readers.verify, {"manifest.json": _manifest()[:-9]}, True),
    ]  # fmt: skip
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        return files
    return [
        *files,
        HostileFile("zst-one-word", readers.count_corpus, {"a.txt.zst": _zst(b"word" * (1 << 23))}),
        HostileFile("zst-of-nothing", readers.read_corpus, {"a.txt.zst": b"\x28\xb5\x2f\xfd" + bytes(40)}),
        HostileFile("parquet-cut-short", readers.read_corpus, {"a.parquet": _parquet(3)[:-20]}),
        HostileFile("parquet-of-nothing", readers.read_corpus, {"a.parquet": b"PAR1" + bytes(40) + b"PAR1"}),
        HostileFile("arrow-far-below", readers.read_corpus, {"a.arrow": _arrow([0, -(1 << 30), 10])}),
        HostileFile("arrow-a-little-below", readers.read_corpus, {"a.arrow": _arrow([0, -300, 10])}),
        HostileFile("arrow-falling", readers.read_corpus, {"a.arrow": _arrow([0, 10, 5, 11])}),
        HostileFile("arrow-cut-short", readers.read_corpus, {"a.arrow": _arrow([0, 5, 11])[:-60]}),
    ]


def token_files() -> list[HostileFile]:
    """Ids that training reads."""
    shape = "{'descr': '<u2', 'fortran_order': False, 'shape': (%s,), }"
    bombs = {
        "npy-long-shape": _npy(shape % (1 << 60)),
        "npy-negative-shape": _npy(shape % -5),
        "npy-of-objects": _npy("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }", pickle.dumps([1])),
        "npy-many-brackets": _npy("(" * 50_000),
        "npy-code": _npy("{'descr': __import__('os').getcwd(), 'fortran_order': False, 'shape': (1,), }"),
        "npy-unfinished": _npy("{'descr': '<u2', 'shape': (\n"),
        "npy-floats": _npy("{'descr': '<f8', 'fortran_order': False, 'shape': (1,), }", bytes(8)),
    }
    files = [HostileFile(name, readers.read_tokens, {"a.npy": content}) for name, content in bombs.items()]
    read = readers.read_tokens
    files += [
        HostileFile("bin-of-odd-length", readers.read_dtype_tokens, {"a.bin": b"abc"}),
        HostileFile("bin-empty", readers.read_dtype_tokens, {"a.bin": b""}),
        HostileFile("llmc-count-2-to-the-31", readers.read_tokens, {"a.bin": _llmc(20240520, 1, (1 << 31) - 1, b"ab")}),
        HostileFile("llmc-negative-count", readers.read_tokens, {"a.bin": _llmc(20240520, 1, -1, b"ab")}),
        HostileFile("llmc-version-99", readers.read_tokens, {"a.bin": _llmc(20240520, 99, 1, b"ab")}),
        HostileFile("megatron-2-to-the-63", read, {"a.bin": b"abcd", "a.idx": _idx(1 << 63)}),
        HostileFile("megatron-more-than-the-file", read, {"a.bin": b"abcd", "a.idx": _idx(4)}),
        HostileFile("megatron-negative-length", read, {"a.bin": b"abcd", "a.idx": _idx(2, lengths=(-1, 3))}),
        HostileFile("megatron-code", read, {"a.idx": _idx(1, code=99, lengths=(2,)), "a.bin": b"abcd"}),
    ]
    return files
