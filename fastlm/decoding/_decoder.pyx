"""Ids to bytes, by copying token bytes."""
import numpy as np

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.ref cimport PyObject
from libc.stdint cimport int64_t, uint8_t
from libc.string cimport memcpy

cdef extern from "decoding/integers.h":
    int64_t fastlm_plain_ints(PyObject **items, int64_t n, int64_t *to)

cdef extern from "Python.h":
    PyObject **PySequence_Fast_ITEMS(object items)

cdef enum:
    SLOT = 16  # a copy of so many bytes is two moves, where one of a token's length is a call
    LONG = 255  # in the last byte of a slot: its token does not fit
    FEW = 512  # so many ids need no array


cdef class Decoder:
    """The bytes of ids. token_bytes: uint8; token_offsets: int64, number of ids + 1; an id without bytes is unknown.

    Tokens of up to 15 bytes stand in slots of 16 with their length in the last byte, so that an id touches one cache
    line.
    """
    cdef const uint8_t[::1] blob
    cdef const int64_t[::1] offsets
    cdef uint8_t[::1] slots

    def __init__(self, const uint8_t[::1] token_bytes not None, const int64_t[::1] token_offsets not None):
        cdef int64_t id, length, known = token_offsets.shape[0] - 1
        self.blob, self.offsets = token_bytes, token_offsets
        self.slots = np.zeros(SLOT * max(1, known), np.uint8)
        for id in range(known):
            length = token_offsets[id + 1] - token_offsets[id]
            if length >= SLOT:
                self.slots[SLOT * id + SLOT - 1] = LONG
            elif length:
                memcpy(&self.slots[SLOT * id], &token_bytes[token_offsets[id]], length)
                self.slots[SLOT * id + SLOT - 1] = <uint8_t>length

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
        cdef const uint8_t *slots = &self.slots[0]
        cdef const uint8_t *slot
        for k in range(n):
            one = wanted[k]
            length = slots[SLOT * one + SLOT - 1] if 0 <= one < known else 0
            if length == LONG:
                length = self.offsets[one + 1] - self.offsets[one]
            elif not length:
                raise KeyError(f"id {one} at position {k} is not in the vocabulary")
            total += length
        decoded = PyBytes_FromStringAndSize(NULL, total)
        cdef uint8_t *to = <uint8_t *>PyBytes_AS_STRING(decoded)
        cdef uint8_t *last_wide = to + total - SLOT
        with nogil:
            for k in range(n):
                one = wanted[k]
                slot = slots + SLOT * one
                length = slot[SLOT - 1]
                if length == LONG:
                    length = self.offsets[one + 1] - self.offsets[one]
                    memcpy(to, &self.blob[self.offsets[one]], length)
                elif to <= last_wide:
                    memcpy(to, slot, SLOT)  # what is too much, the next token overwrites
                else:
                    memcpy(to, slot, length)
                to += length
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
    return fastlm_plain_ints(PySequence_Fast_ITEMS(ids), len(ids), to) == <int64_t>len(ids)
