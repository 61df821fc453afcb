"""The kernels compiled ahead of time: the ids of the source for every instruction set, and no compiler at run time."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

import fastlm
from fastlm.kernels import _compiled, merge

SOURCE = Path(fastlm.__file__).parent / "kernels" / "bpe.py"

PROGRAM = """
import sys
import fastlm
from fastlm.kernels.merge import merge_kernel
tokenizer = fastlm.Tokenizer({i: bytes([i]) for i in range(256)} | {256: b"ab"}, [(b"a", b"b")])
assert tokenizer.encode("abab c" + "ab" * 100) == [256, 256, 32, 99] + [256] * 100
print(merge_kernel().isa, sorted({"numba", "llvmlite"}.intersection(sys.modules)))
"""


def run(**variables: str) -> str:
    environment = {key: value for key, value in os.environ.items() if key != "FASTLM_JIT"} | variables
    command = [sys.executable, "-W", "error", "-c", PROGRAM]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout


def test_the_objects_were_compiled_from_the_source_that_is_here():
    assert hashlib.sha256(SOURCE.read_bytes()).hexdigest() == _compiled.SOURCE_SHA256, (
        "fastlm/kernels/bpe.py was changed after the build: run python setup.py build_ext --inplace"
    )


def test_encoding_compiles_nothing_and_imports_no_compiler():
    assert run() == f"{_compiled.supported_isas()[-1]} []\n"


@pytest.mark.nightly
def test_the_environment_variable_compiles_in_the_process():
    """tests/kernels/test_bpe.py asserts it for the kernel that it compiles."""
    pytest.importorskip("numba")
    assert run(FASTLM_JIT="1") == "jit ['llvmlite', 'numba']\n"


def test_encoding_writes_nothing(tmp_path):
    """No cache of machine code: a read-only installation with an unwritable home is like any other."""
    home = tmp_path / "home"
    home.mkdir()
    run(HOME=str(home), XDG_CACHE_HOME=str(home / "cache"), NUMBA_CACHE_DIR=str(home / "numba"))
    assert list(home.iterdir()) == []


def test_an_instruction_set_that_is_not_supported_is_refused():
    with pytest.raises(ValueError, match=r"isa must be one of .* on this processor, got 'x86-64-v9'"):
        _compiled.kernel_addresses("x86-64-v9")


def test_a_processor_without_any_kernel_is_refused(monkeypatch):
    monkeypatch.setattr(_compiled, "supported_isas", tuple)
    with pytest.raises(ValueError, match="x86-64-v2"):
        _compiled.kernel_addresses()


def test_the_kernel_is_the_last_of_the_supported_ones():
    isas = _compiled.supported_isas()
    assert merge.merge_kernel.__wrapped__().isa == isas[-1]
    assert _compiled.kernel_addresses() == _compiled.kernel_addresses(isas[-1])
    assert len({address for isa in isas for address in _compiled.kernel_addresses(isa).values()}) == 2 * len(isas)
