cimport cython
from libc.stdint cimport int32_t, int64_t

from fastlm.merging._pair_index cimport PairIndex
from fastlm.merging._symbols cimport Symbols


@cython.final
cdef class PairHeap:
    # (count, row of the index); the pair to merge next comes first
    cdef int64_t[::1] counts
    cdef int32_t[::1] rows
    cdef int64_t size
    cdef PairIndex index
    cdef Symbols symbols
    cdef bint smallest_symbols

    cdef int push(self, int32_t row) except -1 nogil
    cdef bint correct_top(self) except -1 nogil
    cdef bint _before(self, int64_t count, int32_t row, int64_t other_count, int32_t other) except -1 nogil
    cdef int _replace_top(self, int64_t count, int32_t row) except -1 nogil
    cdef int _widen(self) except -1 with gil
