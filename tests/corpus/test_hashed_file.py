"""The files of a shard that is being written: what a reopened one holds, and its sha256."""

import hashlib

import pytest

from fastlm.corpus.shard_writer import HashedFile


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def closed(file: HashedFile) -> tuple[bytes, str]:
    file.close()
    return file.path.read_bytes(), file.sha256()


def test_what_follows_the_checkpoint_is_cut_off(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"kept" + b"written after the checkpoint" * 1000)
    file = HashedFile.reopened(path, 4, sha256(b"kept"))
    file.append(b"!")
    assert closed(file) == (b"kept!", sha256(b"kept!"))


def test_another_header_is_replaced(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"head of 7 ids, ids and more")
    file = HashedFile.reopened(path, 19, sha256(b"head of 9 ids, ids "), b"head of 9 ids")
    file.append(b"!")
    assert closed(file) == (b"head of 9 ids, ids !", sha256(b"head of 9 ids, ids !"))


def test_a_file_with_other_bytes_is_refused_and_stays(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"other and more")
    with pytest.raises(ValueError, match=r"a: the first 4 bytes have sha256 \w+; expected \w+"):
        HashedFile.reopened(path, 4, sha256(b"kept"))
    with pytest.raises(ValueError, match=r"a: 14 bytes; the checkpoint expects 15"):
        HashedFile.reopened(path, 15, sha256(b"kept"))
    assert path.read_bytes() == b"other and more"


def test_a_start_that_is_overwritten_counts(tmp_path):
    file = HashedFile(tmp_path / "a", b"head")
    file.append(b" body")
    file.overwrite(b"HEAD")
    assert closed(file) == (b"HEAD body", sha256(b"HEAD body"))
