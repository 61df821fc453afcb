"""The build reuses a compiled module only if all its inputs are the same."""

import importlib.util
import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
needs = [importlib.util.find_spec(name) for name in ("Cython", "numba", "llvmlite")]
pytestmark = pytest.mark.skipif(None in needs, reason="the tools of the build are not installed")
SOURCES = ["setup.py", "tools/compile_kernels.py", "fastlm/kernels/bpe.py", "fastlm/text/_a.pyx", "fastlm/b.h"]


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """tools/extension_cache.py for a tree with one module."""
    spec = importlib.util.spec_from_file_location("extension_cache", ROOT / "tools" / "extension_cache.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name in SOURCES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.chdir(tmp_path)
    return module


def path_of(cache):
    return cache.module_path("fastlm/text/_a.pyx", cache.common_inputs())


@pytest.mark.parametrize("name", [*SOURCES, "fastlm/c.pxd"])
def test_any_changed_input_is_another_module(cache, tmp_path, name):
    before = path_of(cache)
    assert path_of(cache) == before
    (tmp_path / name).write_text("changed")
    assert path_of(cache) != before


@pytest.mark.parametrize("variable", ["CC", "CFLAGS", "FASTLM_DEBUG", "FASTLM_SANITIZE"])
def test_flags_are_inputs(cache, monkeypatch, variable):
    before = path_of(cache)
    monkeypatch.setenv(variable, "1")
    assert path_of(cache) != before


def test_other_files_are_not_inputs(cache, tmp_path):
    before = path_of(cache)
    (tmp_path / "fastlm" / "module.py").write_text("changed")
    (tmp_path / "fastlm" / "text" / "_other.pyx").write_text("changed")
    assert path_of(cache) == before


def test_a_source_that_cython_makes_depends_on_the_common_inputs(cache, tmp_path):
    def path():
        return cache.module_path("fastlm/_c.c", cache.common_inputs())

    before = path()
    (tmp_path / "fastlm" / "_c.c").write_text("made by the build before")
    assert path() == before
    (tmp_path / "fastlm" / "b.h").write_text("changed")
    assert path() != before


def test_the_last_modules_are_kept(cache, tmp_path):
    built = tmp_path / "built.so"
    kept = []
    for number in range(cache.MOST_KEPT + 2):
        (tmp_path / "fastlm" / "b.h").write_text(str(number))
        built.write_text(str(number))
        kept.append(path_of(cache))
        cache.keep(built, kept[-1])
        os.utime(kept[-1], ns=(number, number))
    assert [path.exists() for path in kept] == [False, False, *[True] * cache.MOST_KEPT]
    cache.replace(kept[-1], tmp_path / "deep" / "target.so")
    assert (tmp_path / "deep" / "target.so").read_text() == str(cache.MOST_KEPT + 1)
    assert sorted(path.name for path in (tmp_path / "deep").iterdir()) == ["target.so"]
