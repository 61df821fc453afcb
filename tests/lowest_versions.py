"""Tests fastlm with the lowest versions that pyproject.toml promises: `python -m tests.lowest_versions`.

In a fresh environment it installs the lowest NumPy, tqdm and tyro, compiles the merge kernels with the lowest Numba,
builds with the lowest Cython and setuptools, and runs tests/wheel.py and the fast tests of tokenizers. Packages that no
test of tokenizers needs stay out: torch, ray and transformers are gigabytes. `--extra NAME` adds the lowest versions of
an extra and runs its tests.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable
from pathlib import Path

from tests.tracked import copy_files, tracked_files

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
# what the tests of tokenizers import; the newest, because fastlm does not depend on them
TOOLS = ("pytest>=8", "hypothesis>=6")
TESTS = (
    "tests/text", "tests/pretokenize", "tests/vocabulary", "tests/encoding", "tests/decoding", "tests/normalizers",
    "tests/formats", "tests/bpe_training", "tests/kernels/test_compiled.py", "tests/kernels/test_bpe.py",
    "tests/test_tokenizer.py", "tests/files/test_atomic.py", "tests/commands/test_sizes.py",
)  # fmt: skip
EXTRAS = {"data": ("tests/corpus",), "regex": (), "report": ("tests/report",), "hub": ("tests/files/test_hub.py",)}


def lowest(requirement: str) -> str:
    """The requirement with its lowest version: "tyro>=1.0,<2" becomes "tyro==1.0"; without one it stays as it is."""
    found = re.fullmatch(r"([\w.\[\]-]+)\s*>=\s*([\w.]+)(?:,.*)?", requirement)
    return f"{found[1]}=={found[2]}" if found else requirement


def requirements_of(extras: Iterable[str] = ()) -> list[str]:
    """The lowest versions of the requirements, and of some extras."""
    project = PROJECT["project"]
    lists = [project["dependencies"], *(project["optional-dependencies"][extra] for extra in extras)]
    return [lowest(requirement) for requirements in lists for requirement in requirements]


def build_requirements() -> list[str]:
    """The lowest versions of what builds fastlm, Numba among them."""
    (numba,) = (one for one in PROJECT["project"]["optional-dependencies"]["model"] if one.startswith("numba"))
    return [lowest(requirement) for requirement in [*PROJECT["build-system"]["requires"], numba]]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", default=sys.executable, help="the interpreter; this one by default")
    parser.add_argument("--extra", action="append", default=[], choices=EXTRAS, help="also test this extra")
    options = parser.parse_args()
    # regex is needed by the references of the tests
    wanted = [*requirements_of({"regex", *options.extra}), *build_requirements()]
    print("lowest versions:", ", ".join(sorted(set(wanted))), flush=True)
    tests = [*TESTS, *(path for extra in options.extra for path in EXTRAS[extra])]
    with tempfile.TemporaryDirectory(prefix="fastlm-lowest-") as directory:
        folder = Path(directory)
        subprocess.run([options.python, "-m", "venv", folder / "venv"], check=True)
        python = folder / "venv" / "bin" / "python"

        def run(*command: str | Path, cwd: Path = ROOT) -> None:
            subprocess.run([python, *command], check=True, cwd=cwd, env={**os.environ, "PYTHONPATH": ""})

        tree = folder / "tree"
        copy_files(tracked_files(), tree)
        run("-m", "pip", "install", "-q", *dict.fromkeys(wanted), *TOOLS)
        run("-m", "pip", "install", "-q", "--no-build-isolation", "--no-deps", "-e", tree)
        run("-m", "pip", "list", "--format=freeze")
        run(tree / "tests" / "wheel.py", cwd=folder)
        run("-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "default", *tests, cwd=tree)
    print("the lowest versions work")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except subprocess.CalledProcessError as error:
        print(f"lowest_versions: {error}", file=sys.stderr)
        sys.exit(1)
