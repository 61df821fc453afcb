"""Declarations of pretoken_cache.h, and PretokenCache."""
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

cdef extern from "encoding/pretoken_cache.h" nogil:
    enum:
        FASTLM_SPARE_IDS
    ctypedef struct fastlm_cache_entry:
        uint32_t ids[3]
        uint32_t n_ids
    ctypedef struct fastlm_cache:
        fastlm_cache_entry *entries
        uint64_t mask
        int64_t used, full_at
        uint8_t *bytes
        int64_t bytes_used, bytes_size
        uint32_t *ids
        int64_t ids_used, ids_size
    bint fastlm_is_empty(const fastlm_cache_entry *entry)
    uint64_t fastlm_hash_of(const fastlm_cache_entry *entry)
    fastlm_cache_entry *fastlm_empty_entry(const fastlm_cache *cache, uint64_t hash)


cdef class PretokenCache:
    cdef uint8_t[::1] memory, bytes
    cdef uint32_t[::1] ids
    cdef fastlm_cache table
    cdef int64_t entries(self) noexcept nogil
    cdef PretokenCache resized(self, int64_t entries)
    cdef int copy_from(self, PretokenCache other) except -1
    cdef int clear(self) except -1 nogil
