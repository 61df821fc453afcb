"""Which ids a configuration names, and that none is read as something else."""

import json
import os
import shutil
import struct

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import fastlm  # noqa: E402
from fastlm.corpus.encode_corpus import encode_corpus  # noqa: E402
from fastlm.corpus.megatron import megatron_index  # noqa: E402
from fastlm.training.data import TokenFiles  # noqa: E402
from tests.training.vocabularies import large_tokenizer  # noqa: E402

TEXTS = [f"the cat sat on mat {number} and the dog ran" for number in range(60)]


@pytest.fixture(scope="module")
def tokenizers():
    small = fastlm.train_bpe([" ".join(TEXTS)], 300, ["<|endoftext|>"])
    return {"small": small, "large": large_tokenizer()}


@pytest.fixture(scope="module")
def folders(tokenizers, tmp_path_factory):
    """A folder of each format and width of ids, of several shards."""
    directory = tmp_path_factory.mktemp("folders")
    for name, tokenizer in tokenizers.items():
        for kind in ("npy", "bin", "megatron"):
            encode_corpus(
                tokenizer,
                TEXTS,
                directory / f"{name}-{kind}",
                format=kind,
                shard_tokens=300,
                end_of_text="<|endoftext|>",
            )
    return directory


def expected_ids(tokenizer):
    end = tokenizer.special_tokens["<|endoftext|>"]
    return [token_id for text in TEXTS for token_id in [*tokenizer.encode(text), end]]


def ids_of(files):
    windows = files.windows(np.arange(0, files.num_starts))
    return [*windows[:, 0].tolist(), *windows[-1, 1:].tolist()]


@pytest.mark.parametrize("kind", ["npy", "bin", "megatron"])
@pytest.mark.parametrize("name", ["small", "large"])
@pytest.mark.parametrize("form", ["folder", "glob", "files", "index", "moved"])
def test_ids_are_those_that_were_encoded(folders, tokenizers, tmp_path, kind, name, form):
    folder, tokenizer = folders / f"{name}-{kind}", tokenizers[name]
    suffix = "npy" if kind == "npy" else "bin"
    shards = sorted(folder.glob(f"train-*.{suffix}"))
    assert len(shards) > 2
    paths = {
        "folder": [folder],
        "glob": [folder / f"train-*.{suffix}"],
        "files": shards,
        "index": [path.with_suffix(".idx" if kind == "megatron" else path.suffix) for path in shards],
        "moved": [shutil.copytree(folder, tmp_path / "moved")],
    }[form]
    files = TokenFiles([str(path) for path in paths], tokenizer.vocab_size, 8)
    assert ids_of(files) == expected_ids(tokenizer)
    files.check()
    assert list(files.tokenizers) == [tokenizer.vocabulary.fingerprint]
    assert list(files.end_of_text_ids) == [tokenizer.special_tokens["<|endoftext|>"]]
    assert files.fingerprint() == TokenFiles([str(folder)], tokenizer.vocab_size, 8).fingerprint()


def test_globs_match_folders_and_several_are_one_sequence(folders, tokenizers):
    both = [str(folders / "small-npy"), str(folders / "small-bin")]
    expected = 2 * expected_ids(tokenizers["small"])
    assert ids_of(TokenFiles(both, 300, 8)) == expected
    assert ids_of(TokenFiles([str(folders / "small-[bn]*")], 300, 8)) == expected


def test_names_with_the_signs_of_globs(tmp_path):
    np.save(tmp_path / "a[1].npy", np.arange(20, dtype=np.uint16))
    np.save(tmp_path / "a1.npy", np.arange(30, dtype=np.uint16))
    assert len(TokenFiles([str(tmp_path / "a[1].npy")], 50, 4)) == 20
    assert len(TokenFiles([str(tmp_path / "a[1-9].npy")], 50, 4)) == 30
    with pytest.raises(FileNotFoundError, match=r"b\*.npy"):
        TokenFiles([str(tmp_path / "b*.npy")], 50, 4)


