"""The Numba kernels by themselves, and how their compilation survives a hostile file system."""

import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastlm
from fastlm import _encode
from fastlm.kernels import bpe as kernel
from tests import texts
from tests.reference import bpe

ROOT = Path(fastlm.__file__).resolve().parents[1]


def test_kernel_and_driver_share_their_constants():
    assert {name: getattr(kernel, name) for name in _encode.SHARED_CONSTANTS} == _encode.SHARED_CONSTANTS


@pytest.fixture(scope="module")
def tables(trained):
    v = trained.vocabulary
    merges, multiplier = _encode.merge_table(v.merge_left, v.merge_right, v.merge_new)
    return v.byte_ids, merges, np.uint64(len(merges) // 2 - 1), np.uint64(multiplier)


def merged(function, pretoken: bytes, tables) -> list[int]:
    ids = np.zeros(len(pretoken) + 5, np.uint32)
    text = np.frombuffer(b"__" + pretoken, np.uint8)
    scratch = np.zeros(3 * len(pretoken), np.uint64)
    n = function(text, 2, len(pretoken), *tables, ids, 5, scratch)
    assert not ids[:5].any()
    return ids[5 : 5 + n].tolist()


@given(st.one_of(st.binary(min_size=1, max_size=120), texts.strings().filter(bool).map(str.encode)))
def test_both_merge_loops_do_what_the_reference_does(trained, tables, pretoken):
    pattern = r"(?s).+"
    expected = []
    if pretoken.isascii():
        expected = [bpe.encode(pretoken.decode(), trained.vocab, trained.merges, (), pattern)]
    found = [merged(function, pretoken, tables) for function in (kernel.merge_short, kernel.merge_long)]
    assert all(ids == found[0] for ids in found + expected)


@pytest.mark.filterwarnings("ignore:overflow encountered")
def test_the_loops_as_plain_python(trained, tables):
    for word in (b"accomplishment", b"aaaaaaaa", "日本語".encode(), b"x"):
        plain = {f.py_func: f for f in (kernel.merge_short, kernel.merge_long)}
        for python, compiled in plain.items():
            assert merged(python, word, tables) == merged(compiled, word, tables)


def test_long_runs(trained, tables):
    rng = random.Random(1)
    for text in ("a" * 3000, "ab" * 1500, "".join(rng.choices("abcd", k=3000)), " " * 3000):
        found = merged(kernel.merge_long, text.encode(), tables)
        assert found == bpe.encode(text, trained.vocab, trained.merges, (), r"(?s).+")


def test_merge_table_refuses_a_pair_given_twice():
    ids = np.array([1, 2, 1], np.uint32)
    with pytest.raises(ValueError, match="merge 2 repeats merge 0: ids 1, 1"):
        _encode.merge_table(ids, ids, ids)


def test_merge_table_holds_every_pair(trained):
    v = trained.vocabulary
    table, _ = _encode.merge_table(v.merge_left, v.merge_right, v.merge_new)
    entries = table.reshape(-1, 2)[table.reshape(-1, 2)[:, 0] != 2**64 - 1]
    found = {
        (int(key >> 32), int(key & 0xFFFFFFFF)): (int(value >> 32), int(value & 0xFFFFFFFF))
        for key, value in entries.tolist()
    }
    pairs = zip(v.merge_left.tolist(), v.merge_right.tolist(), v.merge_new.tolist(), strict=True)
    assert found == {(a, b): (rank, new) for rank, (a, b, new) in enumerate(pairs)}


# --- the disk cache ---

PROGRAM = """
import fastlm
tokenizer = fastlm.Tokenizer({i: bytes([i]) for i in range(256)} | {256: b"ab"}, [(b"a", b"b")])
assert tokenizer.encode("abab c") == [256, 256, 32, 99]
print("encoded")
"""


def run(env: dict[str, str], package: Path = ROOT, **options) -> subprocess.CompletedProcess[str]:
    base = {key: value for key, value in os.environ.items() if key not in ("NUMBA_CACHE_DIR", "PYTHONPATH")}
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM],
        env=base | {"PYTHONPATH": str(package), "PYTHONDONTWRITEBYTECODE": "1"} | env,
        cwd="/",
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        **options,
    )


def succeeded(result: subprocess.CompletedProcess[str]) -> bool:
    return result.returncode == 0 and result.stdout == "encoded\n" and result.stderr == ""


@pytest.fixture
def installation(tmp_path) -> Path:
    """A copy of the package in a folder of its own."""
    ignored = shutil.ignore_patterns("__pycache__", "*.c", "*.pyx")
    shutil.copytree(ROOT / "fastlm", tmp_path / "site" / "fastlm", ignore=ignored)
    return tmp_path / "site"


def test_a_read_only_installation_and_an_unwritable_home(installation):
    """As root nothing is unwritable, so the folders that Numba would use are files."""
    for folder in installation.rglob("*"):
        folder.chmod(0o555 if folder.is_dir() else 0o444)
    (installation / "fastlm" / "kernels").chmod(0o755)
    (installation / "fastlm" / "kernels" / "__pycache__").touch()
    home = installation / "home"
    home.touch()
    result = run({"HOME": str(home), "XDG_CACHE_HOME": str(home / "cache"), "NUMBA_CACHE_DIR": ""}, installation)
    assert succeeded(result), result.stderr


@pytest.mark.parametrize("damage", [b"", b"garbage", None])
def test_a_damaged_cache(installation, tmp_path, damage):
    env = {"NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    assert succeeded(run(env, installation))
    files = list((tmp_path / "cache").rglob("*.nb*"))
    assert files, "nothing was cached, so there is nothing to damage"
    for path in files:
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2] if damage is None else damage)
    result = run(env, installation)
    assert succeeded(result), result.stderr


def test_processes_that_compile_at_once(installation, tmp_path):
    env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    env |= {"NUMBA_CACHE_DIR": str(tmp_path / "cache"), "PYTHONPATH": str(installation)}
    command = [sys.executable, "-W", "error", "-c", PROGRAM]
    started = [subprocess.Popen(command, env=env, cwd="/", stdout=subprocess.PIPE, text=True) for _ in range(4)]
    assert [process.communicate(timeout=120)[0] for process in started] == ["encoded\n"] * 4
