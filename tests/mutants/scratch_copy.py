"""A scratch copy of the repository, in which a mutant is applied, built and tested."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np

from tests.fuzz import harness
from tests.mutants.mutant import Mutant
from tests.tracked import copy_files, tracked_files

ROOT = Path(__file__).resolve().parents[2]
# seconds after which a test counts as one that noticed: a mutant may loop forever
SECONDS = 300
# how pytest ends where a recorded test is not in the files any more
NO_TEST = "exit status 4"
INCLUDED = re.compile(r'#include "([^"]+)"|cdef extern from "([^"]+)"')
DIRECTIVES = {
    "boundscheck": False,
    "wraparound": False,
    "initializedcheck": False,
    "cdivision": True,
    "autotestdict": False,
    "embedsignature": True,
}
FLAGS = ["-O1", "-w", "-fPIC", "-shared", "-fwrapv", "-DNPY_NO_DEPRECATED_API=NPY_1_7_API_VERSION"]
FUZZ_TARGETS = {
    "fastlm/pretokenize/scan/safe_start.h": ["cuts"],
    "fastlm/pretokenize/scan/": ["scanners"],
    "fastlm/encoding/encode_loop.h": ["encode_loop"],
    "fastlm/encoding/pretoken_cache.h": ["cache", "encode_loop"],
    "fastlm/text/normalize.h": ["normalizer"],
}
# the first test that fails ends a run, so the tests that notice most are first
TESTS = {
    "fastlm/pretokenize/scan/safe_start.h": ["tests/pretokenize/test_scan.py", "-k", "safe_start"],
    "fastlm/pretokenize/scan/": ["tests/pretokenize/test_scan.py"],
    "fastlm/encoding/": [
        "tests/encoding/test_token_table.py",
        "tests/encoding/test_options.py",
        "tests/encoding/test_native_border.py",
        "tests/encoding/test_batch.py",
        "tests/encoding/test_text_pipeline.py",
        "tests/kernels/test_bpe.py",
        "tests/test_tokenizer.py",
        "tests/vocabulary/test_rank_merges.py",
    ],
    "fastlm/text/": [
        "tests/text",
        "tests/normalizers",
        "tests/encoding/test_native_border.py",
        "tests/encoding/test_options.py",
    ],
    "fastlm/decoding/": ["tests/decoding", "tests/encoding/test_native_border.py"],
    "fastlm/kernels/": ["tests/kernels/test_bpe.py"],
    "fastlm/_merge.pyx": [
        "tests/bpe_training/test_merge.py",
        "tests/bpe_training/test_allocation.py",
        "tests/bpe_training/test_trainer.py",
    ],
    "fastlm/merging/": [
        "tests/bpe_training/test_merge.py",
        "tests/bpe_training/test_memory.py",
        "tests/bpe_training/test_trainer.py",
        "tests/bpe_training/test_resume.py",
    ],
    "fastlm/bpe_training/": [
        "tests/bpe_training/test_count.py",
        "tests/bpe_training/test_run_files.py",
        "tests/bpe_training/test_memory.py",
        "tests/bpe_training/test_resume.py",
        "tests/bpe_training/test_state_files.py",
    ],
    "fastlm/files/": ["tests/files", "tests/formats/test_formats.py", "tests/bpe_training/test_resume.py"],
    "fastlm/corpus/": [
        "tests/corpus/test_hashed_file.py",
        "tests/files/test_durability.py",
        "tests/corpus/test_shard_formats.py",
        "tests/corpus/test_shards.py",
    ],
    "fastlm/formats/": ["tests/formats/test_formats.py"],
}


class ScratchCopy:
    """A copy of the tracked files and of what was built from them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.passing: set[str] = set()  # without a mutant
        shutil.rmtree(folder, ignore_errors=True)
        built = [str(path.relative_to(ROOT)) for path in (ROOT / "fastlm").rglob("*.so")]
        copy_files([*tracked_files(new=True), *built], folder)

    def noticed_by(self, mutant: Mutant, first: str = "") -> str:
        """The first test that fails with a mutant, or nothing. Raises ValueError for a mutant of older source.

        `first` is what noticed the mutant before: a test, which is run before all others, or fuzz targets. Raises
        RuntimeError if the test fails without the mutant too.
        """
        found = self._failing_with(mutant, first)
        test = found.partition("[")[0]
        if test.startswith("tests/") and test not in self.passing:
            if self._failing([test], _uses_jit(mutant)):
                raise RuntimeError(f"{test} fails without the mutant too")
            self.passing.add(test)
        return found

    def _failing_with(self, mutant: Mutant, first: str) -> str:
        path = self.folder / mutant.file
        original = path.read_text()
        if original.count(mutant.old) != 1:
            raise ValueError(f"{mutant.file} does not have {mutant.old!r} once")
        built: dict[Path, bytes] = {}
        path.write_text(original.replace(mutant.old, mutant.new))
        try:
            is_test = first.startswith("tests/")
            if not is_test and (found := self._found_by_fuzzing(mutant.file)):
                return found
            for module in self._modules_of(path):
                library = module.with_suffix(sysconfig.get_config_var("EXT_SUFFIX"))
                built[library] = library.read_bytes()
                if error := self._build(module, library):
                    return f"compiler: {error}"
            if is_test and (found := self._failing([first], _uses_jit(mutant))) and found != NO_TEST:
                return found
            tests = next(tests for place, tests in TESTS.items() if mutant.file.startswith(place))
            return self._failing(tests, _uses_jit(mutant))
        finally:
            path.write_text(original)
            for library, content in built.items():
                library.unlink(missing_ok=True)  # a process may still have it in memory
                library.write_bytes(content)

    def _found_by_fuzzing(self, file: str) -> str:
        """The fuzz targets that report a changed header, which no module has to be built for, or nothing."""
        targets = next((targets for place, targets in FUZZ_TARGETS.items() if file.startswith(place)), [])
        command = [sys.executable, "-m", "tests.fuzz", "--compiler", "gcc", "--runs", "20000", *targets]
        if not targets or harness.missing("gcc"):
            return ""
        done = subprocess.run(command, cwd=self.folder, capture_output=True, check=False)
        return f"tests.fuzz {' '.join(targets)}" if done.returncode == 1 else ""

    def _failing(self, tests: list[str], uses_jit: bool) -> str:
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", *tests]
        environment = os.environ | {"FASTLM_JIT": "1", "FASTLM_TEST_PROFILE": "first-failure"}
        if not uses_jit:
            del environment["FASTLM_JIT"]
        try:
            done = subprocess.run(
                command, cwd=self.folder, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False
            )
        except subprocess.TimeoutExpired:
            return f"no end after {SECONDS} s"
        if done.returncode == 0:
            return ""
        failed = re.search(r"^(?:FAILED|ERROR) (tests/.+?)(?: - .*)?$", done.stdout, re.MULTILINE)
        return failed[1] if failed else f"exit status {done.returncode}"

    def _modules_of(self, path: Path) -> list[Path]:
        """The Cython modules that a file is compiled into."""
        if path.suffix not in (".pyx", ".h", ".hpp"):
            return []
        modules = sorted((self.folder / "fastlm").rglob("*.pyx"))
        return [module for module in modules if path in self._sources_of(module)]

    def _sources_of(self, path: Path) -> set[Path]:
        """A file, its .pxd file, those of the modules that it cimports, and all that they include."""
        found: set[Path] = set()
        waiting = [path]
        while waiting:
            source = waiting.pop()
            if source in found or not source.exists():
                continue
            found.add(source)
            text = source.read_text()
            for include, extern in INCLUDED.findall(text):
                waiting.append((source.parent / include).resolve() if include else self.folder / "fastlm" / extern)
            if source.suffix in (".pyx", ".pxd"):
                waiting.append(source.with_suffix(".pxd"))
                names = re.findall(r"^from ([\w.]+) cimport", text, re.MULTILINE)
                waiting += [self.folder / (name.replace(".", "/") + ".pxd") for name in names]
        return found

    def _build(self, module: Path, library: Path) -> str:
        """Compiles a module without much optimization; returns the error of a compiler, or nothing."""
        is_cpp = "distutils: language" in module.read_text() or module.stem == "_run_files"
        code = module.with_suffix(".cpp" if is_cpp else ".c")
        cython = [sys.executable, "-m", "cython", "-3", *(["--cplus"] if is_cpp else []), "-o", str(code)]
        cython += ["--shared", "fastlm._cython_utility"]
        cython += [part for name, value in DIRECTIVES.items() for part in ("-X", f"{name}={value}")]
        compiler = [*(["ccache"] if shutil.which("ccache") else []), "g++" if is_cpp else "gcc", *FLAGS]
        folders = [self.folder / "fastlm", sysconfig.get_paths()["include"], np.get_include()]
        compiler += [f"-I{folder}" for folder in folders]
        library.unlink(missing_ok=True)
        for command in ([*cython, str(module.relative_to(self.folder))], [*compiler, str(code), "-o", str(library)]):
            done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=False)
            if done.returncode:
                return (done.stderr.strip().splitlines() or ["no message"])[-1]
        return ""


def _uses_jit(mutant: Mutant) -> bool:
    """Whether the tests of a mutant compile the kernels, which are not built again."""
    return mutant.file.startswith("fastlm/kernels/")
