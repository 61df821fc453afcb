"""Declarations of what the kernel reads, and MergeTable."""
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

cdef extern from "encoding/encode_loop.h" nogil:
    ctypedef struct fastlm_merge_tables:
        const uint32_t *byte_ids
        const uint32_t *byte_pairs
        const uint32_t *slots
        const uint64_t *merges
        uint64_t shift, multiplier, row_bits


cdef class MergeTable:
    cdef readonly object byte_ids, byte_pairs, slots, merges
    cdef const uint32_t[::1] byte_ids_view, byte_pairs_view, slots_view
    cdef const uint64_t[::1] merges_view
    cdef fastlm_merge_tables tables
    cdef bint _fill(self, uint32_t[::1] slots, const uint64_t[::1] merges) except -1
