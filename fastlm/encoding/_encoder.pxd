"""Encoder, as _batch.pyx uses it."""
from libc.stdint cimport int64_t, uint8_t

from fastlm.encoding._pretoken_cache cimport PretokenCache
from fastlm.encoding._state cimport EncodeState
from fastlm.encoding._tables cimport EncodeTables


cdef class Encoder:
    cdef EncodeTables tables
    cdef PretokenCache first_cache
    cdef int64_t cache_entries
    cdef list idle  # the state of each number, or None while a call has it
    cdef readonly int64_t num_states
    cdef EncodeState take(self, int64_t number)
    cdef int give_back(self, EncodeState state) except -1
    cdef bint has_scanner(self)
    cdef EncodeState _new_state(self)
    cdef int _fill_first_cache(self) except -1
    cdef PretokenCache _filled_cache(self, int64_t entries)
    cdef PretokenCache _merge_others(self, EncodeState state)
    cdef int _find_unmergeable(self, EncodeState state, const int64_t[::1] whole_tokens) except -1
    cdef bint _merges_to(self, EncodeState state, const uint8_t *token, int64_t length, int64_t token_id) except -1


cdef list exact_list(items)
cdef int64_t[:, ::1] text_table(list texts)
