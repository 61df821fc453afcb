"""Builds and runs the fuzz targets in this folder, with AddressSanitizer and UndefinedBehaviorSanitizer.

corpus/TARGET.txt has inputs that together reach all code that any input reached: one input a line, in hexadecimal.
libFuzzer starts with them and `minimize` replaces them; with both compilers `replay` calls the target with each one.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

HERE = Path(__file__).parent
CORPUS = HERE / "corpus"
PACKAGE = HERE.parents[1] / "fastlm"
# The most bytes of an input in most of the runs: the time of a run of cuts grows with the square of the length.
# LONG_SHARE of the runs are longer.
TARGETS = {"cuts": 32, "scanners": 64, "normalizer": 24, "cache": 80, "encode_loop": 24}
LONGEST = 200
LONG_SHARE = 0.02
COMPILERS = ("gcc", "clang")
# The stacks of allocations cost more than the allocations. A failing input can be run again without this setting.
ENVIRONMENT = {"ASAN_OPTIONS": "malloc_context_size=0:quarantine_size_mb=1"}
FLAGS = ["-g", "-std=gnu11", "-w", "-fno-sanitize-recover=all"]


def missing(compiler: str) -> str | None:
    """Why a compiler cannot build a target, or None: gcc needs its sanitizers, clang also libFuzzer."""
    if not shutil.which(compiler):
        return f"{compiler} is not installed"
    command = [compiler, *FLAGS, _sanitizers(compiler), "-x", "c", "-", "-o", "/dev/null"]
    source = "int LLVMFuzzerTestOneInput(const char *data, unsigned long size) { return !data && size; }\n"
    source += "int main(void) { return 0; }\n" if compiler == "gcc" else ""
    tried = subprocess.run(command, input=source, capture_output=True, text=True, check=False)
    return f"{compiler} cannot link {_sanitizers(compiler)}" if tried.returncode else None


def build(target: str, compiler: str, folder: Path, optimization: str = "-O1") -> Path:
    """Compiles a target and returns the program. Raises CalledProcessError where it does not compile.

    Without optimization the compiler takes half the time, and a run twice the time.
    """
    program = folder / f"{target}-{compiler}"
    flags = [optimization, *FLAGS, _sanitizers(compiler), *_coverage(compiler), f"-I{PACKAGE}", f"-I{HERE}"]
    cache = ["ccache"] if shutil.which("ccache") else []
    objects = []
    for name in (target, "driver") if compiler == "gcc" else (target,):
        objects.append(str(folder / f"{name}-{compiler}.o"))
        _run([*cache, compiler, *flags, "-c", str(HERE / f"{name}.c"), "-o", objects[-1]])
    _run([compiler, *flags, *objects, "-o", str(program)])
    return program


def run(program: Path, runs: int, seed: int = 1) -> str:
    """Runs a target and returns its report, which is empty if nothing was wrong."""
    if program.name.endswith("-gcc"):
        return _report([str(program), f"-runs={runs}", f"-seed={seed}"])
    target, long = program.name.removesuffix("-clang"), max(1, round(runs * LONG_SHARE))
    corpus = unpack(target, program.with_name(f"{program.name}-corpus"))
    command = [str(program), f"-seed={seed}", f"-artifact_prefix={program}-", "-entropic=0"]
    return _report([*command, f"-runs={runs - long}", f"-max_len={TARGETS[target]}", str(corpus)]) or _report(
        [*command, f"-runs={long}", f"-max_len={LONGEST}", str(corpus)]
    )


def unpack(target: str, folder: Path) -> Path:
    """Writes each input of a target's corpus to a file of the folder, which keeps its other files, and returns it."""
    folder.mkdir(exist_ok=True)
    path = CORPUS / f"{target}.txt"
    for line in path.read_text().splitlines() if path.exists() else ():
        content = bytes.fromhex(line)
        (folder / hashlib.sha1(content).hexdigest()).write_bytes(content)
    return folder


def replay(target: str, program: Path) -> tuple[int, str]:
    """Calls a target with each input of its corpus. Returns the number of inputs, and the report."""
    files = sorted(map(str, unpack(target, program.with_name(f"{program.name}-replayed")).iterdir()))
    return len(files), _report([str(program), *files]) if files else ""


def minimize(program: Path) -> int:
    """Replaces a corpus by the fewest inputs of `run` with clang that reach the same code. Returns their number."""
    target = program.name.removesuffix("-clang")
    found = unpack(target, program.with_name(f"{program.name}-corpus"))
    least = program.with_name(f"{program.name}-least")
    shutil.rmtree(least, ignore_errors=True)
    least.mkdir()
    if report := _report([str(program), "-merge=1", f"-max_len={LONGEST}", str(least), str(found)]):
        raise RuntimeError(f"{target}: {report}")
    inputs = sorted((path.read_bytes() for path in least.iterdir()), key=lambda content: (len(content), content))
    CORPUS.mkdir(exist_ok=True)
    (CORPUS / f"{target}.txt").write_text("".join(f"{content.hex()}\n" for content in inputs if content))
    return len(inputs)


def _report(command: list[str]) -> str:
    environment = os.environ | ENVIRONMENT
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False, env=environment)
    return "" if done.returncode == 0 else done.stderr[-4000:] or f"exit status {done.returncode}"


def _run(command: list[str]) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)


def _sanitizers(compiler: str) -> str:
    return "-fsanitize=address,undefined" + (",fuzzer" if compiler == "clang" else "")


def _coverage(compiler: str) -> list[str]:
    # comparisons would take half of the time, and atoms reach what their values would
    return ["-fno-sanitize-coverage=trace-cmp"] if compiler == "clang" else []
