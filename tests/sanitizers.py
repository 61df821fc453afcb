"""Runs the tests of the extension modules on builds with checks, each in a copy of the tree in build/sanitizers/.

    python -m tests.sanitizers address --seconds 600 tests/encoding
    python -m tests.sanitizers thread

`address` is AddressSanitizer and UndefinedBehaviorSanitizer, and ends with random calls of the modules; `thread` is
ThreadSanitizer, for the tests that start threads; `bounds` has Cython's checks of bounds and initialization, and signed
overflow ends the process; `kernels` compiles the kernels of language models with Numba's checks of bounds. Each test
file runs in a process of its own. Prints a line for each; exits with 1 if one fails. Linux with gcc.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.conftest import DATA
from tests.tracked import tracked_files

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "build" / "sanitizers"
BUILT = "built"
NATIVE = (
    *("tests/native", "tests/text", "tests/decoding", "tests/encoding", "tests/bpe_training", "tests/pretokenize"),
    *("tests/vocabulary", "tests/normalizers", "tests/kernels/test_bpe.py", "tests/test_tokenizer.py"),
    *("tests/corpus/test_text_blocks.py", "tests/corpus/test_shards.py", "tests/corpus/test_shard_formats.py"),
    *("tests/corpus/test_hostile_columns.py", "tests/corpus/test_read.py", "tests/corpus/test_ranks.py"),
    *("tests/corpus/test_megatron.py", "tests/formats", "tests/test_arguments.py"),
)
THREADED = (
    *("tests/encoding/test_concurrency.py", "tests/encoding/test_batch.py", "tests/encoding/test_interrupts.py"),
    *("tests/bpe_training/test_trainer.py", "tests/bpe_training/test_memory.py", "tests/bpe_training/test_resume.py"),
    *("tests/decoding", "tests/test_tokenizer.py", "tests/corpus/test_shards.py"),
)
# a sanitizer reserves address space and memory, and makes each start of Python slow
LIMITS_MEMORY = ("test_peak_memory_keeps_to_the_limit", "holds_little", "memory_stays_flat", "limit_that_does_not")
STARTS_PYTHON = ("forkserver", "spawn", "processes", "other_process", "import_cost")
IN_SECONDS = ("acts_within", "ctrl_c")


class Check(NamedTuple):
    """A build, and how tests run on it.

    Attributes:
        build: The environment of the build; None for the modules of this tree.
        libraries: What the tests preload.
        environment: The environment of the tests.
        files: Test files, and folders of them.
        without: Parts of the names of tests that cannot run on such a build.
        programs: Modules that run after the tests.
    """

    build: dict[str, str] | None
    libraries: tuple[str, ...]
    environment: dict[str, str]
    files: tuple[str, ...]
    without: tuple[str, ...] = ()
    programs: tuple[tuple[str, ...], ...] = ()


CHECKS = {
    "address": Check(
        {"FASTLM_SANITIZE": "address"},
        ("libasan.so", "libubsan.so"),
        {"ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1", "PYTHONMALLOC": "malloc"},
        NATIVE,
        (*LIMITS_MEMORY, *STARTS_PYTHON, *IN_SECONDS),
        (("tests.fuzz.loops", "--seconds", "20"),),
    ),
    "thread": Check(
        {"FASTLM_SANITIZE": "thread"},
        ("libtsan.so",),
        {"TSAN_OPTIONS": "halt_on_error=1:exitcode=66:die_after_fork=0:report_signal_unsafe=0"},
        THREADED,
        # the threads of tokenizers, whose synchronization this sanitizer does not see
        (*LIMITS_MEMORY, *STARTS_PYTHON, *IN_SECONDS, "fork", "hugging_face"),
    ),
    "bounds": Check({"FASTLM_DEBUG": "1"}, (), {}, NATIVE, IN_SECONDS),
    # the kernel of the merges takes tables of unknown sizes, so that only a compiled sanitizer could check them
    "kernels": Check(
        None,
        (),
        {"NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": str(FOLDER / "numba")},
        ("tests/kernels/test_decode_lm.py", "tests/generation"),
    ),
}


class Outcome(NamedTuple):
    """What became of a test file: the tests that passed, and the end of the output if something failed."""

    file: str
    passed: int
    report: str
    seconds: float


def results(name: str, files: tuple[str, ...] = (), seconds: float = float("inf")) -> Iterator[Outcome]:
    """Builds what a check needs, and runs its test files until the time is over; at least one.

    Raises CalledProcessError where the build fails.
    """
    check, start = CHECKS[name], time.monotonic()
    folder = ROOT if check.build is None else built(name)
    commands = [("pytest", file) for file in _expanded(files or check.files)]
    for command in [*commands, *(check.programs if not files else ())]:
        if command != commands[0] and time.monotonic() - start > seconds:
            return
        yield _outcome(folder, check, command)


def _expanded(files: tuple[str, ...]) -> list[str]:
    """The test files of files and folders."""
    found: list[str] = []
    for file in files:
        path = ROOT / file
        if path.is_dir():
            found += sorted(str(one.relative_to(ROOT)) for one in path.rglob("test_*.py"))
        else:
            found.append(file)
    return found


def _outcome(folder: Path, check: Check, command: tuple[str, ...]) -> Outcome:
    python = [sys.executable, "-m", *command]
    if command[0] == "pytest":
        without = " and ".join(f"not {part}" for part in check.without)
        python += ["-q", "-p", "no:cacheprovider", "-p", "no:xdist", *(["-k", without] if without else [])]
    if "libtsan.so" in check.libraries and shutil.which("setarch"):
        python = ["setarch", "-R", *python]  # this sanitizer expects few random bits in addresses
    preload = " ".join(_library(library) for library in check.libraries)
    environment = {"FASTLM_TEST_PROFILE": "brief", "FASTLM_DATA": str(DATA), **check.environment}
    if preload:
        environment["LD_PRELOAD"] = preload
    start = time.monotonic()
    try:
        done = subprocess.run(
            python,
            cwd=folder,
            env=os.environ | environment,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=1800,
            check=False,
            start_new_session=True,  # some tests end their group of processes
        )
    except subprocess.TimeoutExpired:
        return Outcome(command[-1], 0, "no end after 1800 s", time.monotonic() - start)
    name = command[1] if command[0] == "pytest" else command[0]
    passed = int(found[1]) if (found := re.search(r"(\d+) passed", done.stdout)) else int(not done.returncode)
    # status 5: no test is left
    report = "" if done.returncode in (0, 5) else (done.stdout + done.stderr)[-4000:]
    return Outcome(name, passed * (done.returncode != 5), report, time.monotonic() - start)


def _library(name: str) -> str:
    done = subprocess.run(["gcc", f"-print-file-name={name}"], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def built(name: str, build: dict[str, str] | None = None) -> Path:
    """A copy of the tracked files, built with another environment if it is not yet. Returns its folder."""
    folder = FOLDER / name
    folder.mkdir(parents=True, exist_ok=True)
    environment = CHECKS[name].build if build is None else build
    _synchronize(folder)
    compilers = {"CC": "ccache gcc", "CXX": "ccache g++"} if shutil.which("ccache") else {}
    command = [sys.executable, "setup.py", "-q", "build_ext", "--inplace"]
    subprocess.run(
        command, cwd=folder, env=os.environ | compilers | (environment or {}), check=True, capture_output=True
    )
    (folder / BUILT).touch()
    return folder


def is_built(name: str) -> bool:
    """Whether a check needs no build, or has one, perhaps of older sources."""
    return CHECKS[name].build is None or (FOLDER / name / BUILT).exists()


def _synchronize(folder: Path) -> None:
    """Makes the files of a folder those that git knows here, and leaves what was built there."""
    names = set(tracked_files(new=True))
    listing = folder / "files"
    for name in set(listing.read_text().splitlines() if listing.exists() else ()) - names:
        (folder / name).unlink(missing_ok=True)
    for name in names:
        given, copied = ROOT / name, folder / name
        if not copied.exists() or copied.read_bytes() != given.read_bytes():
            copied.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(given, copied)
    listing.write_text("\n".join(sorted(names)))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("check", choices=CHECKS)
    parser.add_argument("files", nargs="*", help="test files or folders; default: those of the check")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="start no test file after this time")
    arguments = parser.parse_intermixed_args()
    passed = reports = 0
    for outcome in results(arguments.check, tuple(arguments.files), arguments.seconds):
        passed, reports = passed + outcome.passed, reports + bool(outcome.report)
        print(f"{outcome.file}: {outcome.passed} passed ({outcome.seconds:.0f} s)", flush=True)
        print(outcome.report, end="", flush=True)
    print(f"{arguments.check}: {passed:,} passed, {reports} reports")
    return 1 if reports else 0


if __name__ == "__main__":
    sys.exit(main())