def test_a_bare_file_must_say_its_dtype(tmp_path, folders, tokenizers):
    shard = sorted((folders / "large-bin").glob("train-*.bin"))[0]
    bare = shutil.copy(shard, tmp_path / "a.bin")
    with pytest.raises(ValueError, match=r"a.bin: has no manifest, header or index .* expected data_dtype"):
        TokenFiles([str(bare)], 80_000, 8)
    expected = np.fromfile(shard, "<u4").tolist()
    assert ids_of(TokenFiles([str(bare)], 80_000, 8, data_dtype="uint32")) == expected
    # the dtype is for bare files only
    assert ids_of(TokenFiles([str(shard), str(bare)], 80_000, 8, data_dtype="uint32")) == 2 * expected
    assert ids_of(TokenFiles([str(shard)], 80_000, 8, data_dtype="uint16")) == expected
    with pytest.raises(ValueError, match=r"a.bin: id \d+ at position"):
        TokenFiles([str(bare)], 300, 8, data_dtype="uint16").check()


def test_a_manifest_of_another_program_says_nothing(tmp_path):
    (tmp_path / "manifest.json").write_text(json.dumps({"files": ["a.npy"]}))
    np.save(tmp_path / "a.npy", np.arange(20, dtype=np.uint16))
    assert len(TokenFiles([str(tmp_path / "a.npy")], 50, 4)) == 20


@pytest.mark.parametrize(("magic", "version", "dtype"), [(20240520, 1, "<u2"), (20240801, 7, "<u4")])
def test_files_with_llmcs_header(tmp_path, magic, version, dtype):
    ids = np.arange(1000).astype(dtype)

    def written(magic=magic, version=version, count=1000, ids=ids):
        header = np.zeros(256, "<i4")
        header[:3] = magic, version, count
        (tmp_path / "h.bin").write_bytes(header.tobytes() + ids.tobytes())
        return [str(tmp_path / "h.bin")]

    for options in ({}, {"data_dtype": "uint16"}):
        assert ids_of(TokenFiles(written(), 1000, 8, **options)) == [*range(1000)]
    for change in ({"count": 999}, {"ids": ids[:-1]}, {"version": 2}, {"count": 0}):
        with pytest.raises(ValueError, match=r"h.bin: .*header"):
            TokenFiles(written(**change), 1000, 8, data_dtype="uint16")


@pytest.mark.parametrize(("code", "dtype"), [(8, "<u2"), (4, "<i4"), (5, "<i8"), (1, "u1"), (3, "<i2")])
def test_megatrons_files_have_their_own_dtype(tmp_path, code, dtype):
    ids = (np.arange(1000) % 100).astype(dtype)
    (tmp_path / "a.bin").write_bytes(ids.tobytes())
    # two documents of several sequences, as Megatron writes and fastlm does not
    head = b"MMIDIDX\0\0" + struct.pack("<QBQQ", 1, code, 3, 3)
    lengths = np.array([400, 100, 500], "<i4")
    offsets = np.array([0, 400, 500], "<i8") * ids.itemsize
    rest = lengths.tobytes() + offsets.tobytes() + np.array([0, 2, 3], "<i8").tobytes()
    (tmp_path / "a.idx").write_bytes(head + rest)
    for name in ("a.bin", "a.idx"):
        assert ids_of(TokenFiles([str(tmp_path / name)], 100, 8)) == ids.tolist()
    ids[7] = -1 if dtype[-2] == "i" else 100
    (tmp_path / "a.bin").write_bytes(ids.tobytes())
    with pytest.raises(ValueError, match=rf"a.bin: id {ids[7]} at position 7; expected ids below"):
        TokenFiles([str(tmp_path / "a.bin")], 100, 8).check()
    for change, message in (
        (head[:17] + b"\x07" + head[18:] + rest, "dtype code 7"),
        (b"X" + head[1:] + rest, "not an index of Megatron-LM"),
        (head[:20], "not an index of Megatron-LM"),
        (head + rest[:8], r"a.idx: \d+ bytes; expected 94, for 3 sequences"),
        (head[:18] + struct.pack("<Q", 1 << 60) + head[26:] + rest, r"a.idx: \d+ bytes; expected"),
        (head + struct.pack("<i", 399) + rest[4:], f"a.idx: offset 1 is {400 * ids.itemsize}; expected the sum"),
    ):
        (tmp_path / "a.idx").write_bytes(change)
        with pytest.raises(ValueError, match=message):
            TokenFiles([str(tmp_path / "a.bin")], 100, 8)


