"""The bytes of each symbol."""
import numpy as np

from libc.stdint cimport int32_t, int64_t, uint64_t

from fastlm._arrays import grown
from fastlm.merging._words cimport FIRST_MERGED


cdef class Symbols:
    """The bytes of up to `size` symbols; the first 256 are single bytes, as byte_symbols says."""

    def __cinit__(self, int64_t size, const int32_t[::1] byte_symbols not None):
        cdef int64_t byte
        self.bytes = np.empty(FIRST_MERGED, np.uint8)
        self.starts = np.arange(size + 1)
        self.prefix = np.empty(size, np.uint64)
        for byte in range(FIRST_MERGED):
            self.bytes[byte_symbols[byte]] = byte
            self.prefix[byte_symbols[byte]] = <uint64_t>byte << 56

    cdef int join(self, int32_t a, int32_t b, int32_t new) except -1 nogil:
        """Makes the bytes of symbol `new`, the lowest one without bytes: the bytes of a, then of b."""
        cdef int64_t k, at = self.starts[new], size_a = self.size(a), size = size_a + self.size(b)
        cdef uint64_t prefix = 0
        if at + size > self.bytes.shape[0]:
            self._widen(size)
        for k in range(size):
            self.bytes[at + k] = self.bytes[self.starts[a] + k if k < size_a else self.starts[b] + k - size_a]
        for k in range(8):
            prefix = prefix << 8 | (self.bytes[at + k] if k < size else 0)
        self.prefix[new] = prefix
        self.starts[new + 1] = at + size
        return 0

    cdef int _widen(self, int64_t size) except -1 with gil:
        self.bytes = grown(self.bytes, 2 * self.bytes.shape[0] + size)
        return 0
