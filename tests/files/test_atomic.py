"""Files that are replaced as a whole: their modes, and what errors name."""

import errno
import os
import sys

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
