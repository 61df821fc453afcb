"""EncodeState, and IdSink."""
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from fastlm.encoding._pretoken_cache cimport PretokenCache
from fastlm.encoding._tables cimport EncodeTables, fastlm_encode_state, fastlm_status
from fastlm.text._token_finder cimport TokenFinder


cdef class EncodeState:
    cdef readonly int64_t number
    cdef EncodeTables tables
    cdef PretokenCache cache
    cdef object ids_array
    cdef uint32_t[::1] ids
    cdef uint64_t[::1] scratch
    cdef uint8_t[::1] waiting  # a fastlm_waiting
    cdef int64_t[::1] ends, given_ends
    cdef int64_t[:, ::1] few_boundaries, many_boundaries
    cdef fastlm_encode_state state
    cdef double ids_per_byte  # to reserve
    cdef int64_t written_before  # the ids written before this text
    cdef int64_t unchecked  # bytes of text encoded since signals were let in
    cdef bint is_stopped  # another thread asks the call to end

    cdef int64_t append(self, text, boundaries) except -1
    cdef int64_t append_up_to(self, text, boundaries, int64_t limit) except -1
    cdef int64_t pass_on(self, text, boundaries, IdSink sink, int64_t[::1] ids_before) except -1
    cdef int start(self, const uint8_t *text, int64_t n, TokenFinder finder, const int64_t *boundaries,
                   int64_t n_boundaries) except -1 nogil
    cdef int start_pretokens(self, const uint8_t *text, int64_t n, int64_t[::1] ends) except -1 nogil
    cdef int64_t run(self, int64_t max_ids) except -1 nogil

    cdef int64_t written(self) noexcept nogil
    cdef int reserve(self, int64_t more) except -1
    cdef int reserve_for(self, int64_t n) except -1
    cdef int note_ids_of(self, int64_t n, int64_t n_ids) noexcept nogil
    cdef int forget_after(self, int64_t n) except -1 nogil
    cdef list id_list(self, int64_t start, int64_t stop)
    cdef object copy_ids(self, int64_t start, int64_t stop)
    cdef object take_ids(self, int64_t n)
    cdef const uint32_t *ids_pointer(self) except NULL
    cdef int rest(self) except -1

    cdef object _start_object(self, text, boundaries)
    cdef int _provide(self, fastlm_status status) except -1
    cdef int _let_signals_in(self) except -1
    cdef int _encode_known_bytes(self) except -1
    cdef int64_t _expected_ids(self) noexcept
    cdef int _grow_ids(self, int64_t size) except -1


cdef class IdSink:
    cdef bint is_narrow
    cdef readonly int64_t used
    cdef readonly object array
    cdef uint8_t[::1] bytes
    cdef int _grow(self, int64_t size) except -1
    cdef int write(self, const uint32_t *ids, int64_t n) except -1 nogil


cdef object boundary_rows(boundaries)
