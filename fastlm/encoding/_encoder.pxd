"""Encoder, as _batch.pyx uses it."""
from libc.stdint cimport int64_t

from fastlm.encoding._state cimport EncodeState
from fastlm.encoding._tables cimport EncodeTables


cdef class Encoder:
    cdef EncodeTables tables
    cdef list idle  # the state of each number, or None while a call has it
    cdef readonly int64_t num_states
    cdef EncodeState take(self, int64_t number)
    cdef int give_back(self, EncodeState state) except -1
    cdef bint has_scanner(self)
    cdef EncodeState _new_state(self, int64_t number)


cdef list exact_list(items)
cdef int64_t[:, ::1] text_table(list texts)
