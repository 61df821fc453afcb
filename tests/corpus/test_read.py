"""Corpora in every form: the same documents, where errors are, what is skipped, and going on from any block."""

import gzip
import lzma
import os
import re
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastlm
from fastlm.corpus import text_blocks
from fastlm.corpus.read import Blocks, Corpus, is_dataset
from fastlm.corpus.text_blocks import Position
from fastlm.pretokenize.patterns import find_pattern
from fastlm.pretokenize.text_splitter import DOCUMENT_END, TextSplitter
from tests import texts

orjson = pytest.importorskip("orjson", reason="the extra [data] is not installed")
pyarrow = pytest.importorskip("pyarrow", reason="the extra [data] is not installed")
fsspec = pytest.importorskip("fsspec", reason="the extra [data] is not installed")
parquet = pytest.importorskip("pyarrow.parquet", reason="the extra [data] is not installed")

SEPARATOR = "<|endoftext|>"
SPLITTER = TextSplitter([SEPARATOR, "<|user|>"], find_pattern("gpt2"))
DOCUMENTS = [*texts.DOCUMENTS[:40], "", "a\nb", "中" * 500, "   ", "", "x" * 5000, "the last"]


class Dataset:
    """As much of datasets.Dataset as is asked of one."""

    def __init__(self, rows, column="text"):
        self.rows, self.column = rows, column
        self.column_names = [column]

    def __iter__(self):
        return ({self.column: row} for row in self.rows)

    def skip(self, n):
        return Dataset(self.rows[n:], self.column)

    def iter(self, batch_size):
        for start in range(0, len(self.rows), batch_size):
            yield {self.column: self.rows[start : start + batch_size]}


def documents_in(source, start=None):
    """The documents of a source from a position on, and its blocks; the first may be the rest of one."""
    read = Blocks(source, SPLITTER)
    if start is not None:
        read.start = start.end
        read.skipped.counts.update(start.skipped)
    found, held, seen = [], b"", []
    for block in read:
        text, at = bytes(block.text), 0
        for begin, end, index in block.boundaries.tolist():
            if index == DOCUMENT_END:
                found.append(held + text[at:begin])
                held, at = b"", end
        held += text[at:]
        seen.append(block)
        block.release()
    assert not held
    return found, seen, read


def write_corpora(folder, documents):
    """Path -> what Corpus is to be told, of the same documents in every form."""
    text = SEPARATOR.join(documents).encode()
    lines = b"".join(orjson.dumps({"id": 1, "body": document}) + b"\n" for document in documents)
    table = pyarrow.table({"id": list(range(len(documents))), "body": documents})
    contents = {"a.txt": text, "b.txt.gz": gzip.compress(text), "c.txt.xz": lzma.compress(text), "d.jsonl": lines}
    contents["e.json.gz"] = gzip.compress(lines)
    # two members, as concatenated files have
    half = len(text) // 2
    contents["f.gz"] = gzip.compress(text[:half]) + gzip.compress(text[half:])
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    with pyarrow.CompressedOutputStream(str(folder / "g.txt.zst"), "zstd") as file:
        file.write(text)
    parquet.write_table(table, folder / "h.parquet", row_group_size=7)
    with pyarrow.ipc.new_file(str(folder / "i.arrow"), table.schema) as file:
        file.write_table(table, max_chunksize=5)
    with pyarrow.ipc.new_stream(str(folder / "j.arrow"), table.schema) as file:
        file.write_table(table, max_chunksize=5)
    large = table.set_column(1, "body", table["body"].cast(pyarrow.large_string()))
    parquet.write_table(large, folder / "k.parquet")
    dictionary = table.set_column(1, "body", table["body"].dictionary_encode())
    with pyarrow.ipc.new_file(str(folder / "l.feather"), dictionary.schema) as file:
        file.write_table(dictionary)
    return sorted(folder.iterdir())


@pytest.fixture(scope="module")
def corpora(tmp_path_factory):
    return write_corpora(tmp_path_factory.mktemp("corpora"), DOCUMENTS)


