"""Rows that other commands measure: large texts, sanitizers, fuzzing, coverage, kernels, pickles, imports, mutants."""

from __future__ import annotations

import copy
import json
import os
import pickle
import random
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import fastlm
from tests import import_cost, texts
from tests.fuzz import arrow_arrays, harness
from tests.reliability.row import Row, Trial

# the packages of the tokenizer side, whose tests have the same names
COVERED = (
    "text",
    "pretokenize",
    "normalizers",
    "vocabulary",
    "encoding",
    "decoding",
    "formats",
    "bpe_training",
    "files",
)


def _run(command: list[str], environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, capture_output=True, text=True, check=False, env=os.environ | (environment or {}), timeout=7200
    )


def large_texts(trial: Trial) -> None:
    if trial.seconds < 60:
        trial.worst = "needs a minute"
        return
    done = _run([sys.executable, "-m", "tests.beyond_32_bits"])
    trial.count(done.returncode == 0, done.stderr[-300:])
    trial.worst = done.stdout.strip()[-120:]


def fuzzing(trial: Trial) -> None:
    """Each C target and the damaged Arrow arrays, with the same part of the time."""
    targets = list(harness.TARGETS)
    compiler = next((name for name in ("clang", "gcc") if not harness.missing(name)), None)
    if compiler is None:
        trial.worst = "no compiler with sanitizers"
        return
    with tempfile.TemporaryDirectory() as folder:
        for target in targets:
            program = harness.build(target, compiler, Path(folder))
            part, seed = Trial(trial.seconds / (len(targets) + 1)), 0
            while part.goes_on():
                seed += 1
                runs = 2000 if target == "normalizer" else 20_000
                report = harness.run(program, runs, seed)
                part.count(not report, f"{target}: {report[-300:]}", times=runs)
            trial.count(True, times=part.survived)
            for finding in part.findings:
                trial.count(False, finding)
    part = Trial(trial.seconds / (len(targets) + 1))
    while part.goes_on():
        try:
            arrow_arrays.arrow_array(random.Random(part.tried))
            part.count(True)
        except AssertionError as error:
            part.count(False, f"arrow arrays, seed {part.tried}: {error}")
    trial.count(True, times=part.survived)
    trial.worst = f"with {compiler}, ASan and UBSan"


def kernels(trial: Trial) -> None:
    """Eight processes at once that compile the kernels into a broken cache, an unwritable home, or no cache."""
    program = (
        "import fastlm\n"
        "t = fastlm.Tokenizer({i: bytes([i]) for i in range(256)} | {256: b'ab'}, [(b'a', b'b')])\n"
        "print(t.encode('abab cab'))\n"
    )
    with tempfile.TemporaryDirectory() as folder:
        places = [{"HOME": "/nonexistent"}, {"NUMBA_CACHE_DIR": folder}, {"HOME": folder}, {}]
        compiled = [] if trial.seconds < 30 else [{"FASTLM_JIT": "1", "NUMBA_CACHE_DIR": folder}]
        for environment in [*places, *compiled]:
            processes = [
                subprocess.Popen(
                    [sys.executable, "-c", program],
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                    env=os.environ | environment,
                )
                for _ in range(8)
            ]
            for process in processes:
                output, errors = process.communicate(timeout=600)
                trial.count(output.strip() == "[256, 256, 32, 99, 256]", f"{environment}: {errors[-200:]}")
    trial.worst = "8 processes at once in each place"


def copies(trial: Trial) -> None:
    """Pickles of all protocols, copies, and pickles read by another process."""
    tokenizer, chance = fastlm.train_bpe(texts.DOCUMENTS, 800, ["<|endoftext|>"], num_threads=1), random.Random(10)
    made = {f"protocol {number}": pickle.loads(pickle.dumps(tokenizer, number)) for number in range(2, 6)}
    made |= {"copy": copy.copy(tokenizer), "deepcopy": copy.deepcopy(tokenizer)}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pickle"
        path.write_bytes(pickle.dumps(tokenizer))
        program = "import pickle, sys; print(pickle.load(open(sys.argv[1], 'rb')).vocabulary.fingerprint)"
        done = _run([sys.executable, "-c", program, str(path)])
        trial.count(done.stdout.strip() == tokenizer.vocabulary.fingerprint, done.stderr[-200:])
        size = path.stat().st_size
    while trial.goes_on():
        text = texts.random_string(chance)
        expected = tokenizer.encode(text)
        for name, other in made.items():
            trial.count(other.encode(text) == expected, f"{name}: {text!r}")
        if trial.tried > 20_000:
            break
    trial.worst = f"{size:,} bytes of {tokenizer.vocab_size} tokens"


