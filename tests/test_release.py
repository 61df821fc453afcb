"""What a release needs: one version, metadata, the kernels of all platforms, the lowest versions, no wrong advice."""

import importlib.util
import platform
import re
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

import pytest

import fastlm
from tests import lowest_versions, release

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
PYTHONS = ("3.11", "3.12", "3.13", "3.14")


@pytest.fixture(scope="module")
def kernels():
    """tools/compile_kernels.py, which the build imports."""
    spec = importlib.util.spec_from_file_location("compile_kernels", ROOT / "tools" / "compile_kernels.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # for dataclasses
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def test_the_version_has_one_source():
    assert "version" in PROJECT["project"]["dynamic"]
    assert PROJECT["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "fastlm._version.__version__"}
    shown = subprocess.run([sys.executable, "-m", "fastlm", "--version"], cwd=ROOT, capture_output=True, text=True)
    assert shown.stdout == f"fastlm {fastlm.__version__}\n"


def test_the_changelog_begins_with_what_is_not_released_and_then_dates():
    headings = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    assert headings[0] == "Unreleased"
    assert all(re.fullmatch(r"\d+\.\d+\.\d+ - \d{4}-\d{2}-\d{2}", heading) for heading in headings[1:])
    if len(headings) > 1:
        assert headings[1].partition(" ")[0] == fastlm.__version__


def test_every_python_that_is_supported_has_a_wheel():
    classifiers = PROJECT["project"]["classifiers"]
    named = [name.rpartition(" ")[2] for name in classifiers if re.fullmatch(r".*:: 3\.\d+", name)]
    assert named == list(PYTHONS)
    assert PROJECT["project"]["requires-python"] == f">={PYTHONS[0]}"
    built = PROJECT["tool"]["cibuildwheel"]["build"].split()
    assert built == [*(f"cp{name.replace('.', '')}-*" for name in PYTHONS), "cp314t-*"]
    wheels = (ROOT / ".github" / "workflows" / "wheels.yml").read_text("utf-8")
    # manylinux and musllinux of two machines, two of macOS, and Windows
    assert f"-eq {7 * len(built)}" in wheels


def test_the_licence_is_an_expression():
    """PEP 639: setuptools warns of a classifier."""
    assert PROJECT["project"]["license"] == "MIT"
    assert not [name for name in PROJECT["project"]["classifiers"] if name.startswith("License")]
    assert (ROOT / PROJECT["project"]["license-files"][0]).read_text("utf-8").startswith("MIT License")


def test_nothing_says_that_pip_finds_fastlm():
    """It is not on PyPI; messages name packages, and the documentation a clone."""
    said = re.compile(r"pip3? install [^\n]*?(?<![\w./-])['\"]?fastlm(?:\[|['\"\s]|$)", re.MULTILINE)
    assert said.search("pip install 'fastlm[data]'")
    assert said.search("pip install fastlm")
    assert not said.search("pip install -e '.[model,data]' -c constraints.txt\nfastlm demo")
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "fastlm").rglob("*.py")]
    assert [str(path) for path in pages if path.name != "_extras.py" and said.search(path.read_text("utf-8"))] == []


def test_links_of_readme_work_outside_of_the_repository():
    targets = re.findall(r"\]\(([^)\s]+)\)", (ROOT / "README.md").read_text("utf-8"))
    assert targets
    assert [target for target in targets if not target.startswith("https://")] == []


@pytest.mark.parametrize(
    ("python", "name"),
    [
        ("linux-x86_64", "linux-x86_64"),
        ("linux-aarch64", "linux-aarch64"),
        ("macosx-11.0-arm64", "macos-arm64"),
        ("macosx-11.0-x86_64", "macos-x86_64"),
        ("win-amd64", "windows-x86_64"),
        ("linux-riscv64", "other"),
    ],
)
def test_the_platform_is_the_one_that_is_built_for(kernels, monkeypatch, python, name):
    monkeypatch.setattr(sysconfig, "get_platform", lambda: python)
    assert kernels.this_platform() == name


def test_kernels_that_were_made_elsewhere_are_taken(kernels, tmp_path, monkeypatch):
    monkeypatch.setattr(sysconfig, "get_platform", lambda: "linux-aarch64")
    right = tmp_path / f"bpe-linux-aarch64-generic-{kernels.source_hash()}-0123456789abcdef.o"
    monkeypatch.setenv(kernels.FOLDER, str(tmp_path))
    with pytest.raises(ValueError, match=r"expected one object bpe-linux-aarch64-generic-\w+-\*\.o, found 0 objects"):
        kernels.objects(tmp_path / "none")
    (tmp_path / "bpe-linux-aarch64-generic-old-0123456789abcdef.o").write_bytes(b"")
    with pytest.raises(ValueError, match="found only objects of another version of the kernel"):
        kernels.objects(tmp_path / "none")
    right.write_bytes(b"")
    assert kernels.objects(tmp_path / "none") == [right]
    right.with_name(f"bpe-linux-aarch64-generic-{kernels.source_hash()}-other.o").write_bytes(b"")
    with pytest.raises(ValueError, match="found 2 objects"):
        kernels.objects(tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_a_build_without_numba_says_what_to_do(kernels, tmp_path, monkeypatch):
    monkeypatch.setattr(sysconfig, "get_platform", lambda: "linux-x86_64")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"compiled with numba, which is not installed.*set FASTLM_KERNELS to"):
        kernels.compile_all(tmp_path, "linux-x86_64")
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    with pytest.raises(ValueError, match="kernels for macos-arm64 are compiled on x86-64, this machine is aarch64"):
        kernels.compile_all(tmp_path, "macos-arm64")


