"""Each hostile file is refused by name, within 1 s of CPU time and 100 MB of memory."""

import re
import sys

import pytest

pytest.importorskip("torch", reason="models are read with torch")
pytest.importorskip("pyarrow", reason="the extra [data] is not installed")
if not sys.platform.startswith("linux"):
    pytest.skip("limits memory as Linux does", allow_module_level=True)

from tests.hostile_files import limits

FILES = {file.name: file for file in limits.hostile_files()}


@pytest.fixture(scope="module", autouse=True)
def _prepared():
    limits.prepare()


def test_there_are_many_files_of_all_formats():
    assert len(FILES) >= 130
    assert max(sum(map(len, file.files.values())) for file in FILES.values()) < 1 << 20 | 1 << 14


@pytest.mark.filterwarnings("ignore:This process.*fork:DeprecationWarning")
@pytest.mark.parametrize("name", FILES)
def test_a_hostile_file_is_refused(name, tmp_path):
    path = limits.write(FILES[name], tmp_path)
    assert limits.fault_of(FILES[name], path, limits.outcome_of(FILES[name], path)) == ""


@pytest.mark.filterwarnings("ignore:This process.*fork:DeprecationWarning")
@pytest.mark.parametrize(
    ("reader", "fault"),
    [
        (lambda path: bytes(1 << 28), "MemoryError"),
        (lambda path: [None for _ in iter(int, 1)], "too slow|MemoryError"),
        (lambda path: path.read_bytes(), "accepted"),
        (lambda path: int("x"), "names no file"),
        (lambda path: [][1], "IndexError"),
    ],
)
def test_what_is_not_refused_is_noticed(reader, fault, tmp_path):
    file = limits.HostileFile("made-up", reader, {"a-file": b"content"})
    path = limits.write(file, tmp_path)
    assert re.search(fault, limits.fault_of(file, path, limits.outcome_of(file, path)))
