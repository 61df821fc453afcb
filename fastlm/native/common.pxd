"""Declarations of common.h, and the function that takes a scanner from its capsule."""
from cpython.pycapsule cimport PyCapsule_GetPointer, PyCapsule_IsValid
from libc.stdint cimport int64_t, uint8_t, uint32_t

cdef extern from "native/common.h" nogil:
    const uint32_t FASTLM_NO_ID
    enum:
        FASTLM_STEP_BYTES, FASTLM_STEP_ENDS, FASTLM_LEAST_ENDS
    const char *FASTLM_SCANNER_CAPSULE
    ctypedef int64_t (*fastlm_scan_fn)(
        const uint8_t *text, int64_t n, int64_t start, int64_t *ends, int64_t capacity) noexcept nogil
    void fastlm_prefetch_read(const void *address)
    void fastlm_prefetch_write(const void *address)


cdef inline fastlm_scan_fn scanner_function(object scanner) except NULL:
    """The C function in a capsule that `_scan.scanner` returned. Raises TypeError for any other object."""
    if not PyCapsule_IsValid(scanner, FASTLM_SCANNER_CAPSULE):
        raise TypeError(f"scanner must be a result of _scan.scanner, got {type(scanner).__name__}")
    return <fastlm_scan_fn>PyCapsule_GetPointer(scanner, FASTLM_SCANNER_CAPSULE)
