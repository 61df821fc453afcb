"""Ids to bytes, by copying token bytes."""
import numpy as np

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport int64_t, uint8_t
from libc.string cimport memcpy

cdef extern from "Python.h":
    bint PyLong_CheckExact(object value)
    long long PyLong_AsLongLongAndOverflow(object value, int *overflow) except? -1

cdef enum:
    WIDE = 16  # a copy of so many bytes is two moves, where one of a token's length is a call
    FEW = 512  # so many ids need no array


cdef class Decoder:
    """The bytes of ids. token_bytes: uint8; token_offsets: int64, number of ids + 1; an id without bytes is unknown."""
    cdef const uint8_t[::1] blob
    cdef const int64_t[::1] offsets

    def __init__(self, const uint8_t[::1] token_bytes not None, const int64_t[::1] token_offsets not None):
        self.blob, self.offsets = token_bytes, token_offsets

    def decode_bytes(self, ids) -> bytes:
        """The bytes of a sequence or one-dimensional array of ids, one after the other.

        Raises KeyError for an id that the vocabulary lacks, TypeError for what is no integer.
        """
        cdef int64_t few[FEW]
        cdef const int64_t[::1] wanted
        if isinstance(ids, list) and len(ids) <= FEW and plain_integers(ids, few):
            return self._joined(few, len(ids))
        wanted = as_ids(ids)
        return self._joined(&wanted[0], wanted.shape[0]) if wanted.shape[0] else b""

    cdef bytes _joined(self, const int64_t *wanted, int64_t n):
        cdef int64_t k, one, length, total = 0, known = self.offsets.shape[0] - 1
        for k in range(n):
            one = wanted[k]
            if one < 0 or one >= known or self.offsets[one] == self.offsets[one + 1]:
                raise KeyError(f"id {one} at position {k} is not in the vocabulary")
            total += self.offsets[one + 1] - self.offsets[one]
        decoded = PyBytes_FromStringAndSize(NULL, total)
        cdef uint8_t *to = <uint8_t *>PyBytes_AS_STRING(decoded)
        cdef int64_t left = total, last_source = self.blob.shape[0] - WIDE
        with nogil:
            for k in range(n):
                one = wanted[k]
                length = self.offsets[one + 1] - self.offsets[one]
                if length <= WIDE and left >= WIDE and self.offsets[one] <= last_source:
                    memcpy(to, &self.blob[self.offsets[one]], WIDE)
                else:
                    memcpy(to, &self.blob[self.offsets[one]], length)
                to += length
                left -= length
        return decoded


def as_ids(ids):
    """A one-dimensional int64 array of ids that are given as any sequence or array of integers."""
    cdef int64_t[::1] to
    if isinstance(ids, (str, bytes, bytearray)):
        raise TypeError(f"ids must be integers, not {type(ids).__name__}")
    if not isinstance(ids, np.ndarray):
        ids = ids if isinstance(ids, (list, tuple)) else list(ids)
        array = np.empty(len(ids), np.int64)
        to = array
        if not len(ids) or plain_integers(ids, &to[0]):
            return array
        if any(isinstance(id, np.bool_) for id in ids):
            raise TypeError("ids must be integers, not numpy.bool")
    try:
        array = np.asarray(ids)
    except ValueError:
        raise TypeError("ids must be one sequence of integers") from None
    if array.ndim != 1:
        raise TypeError(f"ids must be one-dimensional, not of shape {array.shape}")
    if not array.size:
        return np.empty(0, np.int64)
    if array.dtype.kind not in "iu":
        raise TypeError(f"ids must be integers that fit 64 bits, not {array.dtype}")
    if array.dtype == np.uint64 and array.max() > np.iinfo(np.int64).max:
        raise KeyError(f"id {array.max()} is not in the vocabulary")
    # a copy, since the ids are read again after they are checked
    return np.array(array, np.int64, order="C")


cdef bint plain_integers(ids, int64_t *to) except -1:
    """Fills `to` from a list or tuple; says whether they are all plain ints of 64 bits."""
    cdef Py_ssize_t k, n = len(ids)
    cdef int overflow = 0
    for k in range(n):
        item = ids[k]
        if not PyLong_CheckExact(item):
            return False
        to[k] = PyLong_AsLongLongAndOverflow(item, &overflow)
        if overflow:
            return False
    return True
