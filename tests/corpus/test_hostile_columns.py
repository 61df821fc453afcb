"""Arrow and Parquet files whose buffers lie: an error that names the place, no crash, and bounded memory."""

import gzip
import json
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fastlm.corpus import columns
from fastlm.corpus.read import Blocks, Corpus
from fastlm.pretokenize.patterns import find_pattern
from fastlm.pretokenize.text_splitter import DOCUMENT_END, TextSplitter
from tests.children import LIMIT

pyarrow = pytest.importorskip("pyarrow", reason="the extra [data] is not installed")
parquet = pytest.importorskip("pyarrow.parquet", reason="the extra [data] is not installed")

SPLITTER = TextSplitter(["<|endoftext|>"], find_pattern("gpt2"))
DATA = b"hello world, hello you"


def strings(offsets, data=DATA, arrow_type=None, dtype=np.int32):
    buffers = [None, pyarrow.py_buffer(np.array(offsets, dtype)), pyarrow.py_buffer(data)]
    return pyarrow.Array.from_buffers(arrow_type or pyarrow.string(), len(offsets) - 1, buffers)


def views(*rows, data=DATA):
    """Rows of (length, prefix, buffer, offset)."""
    raw = b"".join(struct.pack("<i4sii", *row) for row in rows)
    buffers = [None, pyarrow.py_buffer(raw), pyarrow.py_buffer(data)]
    return pyarrow.Array.from_buffers(pyarrow.string_view(), len(rows), buffers)


def dictionary(indices, values):
    return pyarrow.DictionaryArray.from_arrays(pyarrow.array(indices, pyarrow.int32()), values, safe=False)


HOSTILE = {
    "far below the data": strings([0, -(1 << 30), 10]),
    "a little below the data": strings([0, -300, 10]),
    "falling offsets": strings([0, 10, 5, 20]),
    "beyond the data and back": strings([0, 1 << 30, 10]),
    "large offsets": strings([0, -(1 << 40), 10], arrow_type=pyarrow.large_string(), dtype=np.int64),
    "large falling offsets": strings([0, 10, 5, 20], arrow_type=pyarrow.large_binary(), dtype=np.int64),
    "binary": strings([0, 1 << 30, 10], arrow_type=pyarrow.binary()),
    "a view of a missing buffer": views((20, b"hell", 3, 0)),
    "a view beyond its buffer": views((20, b"hell", 0, 5000)),
    "a view of negative length": views((-20, b"hell", 0, 0)),
    "a view of a negative offset": views((20, b"hell", 0, -5)),
    "a view of a negative buffer": views((20, b"hell", -1, 0)),
    "an index beyond the dictionary": dictionary([0, 5, 1], pyarrow.array(["a", "b"])),
    "a negative index": dictionary([0, -7, 1], pyarrow.array(["a", "b"])),
    "an empty dictionary": dictionary([0], pyarrow.array([], pyarrow.string())),
    "a dictionary with bad offsets": dictionary([0, 1], strings([0, -300, 10])),
    "a dictionary with bad views": dictionary([0, 0], views((20, b"hell", 0, 5000))),
    "a dictionary whose views overlap": dictionary([0, 1, 2], views(*[(20, b"hell", 0, 0)] * 200)),
}


def write(path: Path, *arrays, stream=False):
    schema = pyarrow.schema([("text", arrays[0].type)])
    new = pyarrow.ipc.new_stream if stream else pyarrow.ipc.new_file
    with new(str(path), schema) as file:
        for array in arrays:
            file.write_batch(pyarrow.record_batch([array], schema))


def documents_in(source):
    found, read = [], Blocks(source, SPLITTER)
    for block in read:
        ends = block.boundaries[block.boundaries[:, 2] == DOCUMENT_END, 0]
        found += [bytes(block.text[a:b]) for a, b in zip([0, *ends], ends, strict=False)]
    return found, read


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("stream", [False, True])
def test_an_array_that_points_outside_its_buffers_is_refused(tmp_path, name, stream):
    path = tmp_path / "a.arrow"
    array = HOSTILE[name]
    is_dictionary = pyarrow.types.is_dictionary(array.type)
    good = None if is_dictionary else pyarrow.array([b"hello", b" world"]).cast(array.type)
    write(path, *([] if is_dictionary else [good]), array, stream=stream)
    number = int(good is not None)
    with pytest.raises(ValueError, match=rf"a\.arrow: record batch {number}: row {2 * number} or later: "):
        list(Blocks(path, SPLITTER))
    (tmp_path / "b.txt").write_text("more")
    found, read = documents_in(Corpus([tmp_path], on_error="skip"))
    assert found == [*([b"hello", b" world"] if number else []), b"more"]
    assert read.skipped.counts == {"damaged file": 1}


