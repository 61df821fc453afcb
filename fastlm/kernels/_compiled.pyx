"""The merge kernel of bpe.py, compiled when fastlm was built: one machine function for each instruction set."""
from libc.stdint cimport uintptr_t

cdef extern from "kernels/dispatch.h":
    ctypedef struct _Kernel "fastlm_kernels[0]":
        const char *name
        void (*kernel)()
    _Kernel fastlm_kernels[4]
    int fastlm_kernel_count()
    const char *FASTLM_KERNEL_SOURCE

# sha256 of the bpe.py that was compiled
SOURCE_SHA256 = FASTLM_KERNEL_SOURCE.decode()


def supported_isas() -> tuple[str, ...]:
    """Instruction sets that the kernel was compiled for and this processor has, slowest first."""
    return tuple([fastlm_kernels[k].name.decode() for k in range(fastlm_kernel_count())])


def kernel_address(str isa=None) -> int:
    """Address of the kernel for an instruction set, by default the last of supported_isas().

    Raises ValueError for an instruction set that is not supported here.
    """
    isas = supported_isas()
    if not isas:
        raise ValueError("the merge kernel needs a processor with x86-64-v2 (SSE4.2 and POPCNT)")
    if isa is not None and isa not in isas:
        raise ValueError(f"isa must be one of {', '.join(isas)} on this processor, got {isa!r}")
    return <uintptr_t>fastlm_kernels[len(isas) - 1 if isa is None else isas.index(isa)].kernel
