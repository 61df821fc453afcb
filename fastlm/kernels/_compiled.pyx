"""The merge kernel of bpe.py, compiled when fastlm was built: its machine functions for each instruction set."""
from libc.stdint cimport uintptr_t

cdef extern from "kernels/dispatch.h":
    ctypedef struct fastlm_kernel:
        const char *name
        void (*merge)()
        void (*merge_batch)()
    fastlm_kernel fastlm_kernels[4]
    int fastlm_kernel_count()
    const char *fastlm_kernel_source "FASTLM_QUOTED(FASTLM_KERNEL_SOURCE)"

# sha256 of the bpe.py that was compiled
SOURCE_SHA256 = fastlm_kernel_source.decode().removeprefix("sha256_")


def supported_isas() -> tuple[str, ...]:
    """Instruction sets that the kernel was compiled for and this processor has, slowest first."""
    return tuple([fastlm_kernels[k].name.decode() for k in range(fastlm_kernel_count())])


def kernel_addresses(str isa=None) -> dict[str, int]:
    """Name in bpe.py -> address of each function for an instruction set, by default the last of supported_isas().

    Raises ValueError for an instruction set that is not supported here.
    """
    isas = supported_isas()
    if not isas:
        raise ValueError("the merge kernel needs a processor with x86-64-v2 (SSE4.2 and POPCNT)")
    if isa is not None and isa not in isas:
        raise ValueError(f"isa must be one of {', '.join(isas)} on this processor, got {isa!r}")
    cdef const fastlm_kernel *kernel = &fastlm_kernels[len(isas) - 1 if isa is None else isas.index(isa)]
    return {"merge": <uintptr_t>kernel.merge, "merge_batch": <uintptr_t>kernel.merge_batch}