def test_hostile_files_do_not_end_the_process(tmp_path, trained):
    """In processes of their own, because a mistake here is a segmentation fault."""
    trained.save(tmp_path / "tokenizer", ["fastlm"])
    for number, array in enumerate(HOSTILE.values()):
        write(tmp_path / f"{number:02}.arrow", array)
    program = (
        "import json, pathlib, sys\nfrom fastlm import cli\nfound = []\n"
        "for path in sorted(pathlib.Path('.').glob('*.arrow'))[::4]:\n"
        "    found.append(cli.main(['encode', str(path), '--tokenizer', 'tokenizer', '--out', path.stem]))\n"
        "    found.append(cli.main(['encode', str(path), 'ok', '--tokenizer', 'tokenizer', '--out', path.stem,"
        " '--on-error', 'skip']))\n"
        "print(json.dumps(found))"
    )
    (tmp_path / "ok").write_text("text")
    command = [sys.executable, "-c", program]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=LIMIT, check=False)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout.splitlines()[-1]) == [1, 0] * len(range(0, len(HOSTILE), 4))
    assert result.stderr.count("fastlm: ") == len(range(0, len(HOSTILE), 4))
    assert all("record batch 0: row 0 or later" in line for line in result.stderr.splitlines())


FUZZ = """
import random, sys
from pathlib import Path
from fastlm.corpus.read import Blocks, Corpus
from fastlm.pretokenize.text_splitter import TextSplitter
from fastlm.pretokenize.patterns import find_pattern
splitter, chance = TextSplitter(["<|endoftext|>"], find_pattern("gpt2")), random.Random(3)
refused = read = 0
for path in sorted(Path(".").iterdir()):
    content = path.read_bytes()
    changed = Path("changed" + path.suffix)
    for _ in range(150):
        damaged = bytearray(content)
        for _ in range(chance.randrange(1, 4)):
            at = chance.randrange(8, len(content) - 8)
            damaged[at] = chance.choice([0, 1, 127, 128, 255, damaged[at] ^ (1 << chance.randrange(8))])
        changed.write_bytes(damaged)
        try:
            for block in Blocks(changed, splitter):
                bytes(block.text)
            read += 1
        except ValueError as error:
            assert "changed" in str(error), error
            refused += 1
    changed.unlink()
print(refused, read)
"""


def test_files_with_changed_bytes_are_read_or_refused(tmp_path):
    texts = [f"text {number} of some length" for number in range(20)]
    arrays = {
        "string": pyarrow.array(texts),
        "large": pyarrow.array(texts, pyarrow.large_string()),
        "view": pyarrow.array(texts, pyarrow.string_view()),
        "nulls": pyarrow.array([None, *texts]).drop_null(),
        "dictionary": pyarrow.array(texts * 2).dictionary_encode(),
    }
    for name, array in arrays.items():
        write(tmp_path / f"{name}.arrow", array)
        write(tmp_path / f"{name}-stream.arrow", array, stream=True)
        if name != "view":
            parquet.write_table(pyarrow.table({"text": array}), tmp_path / f"{name}.parquet")
    command = [sys.executable, "-c", FUZZ]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=LIMIT, check=False)
    assert result.returncode == 0, result.stderr
    refused, read = map(int, result.stdout.split())
    assert refused > 100
    assert read > 100


def test_what_is_not_a_column_of_strings_is_refused(tmp_path):
    numbers = pyarrow.array([1, 2])
    for array in (pyarrow.array([["a"], ["b"]]), pyarrow.array([{"a": 1}]), numbers, numbers.dictionary_encode()):
        write(tmp_path / "a.arrow", array)
        with pytest.raises(ValueError, match="column 'text' must hold strings, not "):
            list(Blocks(tmp_path / "a.arrow", SPLITTER))
    schema = pyarrow.schema([("text", pyarrow.string()), ("text", pyarrow.string())])
    with pyarrow.ipc.new_file(str(tmp_path / "a.arrow"), schema) as file:
        file.write_batch(pyarrow.record_batch([pyarrow.array(["a"]), pyarrow.array(["b"])], schema))
    with pytest.raises(ValueError, match="2 columns are named 'text'"):
        list(Blocks(tmp_path / "a.arrow", SPLITTER))


