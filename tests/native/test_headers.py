"""Every C and C++ header compiles alone, so that editors and their language servers understand it."""

import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "fastlm"
HEADERS = sorted(str(path.relative_to(PACKAGE)) for path in [*PACKAGE.rglob("*.h"), *PACKAGE.rglob("*.hpp")])
COMPILERS = [name for name in ("gcc", "clang") if shutil.which(name)]
# what a header defines for others is not used in it
FLAGS = ["-fsyntax-only", "-Wall", "-Wextra", "-Werror", "-Wno-unused-function", "-Wno-unused-const-variable"]


def diagnostics(compiler: str, header: str, *flags: str) -> str:
    language = ["c++", "-std=c++14"] if header.endswith(".hpp") else ["c", "-std=gnu11"]
    include = sysconfig.get_paths()["include"]
    command = [compiler, *FLAGS, *flags, "-isystem", include, "-x", *language, str(PACKAGE / header)]
    return subprocess.run(command, capture_output=True, text=True, check=False).stderr


@pytest.mark.skipif(not COMPILERS, reason="no C compiler is installed")
@pytest.mark.parametrize("header", HEADERS)
def test_compiles_alone(header):
    for compiler in COMPILERS:
        assert not diagnostics(compiler, header)


@pytest.mark.skipif(not COMPILERS, reason="no C compiler is installed")
@pytest.mark.parametrize("header", [header for header in HEADERS if "/scan/" in header])
def test_compiles_alone_for_avx2(header):
    """The parts that scan.h includes once for each instruction set, as the AVX2 one."""
    for compiler in COMPILERS:
        flags = ["-mavx2", "-mbmi", "-mbmi2", "-mpopcnt"]
        if not diagnostics(compiler, "native/common.h", *flags):
            assert not diagnostics(compiler, header, *flags)
