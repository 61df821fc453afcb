"""What _share.pyx needs of _encode.pyx."""
from libc.stdint cimport int64_t, uint8_t

from fastlm.encoding._loop cimport EncodingLoop
from fastlm.text._added_tokens cimport SpecialFinder
from fastlm.encoding._worker cimport Taken, Worker


cdef class Encoder(EncodingLoop):
    cdef list boxed
    cdef object _rows(self, const uint8_t *text, int64_t n, cuts)
    cdef int64_t[::1] _ends_for(self, Worker worker, utf8, rows)
    cdef object _found_ends(self, bytes text, cuts)
    cdef Worker _encode(self, text, cuts)
    cdef int append(self, Worker worker, text, cuts) except -1
    cdef int append_one(self, Worker worker, const uint8_t *text, int64_t n, SpecialFinder finder) except -1 nogil
    cdef int _append_all(self, Worker worker, const int64_t[:, ::1] places, SpecialFinder finder,
                         int64_t[::1] offsets) except -1 nogil
    cdef int64_t _pass_through(self, utf8, cuts, Taken taken, int64_t[::1] places) except -1
    cdef list _give_list(self, Worker worker, Py_ssize_t n)
    cdef list list_of(self, Worker worker, Py_ssize_t start, Py_ssize_t stop)
    cdef object give_ids(self, Worker worker, int64_t n)


cdef int64_t[:, ::1] places_of(texts, list utf8)
