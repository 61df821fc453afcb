"""Datasets of Megatron-LM that fastlm did not write: read, verified, decoded and trained on, or refused by name."""

import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastlm import cli
from fastlm.corpus.megatron import map_dataset, megatron_index, read_index
from fastlm.corpus.verify import megatron_datasets, verify_megatron

CODES = {1: "u1", 2: "i1", 3: "<i2", 4: "<i4", 5: "<i8", 8: "<u2"}
# sequences of each document; Megatron-LM may write empty ones of both
DATASETS = st.lists(st.lists(st.lists(st.integers(0, 99), max_size=5), max_size=3), max_size=5)


def index_of(documents, code=8, **changes) -> bytes:
    """An index as megatron/core/datasets/indexed_dataset.py writes it, with some parts exchanged."""
    sequences = [sequence for document in documents for sequence in document]
    starts = [sum(map(len, documents[:k])) for k in range(len(documents) + 1)]
    size = np.dtype(CODES[code]).itemsize
    parts = {
        "magic": b"MMIDIDX\0\0",
        "version": struct.pack("<Q", 1),
        "dtype": bytes([code]),
        "sequences": struct.pack("<Q", len(sequences)),
        "entries": struct.pack("<Q", len(starts)),
        "lengths": struct.pack(f"<{len(sequences)}i", *map(len, sequences)),
        "offsets": struct.pack(
            f"<{len(sequences)}q", *[size * sum(map(len, sequences[:k])) for k in range(len(sequences))]
        ),
        "firsts": struct.pack(f"<{len(starts)}q", *starts),
        "modes": b"",
    }
    assert changes.keys() <= parts.keys()
    return b"".join((parts | changes).values())


def ids_of(documents) -> list[int]:
    return [token_id for document in documents for sequence in document for token_id in sequence]


def write(folder: Path, documents, code=8, name="data", **changes) -> Path:
    np.array(ids_of(documents), CODES[code]).tofile(folder / f"{name}.bin")
    (folder / f"{name}.idx").write_bytes(index_of(documents, code, **changes))
    return folder / f"{name}.idx"


@given(documents=DATASETS, code=st.sampled_from(list(CODES)), has_modes=st.booleans())
def test_a_dataset_is_read(tmp_path_factory, documents, code, has_modes):
    folder = tmp_path_factory.mktemp("megatron")
    modes = bytes(sum(map(len, documents))) if has_modes else b""
    path = write(folder, documents, code, modes=modes)
    for name in (path, path.with_suffix(".bin")):
        ids, index = map_dataset(name)
        assert ids.tolist() == ids_of(documents)
        assert (ids.dtype, index.tokens, index.documents) == (np.dtype(CODES[code]), len(ids), len(documents))
        ends = np.cumsum([len(ids_of([document])) for document in documents])
        assert index.document_ends().tolist() == ends.tolist()
        verify_megatron(name)


@given(st.lists(st.integers(0, 9), max_size=8), st.sampled_from(["<u2", "<i4"]))
def test_the_index_of_a_shard_is_one_of_these(lengths, dtype):
    documents = [[[7] * length] for length in lengths]
    code = {"<u2": 8, "<i4": 4}[dtype]
    assert megatron_index(np.cumsum(lengths, dtype=np.int64), np.dtype(dtype)) == index_of(documents, code)


