"""Builds and runs the fuzz targets in this folder, with AddressSanitizer and UndefinedBehaviorSanitizer."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

HERE = Path(__file__).parent
PACKAGE = HERE.parents[1] / "fastlm"
# The most bytes of an input in most of the runs: the time of a run of cuts grows with the square of the length, and a
# run of normalizer makes 20 texts. LONG_SHARE of the runs are longer.
TARGETS = {"cuts": 32, "scanners": 64, "normalizer": 10, "cache": 80, "encode_loop": 24}
LONGEST = 200
LONG_SHARE = 0.02
COMPILERS = ("gcc", "clang")
# The stacks of allocations cost more than the allocations. A failing input can be run again without this setting.
ENVIRONMENT = {"ASAN_OPTIONS": "malloc_context_size=0:quarantine_size_mb=1"}
FLAGS = ["-O1", "-g", "-std=gnu11", "-w", "-fno-sanitize-recover=all"]


def missing(compiler: str) -> str | None:
    """Why a compiler cannot build a target, or None: gcc needs its sanitizers, clang also libFuzzer."""
    if not shutil.which(compiler):
        return f"{compiler} is not installed"
    command = [compiler, *FLAGS, _sanitizers(compiler), "-x", "c", "-", "-o", "/dev/null"]
    source = "int LLVMFuzzerTestOneInput(const char *data, unsigned long size) { return !data && size; }\n"
    source += "int main(void) { return 0; }\n" if compiler == "gcc" else ""
    tried = subprocess.run(command, input=source, capture_output=True, text=True, check=False)
    return f"{compiler} cannot link {_sanitizers(compiler)}" if tried.returncode else None


def build(target: str, compiler: str, folder: Path) -> Path:
    """Compiles a target and returns the program. Raises CalledProcessError where it does not compile."""
    program = folder / f"{target}-{compiler}"
    flags = [*FLAGS, _sanitizers(compiler), f"-I{PACKAGE}", f"-I{HERE}"]
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
    command = [str(program), f"-seed={seed}", f"-artifact_prefix={program}-", "-print_final_stats=1"]
    return _report([*command, f"-runs={runs - long}", f"-max_len={TARGETS[target]}"]) or _report(
        [*command, f"-runs={long}", f"-max_len={LONGEST}"]
    )


def _report(command: list[str]) -> str:
    environment = os.environ | ENVIRONMENT
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False, env=environment)
    return "" if done.returncode == 0 else done.stderr[-4000:] or f"exit status {done.returncode}"


def _run(command: list[str]) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)


def _sanitizers(compiler: str) -> str:
    return "-fsanitize=address,undefined" + (",fuzzer" if compiler == "clang" else "")
