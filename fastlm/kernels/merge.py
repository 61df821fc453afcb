"""The merge kernel: compiled ahead of time, or in this process for work on the kernel."""

from __future__ import annotations

import functools
import os
from typing import NamedTuple

from fastlm.kernels import _compiled


class Kernel(NamedTuple):
    """The compiled functions of bpe.py, which has their signatures."""

    merge: int
    """Address of the function."""
    merge_batch: int
    """Address of the function."""
    isa: str
    """Instruction set, or "jit"."""
    owner: object = None
    """Object that keeps machine code of this process alive."""


@functools.cache
def merge_kernel() -> Kernel:
    """The kernel for the best instruction set of this processor.

    FASTLM_JIT=1 compiles fastlm/kernels/bpe.py in this process with Numba instead, to try a change without a build.

    Raises:
        ValueError: the kernel was not compiled for this processor.
        ImportError: FASTLM_JIT is set and numba is not installed.
    """
    if os.environ.get("FASTLM_JIT") == "1":
        from fastlm.kernels import bpe

        compiled = {name: bpe.compiled(name) for name in bpe.FUNCTIONS}
        addresses = {name: function.address for name, function in compiled.items()}
        return Kernel(**addresses, isa="jit", owner=compiled)
    return Kernel(**_compiled.kernel_addresses(), isa=_compiled.supported_isas()[-1])
