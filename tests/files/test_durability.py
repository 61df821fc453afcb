"""A power cut: a file has its content on disk before it takes its name, and the name is on disk at the end."""

import os
from pathlib import Path

import pytest

from fastlm.corpus import job_folder as job
from fastlm.corpus import text_blocks
from fastlm.corpus.encode_corpus import encode_corpus
from fastlm.corpus.job_storage import STATE
from fastlm.corpus.read import Corpus
from fastlm.files.atomic import replacing, write_files
from tests import texts

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs fsync of directories")


class Disk:
    """Remembers what fsync put on disk, and checks each rename."""

    def __init__(self, monkeypatch) -> None:
        self.contents: dict[int, bytes] = {}
        self.unsynced: set[Path] = set()
        self.renames: list[str] = []
        self._fsync, self._replace = os.fsync, os.replace
        monkeypatch.setattr(os, "fsync", self.fsync)
        monkeypatch.setattr(os, "replace", self.replace)

    def fsync(self, descriptor: int) -> None:
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        if path.is_dir():
            self.unsynced.discard(path)
        else:
            self.contents[path.stat().st_ino] = path.read_bytes()

    def replace(self, source, target) -> None:
        source, target = Path(source), Path(target)
        assert self.has(source), f"{target.name} takes its name before its content is on disk"
        if target.name == STATE:
            for path in target.parent.iterdir():
                is_shard = path.name.startswith(("train-", "val-"))
                assert not is_shard or self.has(path), f"{path.name} is not on disk at the checkpoint that names it"
        self._replace(source, target)
        self.renames.append(target.name)
        self.unsynced.add(target.parent.resolve())

    def has(self, path: Path) -> bool:
        return self.contents.get(path.stat().st_ino) == path.read_bytes()


@pytest.fixture
def disk(monkeypatch) -> Disk:
    if not Path("/proc/self/fd").exists():
        pytest.skip("needs /proc")
    return Disk(monkeypatch)


def test_files_that_are_written_together(disk, tmp_path):
    write_files(tmp_path, {"a": b"first", "b": lambda path: path.write_bytes(b"second")})
    assert disk.renames == ["a", "b"]
    assert disk.has(tmp_path / "a")
    assert disk.has(tmp_path / "b")
    assert not disk.unsynced
    write_files(tmp_path, {"a": b"third"}, remove=["b"])
    assert not disk.unsynced


def test_no_file_takes_its_name_before_all_are_on_disk(disk, tmp_path):
    def second(path: Path) -> None:
        assert not disk.renames
        path.write_bytes(b"second")

    write_files(tmp_path, {"a": b"first", "b": second})
    assert disk.renames == ["a", "b"]


def test_a_file_that_is_replaced(disk, tmp_path):
    with replacing(tmp_path / "a") as file:
        file.write(b"content")
    assert disk.renames == ["a"]
    assert disk.has(tmp_path / "a")
    assert not disk.unsynced


@pytest.mark.parametrize("shard_format", ["bin", "npy", "megatron"])
@pytest.mark.parametrize("fraction", [0.0, 0.3])
def test_shards_and_the_checkpoints_that_name_them(disk, trained, tmp_path, monkeypatch, shard_format, fraction):
    monkeypatch.setattr(job, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(text_blocks, "BLOCK_BYTES", 2000)
    (tmp_path / "text").write_text("<|endoftext|>".join(texts.DOCUMENTS[:12]), "utf-8")
    corpus = Corpus([tmp_path / "text"], separator="<|endoftext|>")
    out = tmp_path / "out"
    options = {"format": shard_format, "shard_tokens": 3000, "validation_fraction": fraction, "num_threads": 1}
    encode_corpus(trained, corpus, out, **options)
    assert disk.renames.count("state.json") > 3
    shards = {path.name for path in out.iterdir() if path.name.startswith(("train-", "val-"))}
    assert len(shards) > 4
    assert shards < set(disk.renames)
    assert not disk.unsynced