def test_every_form_holds_the_same_documents(corpora, monkeypatch):
    monkeypatch.setattr(text_blocks, "BLOCK_BYTES", 2000)
    for path in corpora:
        corpus = Corpus([path], field="body", separator=SEPARATOR)
        found, seen, read = documents_in(corpus)
        assert found == [document.encode() for document in DOCUMENTS], path
        assert len(seen) > 2 or path.name in ("l.feather",), path
        assert seen[-1].end.document == len(DOCUMENTS)
        assert read.total_bytes == path.stat().st_size
        assert 0 < sum(block.consumed for block in seen) <= read.total_bytes


def test_reading_goes_on_after_any_block(corpora, monkeypatch):
    monkeypatch.setattr(text_blocks, "BLOCK_BYTES", 3000)
    for path in corpora:
        corpus = Corpus([path, corpora[0]], field="body", separator=SEPARATOR)
        whole, seen, _ = documents_in(corpus)
        for block in seen[::3]:
            rest, again, _ = documents_in(corpus, block)
            assert len(rest) == len(whole) - block.end.document
            assert rest[1:] == whole[block.end.document + 1 :]
            assert not rest or whole[block.end.document].endswith(rest[0])
            assert [(b.end, bytes(b.text)) for b in again][-1:] == [
                (b.end, bytes(b.text)) for b in seen[-1:]
            ] or not rest


@given(st.lists(texts.strings(12).filter(lambda text: "<|" not in text and "|>" not in text), min_size=1, max_size=8))
@settings(max_examples=60)
def test_documents_and_separators(tmp_path_factory, documents):
    folder = tmp_path_factory.mktemp("any")
    (folder / "a").write_bytes(SEPARATOR.join(documents).encode("utf-8", "replace"))
    expected = [document.encode("utf-8", "replace") for document in documents]
    # nothing after the last separator is no document
    if not expected[-1]:
        expected.pop()
    assert documents_in(Corpus([folder / "a"], separator=SEPARATOR))[0] == expected


def test_a_file_without_separator_is_one_document_and_an_empty_one_is_none(tmp_path):
    (tmp_path / "a").write_text(f"a{SEPARATOR}b")
    (tmp_path / "b").write_text("")
    (tmp_path / "c").write_text(f"c{SEPARATOR}")
    found, seen, _ = documents_in(Corpus([tmp_path]))
    assert found == [b"a<|endoftext|>b", b"c<|endoftext|>"]
    assert seen[-1].end == Position(3, 0, 0, 2)


def test_special_tokens_do_not_reach_from_one_document_to_the_next():
    parts = ["<|endof", "text|>", "<|us", "er|><|user|>", "<", "|user|><|endoftext|>", ""]
    (block,) = Blocks(iter(parts), SPLITTER)
    joined = "".join(parts)
    found = [(bytes(block.text[a:b]).decode(), kind) for a, b, kind in block.boundaries.tolist()]
    assert found == [
        ("", -1),
        ("", -1),
        ("", -1),
        ("<|user|>", 1),
        ("", -1),
        ("", -1),
        (SEPARATOR, 0),
        ("", -1),
        ("", -1),
    ]
    assert np.all(np.diff(block.boundaries[:, 0]) >= 0)
    assert bytes(block.text).decode() == joined


