from libc.stdint cimport uint8_t


cdef class Utf8:
    cdef object owner
    cdef const uint8_t[::1] view
    cdef const uint8_t *start
    cdef Py_ssize_t n


cdef object with_utf8(text)
cdef const uint8_t *address_of(object utf8, Py_ssize_t *n) except NULL
