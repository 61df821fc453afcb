"""Declarations of encode_loop.h, and EncodeTables."""
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from fastlm.encoding._merge_table cimport MergeTable, fastlm_merge_tables
from fastlm.encoding._pretoken_cache cimport fastlm_cache
from fastlm.encoding._token_table cimport TokenTable, fastlm_token_table
from fastlm.native.common cimport fastlm_scan_fn

cdef extern from "encoding/encode_loop.h" nogil:
    enum:
        FASTLM_SCRATCH_WORDS
    ctypedef int64_t (*fastlm_merge_fn)(
        const fastlm_merge_tables *tables, const uint8_t *pretoken, int64_t length, uint32_t *ids, uint64_t *scratch,
        int64_t scratch_words) noexcept nogil
    ctypedef int64_t (*fastlm_merge_batch_fn)(
        const fastlm_merge_tables *tables, const uint8_t *texts, const int64_t *lengths, int64_t count, uint32_t *ids,
        int64_t *n_ids, uint64_t *scratch) noexcept nogil
    ctypedef struct fastlm_vocabulary:
        fastlm_merge_fn merge
        fastlm_merge_batch_fn merge_batch
        fastlm_merge_tables tables
        const fastlm_token_table *tokens
        int lacks_bytes
    ctypedef enum fastlm_status:
        FASTLM_DONE, FASTLM_INVALID_UTF8, FASTLM_IDS_FULL, FASTLM_SCRATCH_FULL, FASTLM_CACHE_FULL
        FASTLM_PRETOKEN_TOO_LONG, FASTLM_UNKNOWN_BYTE
    ctypedef struct fastlm_waiting:
        int64_t count, n_gaps
    ctypedef struct fastlm_encode_state:
        const uint8_t *text
        int64_t n
        const int64_t *boundaries
        int64_t n_boundaries
        int64_t *ids_before
        int64_t taken
        fastlm_scan_fn scan
        int64_t *ends
        int64_t n_ends
        uint32_t *ids
        int64_t ids_size
        uint64_t *scratch
        int64_t scratch_words
        int64_t position, boundary, written, needed
        fastlm_waiting *waiting
    void fastlm_prefetch_text(const uint8_t *text, int64_t n)
    fastlm_status fastlm_encode(const fastlm_vocabulary *vocabulary, fastlm_cache *cache, fastlm_encode_state *state)

cdef extern from "encoding/token_proof.h" nogil:
    ctypedef struct fastlm_token_parts:
        pass
    void fastlm_prove_tokens(const fastlm_merge_tables *tables, int64_t n_merges, fastlm_token_parts *parts,
                             uint8_t *proven)


cdef class EncodeTables:
    cdef const uint8_t[::1] token_bytes
    cdef const int64_t[::1] token_offsets
    cdef const uint32_t[::1] byte_ids
    cdef MergeTable merge_table
    cdef readonly TokenTable tokens
    cdef fastlm_vocabulary vocabulary
    cdef fastlm_scan_fn scan
    cdef bint drops_unknown
    cdef object find_ends, kernel, scanner
    cdef list ints  # see id_list.h
    cdef int _check_offsets(self) except -1
    cdef int _check_ids(self, vocabulary) except -1
    cdef int64_t num_ids(self) noexcept nogil
    cdef bint is_token(self, int64_t token_id) except -1 nogil
    cdef int check_boundaries(self, const int64_t *boundaries, int64_t n_boundaries, int64_t n) except -1 nogil
    cdef int _check_tokens(self, const int64_t[::1] token_ids) except -1
    cdef object _proven_tokens(self, int64_t n_merges)
    cdef object pretoken_ends(self, bytes text, boundaries)