def test_directories_and_globs_are_read_in_the_order_of_bytes(tmp_path):
    names = ["b.txt", "a/z.txt", "a/é.txt", "B.txt", "a.txt", "a/b/c.txt", "10.txt", "9.txt"]
    for name in [*names, ".hidden/x.txt", "a/.x.txt"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    expected = sorted(names, key=os.fsencode)
    assert documents_in(Corpus([str(tmp_path)]))[0] == [name.encode() for name in expected]
    found = documents_in(Corpus([f"{tmp_path}/a/**/*.txt"]))[0]
    assert found == [name.encode() for name in expected if name.startswith("a/")]
    (tmp_path / "[x].txt").write_text("brackets")
    assert documents_in(Corpus([f"{tmp_path}/[x].txt"]))[0] == [b"brackets"]
    for missing in (f"{tmp_path}/*.none", f"{tmp_path}/none"):
        with pytest.raises(FileNotFoundError):
            Blocks(Corpus([missing]), SPLITTER)
    (tmp_path / "nothing").mkdir()
    with pytest.raises(FileNotFoundError, match="no file in"):
        Blocks(Corpus([tmp_path / "nothing"]), SPLITTER)


def test_addresses(tmp_path):
    memory = fsspec.filesystem("memory")
    memory.pipe(
        {"/corpus/b.txt": b"b", "/corpus/a.jsonl": b'{"text":"a"}\n', "/corpus/.c": b"c", "/d.gz": gzip.compress(b"d")}
    )
    assert documents_in(Corpus(["memory://corpus"]))[0] == [b"a", b"b"]
    assert documents_in(Corpus(["memory://corpus/*.txt", "memory://d.gz"]))[0] == [b"b", b"d"]
    (tmp_path / "e").write_text("e")
    found, _, read = documents_in(Corpus([f"file://{tmp_path}/e"]))
    assert found == [b"e"]
    assert read.total_bytes == 1
    assert read.inputs[0]["name"] == f"file://{tmp_path}/e"
    assert documents_in(f"file://{tmp_path}/e")[0] == [b"e"]
    with pytest.raises(FileNotFoundError):
        Blocks(Corpus(["memory://none"]), SPLITTER)
    with pytest.raises(ValueError, match="nosuch"):
        Blocks(Corpus(["nosuch://x"]), SPLITTER)
    memory.rm("/corpus", recursive=True)


def test_standard_input():
    program = (
        "import fastlm; from fastlm.corpus.read import Corpus\n"
        "print(fastlm.train_bpe(Corpus(['-'], kind='jsonl'), 258).merges)"
    )
    lines = b'{"text": "abab"}\n{"text": "ab"}'
    result = subprocess.run([sys.executable, "-c", program], input=lines, capture_output=True, check=True)
    assert result.stdout == b"[(b'a', b'b')]\n"


def test_datasets():
    rows = [f"row {number}" for number in range(1000)]
    found, seen, read = documents_in(Dataset(rows))
    assert found == [row.encode() for row in rows]
    assert read.total_bytes is None
    rest, _, _ = documents_in(Dataset(rows), seen[0])
    assert rest == found[seen[0].end.row :]
    assert documents_in(Corpus(Dataset(rows, "body"), field="body"))[0] == found
    with pytest.raises(ValueError, match="no column 'text'; found 'body'"):
        documents_in(Dataset(rows, "body"))
    with pytest.raises(ValueError, match="row 1: column 'text' must hold strings, not NoneType"):
        documents_in(Dataset(["a", None]))
    found, _, read = documents_in(Corpus(Dataset(["a", None, "b"]), on_error="skip"))
    assert (found, read.skipped.counts) == ([b"a", b"b"], {"row without a text": 1})
    assert not is_dataset([])


def test_the_trainer_reads_every_form(corpora):
    expected = fastlm.train_bpe(DOCUMENTS, 400).vocabulary.fingerprint
    for path in corpora:
        told = []
        corpus = Corpus([path], field="body", separator=SEPARATOR)
        trained = fastlm.train_bpe(corpus, 400, num_threads=2, progress=lambda *seen, told=told: told.append(seen))
        assert trained.vocabulary.fingerprint == expected
        assert {seen[2] for seen in told if seen[0] == "count"} == {path.stat().st_size}


BAD = {
    "bad.jsonl": (b'{"text": "a"}\n{"text": \n{"text": "b"}\n', "line 2: not JSON", "line that is not JSON"),
    "list.jsonl": (
        b'{"text": "a"}\n[1]\n{"text": "b"}\n',
        "line 2: no field 'text'; found list",
        "line without the field",
    ),
    "field.jsonl": (
        b'{"text": "a"}\n\n{"txt": 1, "b": 2}\n{"text": "b"}',
        "line 3: no field 'text'; found the fields 'txt', 'b'",
        "line without the field",
    ),
    "number.jsonl": (
        b'{"text": "a"}\n{"text": 1}\n{"text": "b"}',
        "line 2: field 'text' must be a string, not int",
        "field that is no string",
    ),
    "utf8.jsonl": (
        b'{"text": "a"}\n{"text": "\xff"}\n{"text": "b"}',
        "line 2: not JSON: str is not valid UTF-8",
        "line that is not JSON",
    ),
    "utf8.txt": (
        b"a<|endoftext|>\xff\xfe<|endoftext|>b",
        "byte 14 is not well-formed UTF-8",
        "byte that is not UTF-8",
    ),
    "cut.txt.gz": (
        gzip.compress(b"a<|endoftext|>b" * 9)[:-9],
        "decompressed byte 135: Compressed file ended",
        "damaged file",
    ),
    "sum.txt.gz": (gzip.compress(b"a")[:-8] + bytes(8), "decompressed byte 1: CRC check failed", "damaged file"),
    "no.txt.gz": (b"this is no gzip", "decompressed byte 0: Not a gzipped file", "damaged file"),
    "no.txt.xz": (b"this is no xz", "decompressed byte 0: Input format not supported", "damaged file"),
    "no.txt.zst": (b"this is no zstd", "decompressed byte 0: ZSTD", "damaged file"),
    "no.parquet": (b"this is no parquet file", "Parquet magic bytes not found", "damaged file"),
    "no.arrow": (b"this is no arrow file", "no.arrow: ", "damaged file"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_read_is_located_or_skipped_and_counted(tmp_path, name):
    content, message, reason = BAD[name]
    (tmp_path / name).write_bytes(content)
    (tmp_path / "z").write_text("more")
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        fastlm.train_bpe(Corpus([tmp_path], separator=SEPARATOR), 300)
    assert str(tmp_path / name) in str(caught.value)
    found, _, read = documents_in(Corpus([tmp_path], separator=SEPARATOR, on_error="skip"))
    assert found[-1] == b"more"
    assert name.startswith(("no.", "sum.", "cut.")) or found[0] == b"a"
    assert read.skipped.counts[reason] == (2 if name == "utf8.txt" else 1)
    assert sum(read.skipped.counts.values()) == read.skipped.counts[reason]


def test_bad_rows_of_columns(tmp_path):
    rows = pyarrow.array([b"a", b"\xff", None, b"caf\xc3", b"\xa9", b"b"], pyarrow.binary())
    table = pyarrow.table({"text": rows.cast(pyarrow.large_binary()), "number": range(6)})
    parquet.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(ValueError, match=r"a\.parquet: row 2: null, where a text was expected"):
        list(Blocks(tmp_path / "a.parquet", SPLITTER))
    found, _, read = documents_in(Corpus([tmp_path], on_error="skip"))
    assert found == [b"a", b"b"]
    assert read.skipped.counts == {"row without a text": 1, "document that is not UTF-8": 3}
    parquet.write_table(table.filter(table["text"].is_valid()), tmp_path / "a.parquet")
    with pytest.raises(ValueError, match=r"a\.parquet: row 1: byte 0 is not well-formed UTF-8"):
        fastlm.train_bpe(tmp_path / "a.parquet", 300)
    for field, message in (
        ("txt", "no column 'txt'; found 'text', 'number'"),
        ("number", "must hold strings, not int64"),
    ):
        with pytest.raises(ValueError, match=message):
            list(Blocks(Corpus([tmp_path], field=field), SPLITTER))
        assert documents_in(Corpus([tmp_path], field=field, on_error="skip"))[2].skipped.counts.total() == 1


def test_what_is_skipped_in_a_text_does_not_depend_on_blocks(tmp_path, monkeypatch):
    generator = np.random.default_rng(5)
    text = bytearray("mixed текст 中文 😀 and <|endoftext|> more\n".encode() * 400)
    for at in generator.integers(len(text), size=200).tolist():
        text[at] = generator.integers(256)
    (tmp_path / "a").write_bytes(text)
    expected = text.decode("utf-8", "ignore").encode()
    for size in (64, 1000, 1 << 22):
        monkeypatch.setattr(text_blocks, "BLOCK_BYTES", size)
        found, seen, read = documents_in(Corpus([tmp_path], separator=SEPARATOR, on_error="skip"))
        assert SEPARATOR.encode().join(found) == expected
        assert read.skipped.counts == {"byte that is not UTF-8": len(text) - len(expected)}
        rest, _, again = documents_in(Corpus([tmp_path], separator=SEPARATOR, on_error="skip"), seen[len(seen) // 2])
        assert rest[1:] == found[len(found) - len(rest) + 1 :]
        assert again.skipped.counts == read.skipped.counts


def test_a_damaged_file_is_read_to_the_same_byte_whatever_the_blocks(tmp_path, monkeypatch):
    text = np.random.default_rng(3).integers(97, 123, 3_000_000).astype(np.uint8).tobytes()
    with pyarrow.CompressedOutputStream(str(tmp_path / "a.zst"), "zstd") as file:
        file.write(text)
    (tmp_path / "a.zst").write_bytes((tmp_path / "a.zst").read_bytes()[:-1000])
    found = set()
    for size in (1 << 16, 1 << 20, 1 << 22):
        monkeypatch.setattr(text_blocks, "BLOCK_BYTES", size)
        found.add(b"".join(documents_in(Corpus([tmp_path], on_error="skip"))[0]))
    assert len(found) == 1
    assert text.startswith(found.pop())


def test_a_directory_among_documents_is_refused(tmp_path):
    for name in "ab":
        (tmp_path / name).write_text("text")
    with pytest.raises(ValueError, match=r"/a: among documents give files, not directories"):
        fastlm.train_bpe(["a document", tmp_path], 260, [])


def test_a_directory_that_cannot_be_listed_is_an_error(tmp_path, monkeypatch):
    """os.walk would leave it out without a word."""
    (tmp_path / "inner").mkdir()
    (tmp_path / "a.txt").write_text("text")
    listed = os.scandir

    def scandir(path):
        if os.fspath(path).endswith("inner"):
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return listed(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(PermissionError, match="inner"):
        fastlm.train_bpe(tmp_path, 260, [])


def test_an_address_that_fsspec_refuses_is_named(monkeypatch):
    def url_to_fs(address, **options):
        raise ValueError("Protocol not known")

    monkeypatch.setattr(fsspec.core, "url_to_fs", url_to_fs)
    with pytest.raises(ValueError, match=r"^memory://store/a\.txt: Protocol not known"):
        fastlm.train_bpe("memory://store/a.txt", 260, [])


def test_options_are_checked():
    for wrong in ("a", b"a", 3, {"a"}):
        with pytest.raises(TypeError, match="inputs must be a list"):
            Corpus(wrong)
    with pytest.raises(TypeError, match="an input must be a path or an address, not int"):
        Corpus([1])
    with pytest.raises(ValueError, match="kind must be"):
        Corpus(["a"], kind="csv")
    with pytest.raises(ValueError, match="on_error must be"):
        Corpus(["a"], on_error="ignore")


def test_columns_are_not_read_from_compressed_files(tmp_path):
    (tmp_path / "a.parquet.gz").write_bytes(b"")
    with pytest.raises(ValueError, match="read from a file of its own"):
        list(Blocks(Corpus([tmp_path]), SPLITTER))


def test_a_missing_library_is_named(tmp_path, monkeypatch):
    (tmp_path / "a.jsonl").write_text("{}")
    monkeypatch.setitem(sys.modules, "orjson", None)
    with pytest.raises(ValueError, match=r"reading JSON lines needs orjson: pip install pyarrow fsspec orjson"):
        list(Blocks(tmp_path / "a.jsonl", SPLITTER))
