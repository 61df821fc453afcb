"""What a call that encodes changes, and the C of encoding.h that it is handed to."""
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from fastlm.native.common cimport fastlm_scan_fn

cdef enum:
    # ids that a worker's output holds at first; more are given away with the output that holds them
    OUT_IDS = 1 << 15

cdef extern from "encoding/encode_loop.h" nogil:
    enum:
        FASTLM_LONGEST_KEY, FASTLM_SPARE_IDS, FASTLM_SCRATCH_WORDS, FASTLM_NOT_IN_TEXT
    ctypedef enum fastlm_status:
        FASTLM_DONE, FASTLM_INVALID_UTF8, FASTLM_OUT_FULL, FASTLM_SCRATCH_SMALL, FASTLM_PRETOKEN_TOO_LONG
        FASTLM_TABLE_FULL, FASTLM_UNKNOWN_BYTE
    ctypedef struct fastlm_known_entry:
        uint64_t key[2]
        uint32_t ids[3]
        uint32_t n_ids
    ctypedef struct fastlm_known:
        fastlm_known_entry *entries
        uint64_t mask
        int64_t used, full_at
        uint8_t *bytes
        int64_t bytes_used, bytes_size
        uint32_t *ids
        int64_t ids_used, ids_size
    ctypedef int64_t (*fastlm_merge_fn)(
        const uint8_t *pretoken, int64_t length, const uint32_t *byte_ids, const uint32_t *byte_pairs,
        const uint32_t *slots, uint64_t shift, uint64_t multiplier, uint64_t row_bits, const uint64_t *merges,
        uint32_t *ids, uint64_t *scratch, int64_t scratch_words)
    ctypedef struct fastlm_merges:
        fastlm_merge_fn merge
        const uint32_t *byte_ids
        const uint32_t *byte_pairs
        const uint32_t *slots
        uint64_t shift, multiplier, row_bits
        const uint64_t *merges
        const fastlm_known *whole
        int partial
    ctypedef struct fastlm_encoding:
        const uint8_t *text
        int64_t n
        const int64_t *cuts
        int64_t n_cuts
        int64_t *places
        int64_t taken
        fastlm_scan_fn scan
        int64_t *ends
        int64_t n_ends
        uint32_t *out
        int64_t out_size
        uint64_t *scratch
        int64_t scratch_words
        int64_t position, cut, written, wanted
    ctypedef struct fastlm_key:
        uint64_t words[2]
        uint64_t hash
    fastlm_key fastlm_key_of(const uint8_t *p, int64_t length, int64_t readable)
    bint fastlm_is_empty(const fastlm_known_entry *entry)
    uint64_t fastlm_hash_of(const fastlm_known_entry *entry)
    fastlm_known_entry *fastlm_empty_entry(const fastlm_known *known, uint64_t hash)
    const fastlm_known_entry *fastlm_find(const fastlm_known *known, fastlm_key key, const uint8_t *p, int64_t length)
    void fastlm_remember(fastlm_known *known, fastlm_key key, const uint8_t *p, int64_t length, const uint32_t *ids,
                         int64_t n_ids)
    void fastlm_prefetch(const uint8_t *text, int64_t n)
    fastlm_status fastlm_encode(const fastlm_merges *merges, fastlm_known *known, fastlm_encoding *encoding)


cdef class Known:
    cdef uint8_t[::1] memory, bytes
    cdef uint32_t[::1] ids
    cdef fastlm_known table
    cdef int64_t entries(self) noexcept
    cdef Known resized(self, int64_t entries)
    cdef int take(self, Known other) except -1


cdef class Worker:
    cdef object out_array
    cdef Known known
    cdef int64_t number
    cdef int64_t[::1] ends
    cdef int64_t[:, ::1] cuts
    cdef uint64_t[::1] scratch
    cdef uint32_t[::1] out
    cdef fastlm_encoding encoding
    cdef int renew_out(self, int64_t size) except -1
    cdef int make_room(self) except -1
    cdef int reserve(self, int64_t more) except -1


cdef class Taken:
    cdef bint is_narrow
    cdef int64_t used
    cdef object array
    cdef uint8_t[::1] bytes
    cdef int renew(self, int64_t room) except -1
    cdef int take(self, const uint32_t *ids, int64_t n) except -1 nogil
