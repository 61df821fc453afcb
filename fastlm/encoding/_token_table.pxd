"""Declarations of token_table.h, and TokenTable."""
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from fastlm.encoding._pretoken_cache cimport PretokenCache, fastlm_cache

cdef extern from "encoding/token_table.h" nogil:
    ctypedef struct fastlm_token_table:
        const uint8_t *token_bytes
        const int64_t *offsets
        int64_t n_bytes
        uint32_t *slots
        uint64_t mask
        uint64_t seed[2]
        uint32_t ids
        int64_t longest
    uint64_t fastlm_token_hash(const fastlm_token_table *table, const uint8_t *p, int64_t length, int64_t readable)
    uint32_t fastlm_find_token(const fastlm_token_table *table, uint64_t hash, const uint8_t *p, int64_t length)
    void fastlm_add_tokens(fastlm_token_table *table, const int64_t *ids, int64_t count)
    void fastlm_cache_tokens(fastlm_cache *cache, const fastlm_token_table *table, const int64_t *ids, int64_t count)


cdef class TokenTable:
    cdef const uint8_t[::1] token_bytes
    cdef const int64_t[::1] offsets
    cdef uint32_t[::1] slots
    cdef const int64_t[::1] ids
    cdef fastlm_token_table table
    cdef PretokenCache new_cache(self)
    cdef int refill(self, PretokenCache cache) except -1 nogil
