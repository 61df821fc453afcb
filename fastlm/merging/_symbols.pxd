cimport cython
from libc.stdint cimport int32_t, int64_t, uint8_t, uint64_t
from libc.string cimport memcmp


@cython.final
cdef class Symbols:
    cdef uint8_t[::1] bytes
    cdef int64_t[::1] starts
    # the first eight bytes of each symbol as a big-endian number, padded with zeros
    cdef uint64_t[::1] prefix

    cdef int join(self, int32_t a, int32_t b, int32_t new) except -1 nogil
    cdef int _widen(self, int64_t size) except -1 with gil

    cdef inline int64_t size(self, int32_t symbol) except -1 nogil:
        """Bytes of a symbol."""
        return self.starts[symbol + 1] - self.starts[symbol]

    cdef inline int compare(self, int32_t a, int32_t b) except -2 nogil:
        """-1, 0 or 1 if the bytes of symbol a are below, equal to or above the bytes of symbol b."""
        cdef int64_t size_a = self.size(a), size_b = self.size(b)
        cdef int order
        if a == b:
            return 0
        if self.prefix[a] != self.prefix[b]:
            return 1 if self.prefix[a] > self.prefix[b] else -1
        order = memcmp(&self.bytes[self.starts[a]], &self.bytes[self.starts[b]], min(size_a, size_b))
        if order:
            return 1 if order > 0 else -1
        return (size_a > size_b) - (size_a < size_b)
