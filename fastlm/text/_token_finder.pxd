from libc.stdint cimport int32_t, int64_t, uint8_t

cdef extern from "text/token_trie.h" nogil:
    ctypedef struct fastlm_token_trie:
        const uint8_t *filter
        const int32_t *root
        const int32_t *first_edge
        const uint8_t *edge_byte
        const int32_t *edge_target
        const int64_t *id_at
    int64_t fastlm_find_tokens(const fastlm_token_trie *trie, const uint8_t *text, int64_t n, int64_t *position,
                               int64_t *rows, int64_t capacity)


cdef class TokenFinder:
    cdef readonly tuple tokens
    cdef readonly int64_t longest
    cdef tuple arrays  # the memory of the trie
    cdef fastlm_token_trie trie
    cdef int _build(self, const uint8_t[::1] text, const int64_t[::1] start, const int64_t[::1] ids) except -1
    cdef object find_in(self, const uint8_t *text, int64_t n)
