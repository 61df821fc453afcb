"""Every C and C++ header compiles alone, so that editors and their language servers understand it."""

import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "fastlm"
HEADERS = sorted(str(path.relative_to(PACKAGE)) for path in [*PACKAGE.rglob("*.h"), *PACKAGE.rglob("*.hpp")])
FOUND = [name for name in ("gcc", "clang") if shutil.which(name)]
# .ci/run lets clang check the C files of all modules, which include the headers
COMPILERS = [*FOUND[:1], *(pytest.param(name, marks=pytest.mark.nightly) for name in FOUND[1:])]
# what a header defines for others is not used in it
AVX2 = ["-mavx2", "-mbmi", "-mbmi2", "-mpopcnt"]
AVX512 = [*AVX2, *(f"-mavx512{part}" for part in ("f", "bw", "dq", "vl", "vbmi", "vbmi2"))]
FLAGS = ["-fsyntax-only", "-Wall", "-Wextra", "-Werror", "-Wno-unused-function", "-Wno-unused-const-variable"]


def diagnostics(compiler: str, header: str, *flags: str) -> str:
    language = ["c++", "-std=c++14"] if header.endswith(".hpp") else ["c", "-std=gnu11"]
    include = sysconfig.get_paths()["include"]
    command = [compiler, *FLAGS, *flags, "-isystem", include, "-x", *language, str(PACKAGE / header)]
    return subprocess.run(command, capture_output=True, text=True, check=False).stderr


@pytest.mark.skipif(not COMPILERS, reason="no C compiler is installed")
@pytest.mark.parametrize("compiler", COMPILERS)
@pytest.mark.parametrize("header", HEADERS)
def test_compiles_alone(header, compiler):
    assert not diagnostics(compiler, header)


@pytest.mark.skipif(not COMPILERS, reason="no C compiler is installed")
@pytest.mark.parametrize("header", [header for header in HEADERS if "/scan/" in header])
@pytest.mark.parametrize("compiler", COMPILERS)
@pytest.mark.parametrize("flags", [AVX2, AVX512], ids=["avx2", "avx512"])
def test_compiles_alone_for_an_instruction_set(header, flags, compiler):
    """The parts that scan.h includes once for each instruction set."""
    if not diagnostics(compiler, "native/common.h", *flags):
        assert not diagnostics(compiler, header, *flags)