def test_megatrons_index_of_fastlm(tmp_path):
    ids = np.arange(100, dtype="<u2")
    (tmp_path / "a.bin").write_bytes(ids.tobytes())
    (tmp_path / "a.idx").write_bytes(megatron_index(np.array([40, 100]), np.dtype("<u2")))
    assert ids_of(TokenFiles([str(tmp_path / "a.bin")], 100, 8)) == ids.tolist()


def test_splits(tokenizers, tmp_path):
    tokenizer = tokenizers["small"]
    encode_corpus(tokenizer, TEXTS, tmp_path / "both", end_of_text="<|endoftext|>", validation_fraction=0.3)
    encode_corpus(tokenizer, TEXTS, tmp_path / "train", end_of_text="<|endoftext|>")
    both, train = str(tmp_path / "both"), str(tmp_path / "train")
    parts = [TokenFiles([both], 300, 8, splits=splits) for splits in (["train"], ["val"], ["val", "train"])]
    assert [file.path.name for part in parts for file in part.files] == [
        "train-00000.npy",
        "val-00000.npy",
        "val-00000.npy",
    ]
    assert len(parts[0]) + len(parts[1]) == len(expected_ids(tokenizer))
    assert len(TokenFiles([train], 300, 8, splits=["val", "train"])) == len(expected_ids(tokenizer))
    with pytest.raises(ValueError, match="has no shards of 'val'"):
        TokenFiles([train], 300, 8, splits=["val"])
    # a glob does not mix what encode kept apart
    with pytest.raises(ValueError, match=r"val-00000.npy: matches .* the split 'val'; expected shards of 'train'"):
        TokenFiles([f"{both}/*"], 300, 8)
    with pytest.raises(ValueError, match=r"train-00000.npy: matches .* the split 'train'; expected shards of 'val'"):
        TokenFiles([f"{both}/*.npy"], 300, 8, splits=["val", "train"])
    assert len(TokenFiles([f"{train}/*"], 300, 8)) == len(expected_ids(tokenizer))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"empty: has no manifest.json; expected a folder that fastlm encode wrote"):
        TokenFiles([str(tmp_path / "empty")], 300, 8)


def test_a_shard_that_was_changed_is_noticed(folders, tmp_path):
    folder = shutil.copytree(folders / "small-npy", tmp_path / "a")
    shard = folder / "train-00001.npy"
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content)
    os.utime(shard, ns=(0, (folder / "manifest.json").stat().st_mtime_ns + 1))
    for use in (TokenFiles.check, TokenFiles.fingerprint):
        with pytest.raises(ValueError, match=r"train-00001.npy: changed after .*manifest.json was written: its sha256"):
            use(TokenFiles([str(folder)], 300, 8))
    shard.write_bytes(content[:-2])
    with pytest.raises(ValueError, match=r"train-00001.npy"):
        TokenFiles([str(folder)], 300, 8)


def test_a_vocabulary_larger_than_the_models_is_read_to_the_end(folders, tokenizers, tmp_path):
    encode_corpus(tokenizers["small"], ["cat"] * 9, tmp_path / "few")
    highest = max(tokenizers["small"].encode("cat"))
    assert highest < 299
    TokenFiles([str(tmp_path / "few")], highest + 1, 8).check()
    with pytest.raises(ValueError, match=r"train-0000\d.npy: id \d+ at position \d+; expected ids below .*, 100"):
        TokenFiles([str(folders / "small-npy")], 100, 8).check()


def test_documents_by_their_recorded_ends(tokenizers, tmp_path):
    tokenizer = tokenizers["small"]
    for kind in ("npy", "bin", "megatron"):
        encode_corpus(tokenizer, TEXTS, tmp_path / kind, format=kind, shard_tokens=250)
        files = TokenFiles([str(tmp_path / kind)] * 2, 300, 8)
        assert files.has_document_ends
        numbers = [number for number, text in enumerate(TEXTS) for _ in tokenizer.encode(text)]
        numbers += [len(TEXTS) + number for number in numbers]
        starts = np.arange(files.num_starts)
        found = files.window_documents(starts).numpy()
        assert found[:, 0].tolist() == numbers[: len(starts)]
        assert found[-1].tolist() == numbers[-9:-1]