def test_the_build_requires_numba_only_if_it_compiles(monkeypatch):
    pytest.importorskip("setuptools")
    spec = importlib.util.spec_from_file_location("build_backend", ROOT / "tools" / "build_backend.py")
    backend = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(backend)
    monkeypatch.setattr(backend.build_meta, "get_requires_for_build_wheel", lambda settings: ["other"])
    monkeypatch.delenv("FASTLM_KERNELS", raising=False)
    assert backend.get_requires_for_build_wheel() == ["other", "numba>=0.61"]
    monkeypatch.setenv("FASTLM_KERNELS", "/kernels")
    assert backend.get_requires_for_build_wheel() == ["other"]
    (numba,) = (one for one in PROJECT["project"]["optional-dependencies"]["model"] if one.startswith("numba"))
    assert numba == "numba>=0.61"


def test_code_for_another_machine_has_no_operation_of_x86(kernels):
    """The numbers of LLVM's values stay consecutive, and no value has two definitions."""
    code = (
        "  fence release\n  %0 = tail call i8 @llvm.x86.atomic.sub.cc.i64(ptr nonnull %.1, i64 1, i32 4)\n"
        "  %1 = trunc i8 %0 to i1\n  %k.x = call i8 @llvm.x86.atomic.sub.cc.i64(ptr %7, i64 1, i32 4)\n"
        "declare i8 @llvm.x86.atomic.sub.cc.i64(ptr, i64, i32 immarg) #4\n"
    )
    assert kernels.portable(code) == (
        "  fence release\n  %was0.before = atomicrmw sub ptr %.1, i64 1 monotonic, align 8\n"
        "  %was0.is_last = icmp eq i64 %was0.before, 1\n  %0 = zext i1 %was0.is_last to i8\n"
        "  %1 = trunc i8 %0 to i1\n  %wask.x.before = atomicrmw sub ptr %7, i64 1 monotonic, align 8\n"
        "  %wask.x.is_last = icmp eq i64 %wask.x.before, 1\n  %k.x = zext i1 %wask.x.is_last to i8\n\n"
    )


# the first bytes of an object, and the name of a function in it
FORMATS = {
    "linux-x86_64": (b"\x7fELF\x02\x01\x01", 62),
    "linux-aarch64": (b"\x7fELF\x02\x01\x01", 183),
    "macos-x86_64": (b"\xcf\xfa\xed\xfe\x07\x00\x00\x01", None),
    "macos-arm64": (b"\xcf\xfa\xed\xfe\x0c\x00\x00\x01", None),
    "windows-x86_64": (b"\x64\x86", None),
}


@pytest.mark.nightly
@pytest.mark.skipif(platform.machine() != "x86_64", reason="compiles for other platforms on x86-64")
@pytest.mark.parametrize("name", FORMATS)
def test_the_kernel_is_compiled_for_every_platform(kernels, tmp_path, name):
    found = kernels.compile_all(tmp_path, name)
    assert list(found) == list(kernels.PLATFORMS[name].isas)
    start, machine = FORMATS[name]
    prefix = b"_" if name.startswith("macos") else b""
    for isa, path in found.items():
        content = path.read_bytes()
        assert content.startswith(start)
        if machine is not None:
            assert int.from_bytes(content[18:20], "little") == machine
        assert b"\0" + prefix + f"fastlm_merge_batch_{isa}".encode() + b"\0" in content


@pytest.mark.parametrize(
    ("requirement", "lowest"),
    [
        ("numpy>=2.0", "numpy==2.0"),
        ("Cython>=3.1,<4", "Cython==3.1"),
        ("tqdm", "tqdm"),
        ("moto[server]>=5", "moto[server]==5"),
        ("mkdocstrings-python>=2", "mkdocstrings-python==2"),
    ],
)
def test_the_lowest_version_of_a_requirement(requirement, lowest):
    assert lowest_versions.lowest(requirement) == lowest


def test_the_lowest_versions_are_those_of_the_project():
    assert {"numpy==2.0", "tyro==1.0"} <= set(lowest_versions.requirements_of())
    assert any(name.startswith("numba==") for name in lowest_versions.build_requirements())
    assert all((ROOT / path).exists() for path in lowest_versions.TESTS)


def test_the_table_of_a_release_has_all_steps():
    rows = [
        release.Row("3.11.7", {"sdist with gcc": "passed, 3 s", "wheel": "a"}),
        release.Row("3.14.0t", {"sdist with gcc": "**failed**"}),
    ]
    assert release.table(rows).splitlines()[2:] == [
        "| 3.11.7 | passed, 3 s | a |",
        "| 3.14.0t | **failed** | - |",
    ]
