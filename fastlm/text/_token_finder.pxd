from libc.stdint cimport int32_t, int64_t, uint8_t


cdef class TokenFinder:
    cdef readonly tuple tokens
    cdef readonly int64_t longest
    cdef const uint8_t[::1] edge_byte
    cdef const int32_t[::1] edge_target
    cdef const int32_t[::1] first_edge
    cdef const int64_t[::1] id_at
    cdef const int32_t[::1] root
    cdef const uint8_t[::1] filter
    cdef int _build(self, const uint8_t[::1] text, const int64_t[::1] start, const int64_t[::1] ids) except -1
    cdef object find_in(self, const uint8_t *text, int64_t n)
    cdef int64_t _seek(self, const uint8_t *text, int64_t n, int64_t *start, int64_t *end) except -2 nogil
    cdef int64_t fill(self, const uint8_t *text, int64_t n, int64_t *position, int64_t[:, ::1] rows) except -1 nogil
    cdef int64_t _longest_match(self, const uint8_t *text, int64_t n, int64_t start, int64_t *end) except -2 nogil
