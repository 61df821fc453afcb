"""Files that are replaced as a whole: their modes, and what errors name."""

import errno
import os
import signal
import subprocess
import sys
import time

import pytest

from fastlm.files.atomic import replacing, write_files


@pytest.mark.skipif(sys.platform == "win32", reason="needs modes of POSIX")
def test_a_new_file_follows_the_umask_and_a_replaced_one_keeps_its_mode(tmp_path):
    for umask, mode in ((0o022, 0o644), (0o077, 0o600)):
        before = os.umask(umask)
        try:
            write_files(tmp_path, {f"new-{mode}": b"new"})
        finally:
            os.umask(before)
        assert (tmp_path / f"new-{mode}").stat().st_mode & 0o777 == mode
    for mode in (0o600, 0o640, 0o755):
        (tmp_path / "old").write_bytes(b"old")
        (tmp_path / "old").chmod(mode)
        write_files(tmp_path, {"old": b"new"})
        with replacing(tmp_path / "old") as file:
            file.write(b"newer")
        assert (tmp_path / "old").stat().st_mode & 0o777 == mode
        assert (tmp_path / "old").read_bytes() == b"newer"


def test_an_error_names_the_file(tmp_path, monkeypatch):
    def fsync(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OSError, match=r"No space left on device: '.*/a file'") as caught:
        write_files(tmp_path, {"a file": b"content"})
    assert caught.value.errno == errno.ENOSPC
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("write", [lambda path: write_files(path.parent, {path.name: b""}), lambda path: take(path)])
def test_a_folder_is_not_replaced(write, tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError, match=r"Is a directory: '.*/folder'"):
        write(tmp_path / "folder")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def take(path):
    with replacing(path) as file:
        file.write(b"content")


WRITER = """
import sys, time
from pathlib import Path
from fastlm.files.atomic import write_files
directory = Path(sys.argv[1])
def stay(path):
    path.write_bytes(b"unfinished")
    (directory / "begun").touch()
    time.sleep(3600)
write_files(directory, {"a": b"new", "b": stay})
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs file locks of POSIX")
def test_what_a_killed_writer_left_goes_with_the_next_and_what_a_living_one_writes_stays(tmp_path):
    def temporaries(name):
        return [path.name for path in tmp_path.iterdir() if path.name.startswith(f".{name}.")]

    write_files(tmp_path, {"a": b"old", "b": b"old"})
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    environment = {**os.environ, "PYTHONPATH": root}
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], env=environment)
    try:
        while not (tmp_path / "begun").exists():
            assert writer.poll() is None
            time.sleep(0.01)
        living = temporaries("a"), temporaries("b")
        assert [len(names) for names in living] == [1, 1]
        write_files(tmp_path, {"a": b"newer"})
        with replacing(tmp_path / "b") as file:
            file.write(b"newer")
        assert (temporaries("a"), temporaries("b")) == living
    finally:
        writer.send_signal(signal.SIGKILL)
        writer.wait()
    assert (temporaries("a"), temporaries("b")) == living
    write_files(tmp_path, {"a": b"newest"})
    assert (temporaries("a"), temporaries("b")) == ([], living[1])
    with replacing(tmp_path / "b") as file:
        file.write(b"newest")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "begun"]
    assert {(tmp_path / name).read_bytes() for name in "ab"} == {b"newest"}