TWO = [[[1, 2], [3]], [[4, 5, 6]]]
DAMAGE = {
    "another magic": ({"magic": b"MMIDIDX\0\1"}, "not an index of Megatron-LM of version 1"),
    "another version": ({"version": struct.pack("<Q", 2)}, "not an index of Megatron-LM of version 1"),
    "floats": ({"dtype": b"\6"}, r"ids of dtype code 6; expected one of 1, 2, 3, 4, 5, 8"),
    "too many sequences": (
        {"sequences": struct.pack("<Q", 1 << 62)},
        r"\d+ bytes; expected \d+, for 4611686018427387904",
    ),
    "too many documents": ({"entries": struct.pack("<Q", 4)}, r"94 bytes; expected 102, for 3 sequences"),
    "no documents": ({"entries": bytes(8), "firsts": b""}, "must begin with sequence 0, and end with the last of 3"),
    "a negative length": ({"lengths": struct.pack("<3i", 2, -1, 3)}, "length 1 is -1; expected 0 or more"),
    "another length": (
        {"lengths": struct.pack("<3i", 1, 1, 3)},
        "offset 1 is 4; expected the sum of the lengths before",
    ),
    "another offset": (
        {"offsets": struct.pack("<3q", 0, 4, 4)},
        "offset 2 is 4; expected the sum of the lengths before",
    ),
    "a negative offset": ({"offsets": struct.pack("<3q", -2, 4, 6)}, "offset 0 is -2; expected the sum"),
    "a last document that ends early": ({"firsts": struct.pack("<3q", 0, 2, 2)}, "end with the last of 3"),
    "a first document that begins late": ({"firsts": struct.pack("<3q", 1, 2, 3)}, "must begin with sequence 0"),
    "documents that descend": (
        {"firsts": struct.pack("<3q", 0, 4, 3)},
        "first sequence of a document 1 is 4; expected",
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_index_is_named(tmp_path, capsys, damage):
    changes, message = DAMAGE[damage]
    path = write(tmp_path, TWO, **changes)
    with pytest.raises(ValueError, match=rf"^{path}: .*{message}"):
        read_index(path)
    for command in (["verify", str(path)], ["decode", str(path), "--tokenizer", "missing"]):
        assert cli.main(command) == 1
        assert str(path) in capsys.readouterr().err


@pytest.mark.parametrize("size", [0, 1, 33, 34, 50, 93, 95, 200])
def test_an_index_of_another_size_is_named(tmp_path, size):
    path = write(tmp_path, TWO)
    path.write_bytes((path.read_bytes() + bytes(200))[:size])
    with pytest.raises(ValueError, match=rf"^{path}: (not an index|\d+ bytes; expected 94, for 3 sequences)"):
        read_index(path)


def test_ids_of_another_size_are_named(tmp_path):
    path = write(tmp_path, TWO)
    ids = path.with_suffix(".bin")
    ids.write_bytes(ids.read_bytes() + b"\0")
    with pytest.raises(ValueError, match=rf"^{ids}: 13 bytes; {path} expects 12, for 6 ids of uint16"):
        map_dataset(path)
    ids.unlink()
    with pytest.raises(FileNotFoundError):
        map_dataset(path)


def test_negative_ids_are_named(tmp_path):
    path = write(tmp_path, [[[1, 2, -5]]], code=4)
    with pytest.raises(ValueError, match=rf"{path.with_suffix('.bin')}: id -5 at 2; expected ids"):
        verify_megatron(path)


def test_verify_and_decode(tmp_path, trained, capfdbinary):
    trained.save(tmp_path / "tokenizer")
    texts = ["the first document, and", "naïve 東京"]
    documents = [[trained.encode(text)[:2], trained.encode(text)[2:]] for text in texts]
    for code, name in ((8, "a"), (5, "b")):
        write(tmp_path, documents, code, name)
    count = len(ids_of(documents))
    for argument in ("a.idx", "a.bin"):
        assert cli.main(["verify", str(tmp_path / argument)]) == 0
        line = f"{tmp_path / 'a.idx'}: {count} ids of uint16 in 4 sequences of 2 documents match the index\n"
        assert capfdbinary.readouterr().out.decode() == line
        assert cli.main(["decode", str(tmp_path / argument), "--tokenizer", str(tmp_path / "tokenizer")]) == 0
        assert capfdbinary.readouterr().out.decode() == "".join(texts)
    assert cli.main(["decode", str(tmp_path / "b.bin"), "--tokenizer", str(tmp_path / "tokenizer")]) == 0
    assert capfdbinary.readouterr().out.decode() == "".join(texts)
    # a folder of datasets
    assert megatron_datasets(tmp_path) == [tmp_path / "a.idx", tmp_path / "b.idx"]
    assert cli.main(["verify", str(tmp_path)]) == 0
    assert len(capfdbinary.readouterr().out.splitlines()) == 2


def test_an_id_beyond_the_vocabulary_is_named(tmp_path, trained, capsys):
    trained.save(tmp_path / "tokenizer")
    path = write(tmp_path, [[[5, 6, 50_000]]])
    assert cli.main(["decode", str(path), "--tokenizer", str(tmp_path / "tokenizer")]) == 1
    assert f"{path}: id 50000 at position 2 is not in the vocabulary" in capsys.readouterr().err


def test_a_bin_file_without_an_index_is_named(tmp_path, trained, capsys):
    trained.save(tmp_path / "tokenizer")
    (tmp_path / "a.bin").write_bytes(bytes(8))
    assert cli.main(["decode", str(tmp_path / "a.bin"), "--tokenizer", str(tmp_path / "tokenizer")]) == 1
    assert "a.bin: has no index a.idx that tells the dtype of its ids" in capsys.readouterr().err


def test_the_shards_of_fastlm_have_a_manifest_and_an_index(tmp_path, trained, capsys):
    from fastlm.corpus.encode_corpus import encode_corpus

    encode_corpus(trained, ["one text", "another"], tmp_path / "ids", format="megatron")
    assert megatron_datasets(tmp_path / "ids") == []
    assert cli.main(["verify", str(tmp_path / "ids")]) == 0
    assert capsys.readouterr().out.endswith("match the manifest\n")
    assert cli.main(["verify", str(tmp_path / "ids" / "train-00000.bin")]) == 0
    assert "in 2 sequences of 2 documents match the index" in capsys.readouterr().out


def test_training_reads_it(tmp_path):
    pytest.importorskip("torch")
    from fastlm.training.data import TokenFiles

    path = write(tmp_path, [[[1, 2, 3], [4]], [[5, 6, 7, 8, 9]]], code=4)
    for name in (path, path.with_suffix(".bin")):
        files = TokenFiles([str(name)], 100, 4)
        assert len(files) == 9
        assert files.windows(np.array([0]))[0].tolist() == [1, 2, 3, 4, 5]
    write(tmp_path, [], name="empty")
    with pytest.raises(ValueError, match=r"empty\.bin: holds no ids"):
        TokenFiles([str(tmp_path / "empty.idx")], 100, 4)
