from libc.stdint cimport uint8_t


cdef class Utf8:
    cdef object owner
    cdef const uint8_t[::1] view
    cdef const uint8_t *start
    cdef Py_ssize_t n


cdef object utf8_of(text, const uint8_t **start, Py_ssize_t *n)
