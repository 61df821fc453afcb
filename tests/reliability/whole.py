"""Rows 10, 21, 24, 25 and 26: large texts, fuzzing, kernels, pickles, imports."""

from __future__ import annotations

import copy
import functools
import os
import pickle
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import fastlm
from tests import import_cost, texts
from tests.fuzz import arrow_arrays, harness
from tests.reliability.row import Row, Trial


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
    """Each C target with its corpus and new inputs, and the damaged Arrow arrays, with the same part of the time."""
    compiler = next((name for name in ("clang", "gcc") if not harness.missing(name)), None)
    if compiler is None:
        trial.worst = "no compiler with sanitizers"
        return
    with tempfile.TemporaryDirectory() as folder:
        for target in harness.TARGETS:
            program = harness.build(target, compiler, Path(folder))
            inputs, report = harness.replay(target, program)
            trial.count(not report, f"{target}: {report[-300:]}", times=inputs)
            _fuzz(trial, target, 20_000, functools.partial(harness.run, program))
    _fuzz(trial, "arrow", 2_000, arrow_arrays.run)
    trial.worst = f"with {compiler}, ASan and UBSan"


def _fuzz(trial: Trial, target: str, runs: int, run: Callable[[int, int], str]) -> None:
    """Runs a target with one seed after the other, for its part of the time."""
    part, seed = Trial(trial.seconds / (len(harness.TARGETS) + 1)), 0
    while part.goes_on():
        seed += 1
        report = run(runs, seed)
        part.count(not report, times=runs)
        trial.count(not report, f"{target}, seed {seed}: {report[-300:]}", times=runs)


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


ROWS = [
    Row(10, "training on more than 2^32 bytes", "right merges", large_texts, share=6),
    Row(21, "fuzzing of the native headers and of Arrow arrays", "0 reports", fuzzing, share=6),
    Row(24, "kernels: no home, no cache, 8 processes at once", "all right", kernels),
    Row(25, "pickle, copy, other processes", "identical ids", copies),
    Row(26, "import", "at most 0.15 s, without Numba", platform),
]