@pytest.mark.parametrize("kind", ["string", "large_string", "string_view", "dictionary", "dictionary of views"])
def test_nulls_and_slices_are_read_as_they_are(tmp_path, kind):
    texts = ["zero", "a text that is longer than a view", None, "", "中文", None, "last"]
    if kind.startswith("dictionary"):
        values = pyarrow.array([None, *filter(None, texts), ""], pyarrow.string_view() if "views" in kind else None)
        order = {text: number for number, text in enumerate(values.to_pylist())}
        array = dictionary([order[text] for text in texts], values)
    else:
        array = pyarrow.array(texts, getattr(pyarrow, kind)())
    write(tmp_path / "a.arrow", array, array[2:6])
    found, read = documents_in(Corpus([tmp_path], on_error="skip"))
    assert [text.decode() for text in found] == [text for text in texts + texts[2:6] if text is not None]
    assert read.skipped.counts == {"row without a text": 4}


BIG = "some words " * 30_000  # 330 KB


def peak_of(path: Path) -> tuple[int, int]:
    """Bytes of text that a process reads from a file, and by how much its peak memory grows meanwhile."""
    program = (
        "import resource, sys\nimport pyarrow, pyarrow.parquet, pyarrow.compute\nfrom pathlib import Path\n"
        "from fastlm.corpus.read import Blocks\n"
        "from fastlm.pretokenize.text_splitter import TextSplitter\n"
        "from fastlm.pretokenize.patterns import find_pattern\n"
        "splitter = TextSplitter(['<|endoftext|>'], find_pattern('gpt2'))\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "print(sum(len(block.text) for block in Blocks(Path(sys.argv[1]), splitter)))\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    command = [sys.executable, "-c", program, str(path)]
    size, peak = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, check=True).stdout.split()
    return int(size), int(peak) * (1 if sys.platform == "darwin" else 1024)


@pytest.mark.skipif(sys.platform == "win32", reason="needs the module resource")
@pytest.mark.parametrize("form", ["dictionary", "delta", "arrow dictionary", "arrow views"])
def test_memory_is_bounded_where_many_rows_share_a_value(tmp_path, form):
    rows = 3000  # 1 GB
    if form == "dictionary":
        path = tmp_path / "a.parquet"
        table = pyarrow.table({"text": dictionary([0] * rows, pyarrow.array([BIG]))})
        parquet.write_table(table, path, store_schema=False)
        assert path.stat().st_size < 40_000
    elif form == "delta":
        path, rows = tmp_path / "a.parquet", 1000
        table = pyarrow.table({"text": pyarrow.array([BIG]).take([0] * rows)})
        encoding = {"text": "DELTA_BYTE_ARRAY"}
        parquet.write_table(table, path, use_dictionary=False, column_encoding=encoding)
        assert path.stat().st_size < 40_000
    elif form == "arrow dictionary":
        path = tmp_path / "a.arrow"
        write(path, dictionary([0] * rows, pyarrow.array([BIG])))
    else:
        path = tmp_path / "a.arrow"
        write(path, views(*[(len(BIG), BIG[:4].encode(), 0, 0)] * rows, data=BIG.encode()))
    size, peak = peak_of(path)
    assert size == rows * len(BIG)
    assert peak < 350 << 20


@pytest.mark.skipif(sys.platform == "win32", reason="needs the module resource")
def test_compressed_text_is_streamed(tmp_path):
    """300 MB of one word in half a megabyte."""
    with gzip.open(tmp_path / "a.txt.gz", "wb") as file:
        for _ in range(300):
            file.write(b"word " * 200_000)
    size, peak = peak_of(tmp_path / "a.txt.gz")
    assert size == 300_000_000
    assert peak < 100 << 20


def test_a_row_group_of_an_absurd_size_is_refused(tmp_path, monkeypatch):
    table = pyarrow.table({"text": ["x" * 3_000_000]})
    parquet.write_table(table, tmp_path / "a.parquet", compression="zstd")
    assert len(documents_in(tmp_path / "a.parquet")[0]) == 1
    monkeypatch.setattr(columns, "GROUP_BYTES", 1 << 20)
    with pytest.raises(ValueError, match=r"a\.parquet: .*row group 0 declares 3000\d+ bytes in a file of \d+ bytes"):
        list(Blocks(tmp_path / "a.parquet", SPLITTER))
