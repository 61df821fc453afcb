cimport cython
from libc.stdint cimport int32_t, int64_t, uint8_t, uint64_t
from libc.string cimport memcpy

cdef enum:
    # symbols below are bytes; merge k makes symbol FIRST_MERGED + k
    FIRST_MERGED = 256
    # cells of a record before its symbols: their number, and the count in two cells
    HEADER = 3


cdef inline int64_t key_of(int32_t left, int32_t right) noexcept nogil:
    """A pair of symbols as one number."""
    return <int64_t>left << 32 | right


cdef inline uint64_t hash_of(int64_t key, uint64_t multiplier) noexcept nogil:
    """The hash of a pair; multiplier: an odd number that is secret to the process."""
    cdef uint64_t product = <uint64_t>key * multiplier
    return product >> 32 ^ product >> 12


@cython.final
cdef class Words:
    # a word is the index of its record in `cells`
    cdef int32_t[::1] cells
    cdef int64_t used
    cdef const int32_t[::1] byte_symbols

    cdef int close_gaps(self) except -1 nogil
    cdef int _append(self, const uint8_t[::1] text, const int64_t[::1] starts, const int64_t[::1] counts) except -1 nogil

    cdef inline int64_t count(self, int64_t word) except -1 nogil:
        """The number of occurrences of a word."""
        cdef int64_t count
        memcpy(&count, &self.cells[word + 1], sizeof(int64_t))
        return count

    cdef inline int64_t key_at(self, int64_t cell) except -1 nogil:
        """The pair of the symbols in a cell and in the next one."""
        return key_of(self.cells[cell], self.cells[cell + 1])