def platform(trial: Trial) -> None:
    with tempfile.TemporaryDirectory() as byte_code:
        for name in ("numpy", "fastlm"):
            import_cost.cpu_seconds(import_cost.PROGRAMS[name], byte_code)
        rounds = 3 if trial.seconds < 30 else 10
        seconds = min(import_cost.cpu_seconds("import fastlm", byte_code) for _ in range(rounds))
    trial.count(seconds <= import_cost.MOST_SECONDS, f"import fastlm takes {seconds:.3f} s of CPU time")
    loaded = _run([sys.executable, "-c", "import fastlm, sys; print('numba' in sys.modules, 'torch' in sys.modules)"])
    trial.count(loaded.stdout.split() == ["False", "False"], loaded.stdout)
    trial.count((Path(fastlm.__file__).parent / "py.typed").exists(), "py.typed is missing")
    trial.worst = f"import fastlm {seconds:.3f} s of CPU time"


def coverage(trial: Trial) -> None:
    """Lines and branches of the Python modules; the extension modules have no line tracing."""
    if trial.seconds < 300:
        trial.worst = "needs five minutes"
        return
    with tempfile.TemporaryDirectory() as folder:
        environment = {"COVERAGE_FILE": f"{folder}/data"}
        command = [sys.executable, "-m", "coverage"]
        sources = ",".join(f"fastlm/{name}" for name in COVERED)
        tests = [f"tests/{name}" for name in (*COVERED, "test_tokenizer.py", "test_arguments.py")]
        pytest = ["-m", "pytest", "-q", "-p", "no:xdist", "-p", "no:cacheprovider", *tests]
        _run([*command, "run", "--branch", f"--source={sources}", *pytest], environment)
        done = _run([*command, "json", "-o", f"{folder}/coverage.json"], environment)
        if done.returncode:
            trial.count(False, f"coverage: {(done.stdout + done.stderr)[-300:]}")
            return
        totals = json.loads(Path(folder, "coverage.json").read_text())["totals"]
    lines, branches = totals["num_statements"], totals["num_branches"]
    covered = totals["covered_lines"] / max(1, lines), totals["covered_branches"] / max(1, branches)
    trial.tried, trial.survived = lines + branches, totals["covered_lines"] + totals["covered_branches"]
    trial.worst = f"{100 * covered[0]:.1f} % of {lines:,} lines, {100 * covered[1]:.1f} % of {branches:,} branches"
    if covered[0] < 0.95 or covered[1] < 0.9:
        trial.findings.append(trial.worst)


def mutants(trial: Trial) -> None:
    if trial.seconds < 60:
        trial.worst = "needs a minute"
        return
    number = max(2, int(trial.seconds / 30))
    with tempfile.TemporaryDirectory() as folder:
        done = _run([sys.executable, "-m", "tests.mutants", "--sample", str(number), "--folder", folder + "/copy"])
    found = re.search(r"(\d+) mutants, (\d+) noticed", done.stdout)
    if found:
        tried, noticed = map(int, found.groups())
        trial.count(True, times=noticed)
        survivors = re.findall(r"^(\d+ .*)\n +SURVIVED", done.stdout, re.MULTILINE)
        if tried > noticed:
            trial.count(False, "; ".join(survivors)[:300], times=tried - noticed)


SANITIZERS = (
    "`make test-sanitize` and `make test-debug` rebuild the extension modules; .ci/nightly sanitizers runs them"
)
ROWS = [
    Row(10, "training on more than 2^32 bytes", "right merges", large_texts),
    Row(20, "sanitizers over the native suite", "0 reports", None, SANITIZERS),
    Row(21, "fuzzing of the native headers and of Arrow arrays", "0 reports", fuzzing),
    Row(22, "coverage of the tokenizer side, Python modules", "95 % of lines, 90 % of branches", coverage),
    Row(24, "kernels: no home, no cache, 8 processes at once", "all right", kernels),
    Row(25, "pickle, copy, other processes", "identical ids", copies),
    Row(26, "import", "at most 0.15 s, without Numba", platform),
    Row(27, "mutants of the source that the tests notice", "at least 95 %", mutants),
]
