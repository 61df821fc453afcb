"""Token IDs to bytes, by copying the bytes of each token."""
import numpy as np

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.list cimport PyList_GET_SIZE, PyList_GetSlice
from cpython.ref cimport PyObject
from cpython.tuple cimport PyTuple_GET_SIZE, PyTuple_GetSlice
from libc.stdint cimport int64_t, uint8_t, uintptr_t
from libc.string cimport memcpy

cdef extern from "decoding/integers.h":
    int64_t fastlm_plain_ints(PyObject **items, int64_t n, int64_t *to)

cdef extern from "Python.h":
    PyObject **PySequence_Fast_ITEMS(object items)

cdef enum:
    # bytes of a slot: a copy of a constant size is two moves, a copy of a token's length is a call
    SLOT = 16
    # in the last byte of a slot, which holds the length of its token: the token does not fit
    LONG = 255
    # token IDs that are decoded without an array
    FEW = 512


cdef class Decoder:
    """The bytes of token IDs. Immutable, so that any number of threads may share it.

    Tokens of up to 15 bytes lie in slots of 16, so that an ID touches one cache line.

    Args:
        token_bytes: The bytes of all tokens, uint8 (total,).
        token_offsets: int64 (vocab_size + 1,): token k is token_bytes[token_offsets[k]:token_offsets[k + 1]]. A token
            without bytes is unknown.

    Raises:
        ValueError: The offsets do not ascend, or point outside of the bytes.
    """
    cdef const uint8_t[::1] blob
    cdef const int64_t[::1] offsets
    cdef uint8_t[::1] slots

    def __cinit__(self, const uint8_t[::1] token_bytes not None, const int64_t[::1] token_offsets not None):
        cdef int64_t k, length, vocab_size = token_offsets.shape[0] - 1
        self.blob, self.offsets = token_bytes, token_offsets
        self.slots = np.zeros(SLOT * max(1, vocab_size), np.uint8)
        for k in range(vocab_size):
            if not 0 <= token_offsets[k] <= token_offsets[k + 1] <= token_bytes.shape[0]:
                raise ValueError(f"token {k} must lie within the {token_bytes.shape[0]} token bytes, got "
                                 f"{token_offsets[k]} to {token_offsets[k + 1]}")
            length = token_offsets[k + 1] - token_offsets[k]
            if length >= SLOT:
                self.slots[SLOT * k + SLOT - 1] = LONG
            elif length:
                memcpy(&self.slots[SLOT * k], &token_bytes[token_offsets[k]], length)
                self.slots[SLOT * k + SLOT - 1] = <uint8_t>length

    def decode_bytes(self, ids) -> bytes:
        """Returns the bytes of token IDs.

        Args:
            ids: Token IDs: a sequence of int, or an integer array (n,).

        Raises:
            KeyError: An ID is not in the vocabulary.
            TypeError: An ID is no integer.
        """
        cdef int64_t few[FEW]
        cdef Py_ssize_t n
        cdef bint plain
        cdef const int64_t[::1] token_ids
        if type(ids) is list:
            with cython.critical_section(ids):  # without a GIL, another thread may change the list
                n = PyList_GET_SIZE(ids)
                plain = n <= FEW and are_plain_integers(ids, n, few)
            if plain:
                return self._joined(few, n)
        token_ids = as_ids(ids)
        return self._joined(&token_ids[0], token_ids.shape[0]) if token_ids.shape[0] else b""

    cdef bytes _joined(self, const int64_t *token_ids, int64_t n):
        cdef int64_t k, token_id, length, total = 0, vocab_size = self.offsets.shape[0] - 1
        cdef const uint8_t *slots = &self.slots[0]
        cdef const uint8_t *slot
        for k in range(n):
            token_id = token_ids[k]
            length = slots[SLOT * token_id + SLOT - 1] if 0 <= token_id < vocab_size else 0
            if length == LONG:
                length = self.offsets[token_id + 1] - self.offsets[token_id]
            elif not length:
                raise KeyError(f"id {token_id} at position {k} is not in the vocabulary")
            total += length
        decoded = PyBytes_FromStringAndSize(NULL, total)
        cdef uint8_t *to = <uint8_t *>PyBytes_AS_STRING(decoded)
        # the last address where a whole slot fits; as a number, because it may lie before the buffer
        cdef uintptr_t last_wide = <uintptr_t>to + total - SLOT
        with nogil:
            for k in range(n):
                token_id = token_ids[k]
                slot = slots + SLOT * token_id
                length = slot[SLOT - 1]
                if length == LONG:
                    length = self.offsets[token_id + 1] - self.offsets[token_id]
                    memcpy(to, &self.blob[self.offsets[token_id]], length)
                elif <uintptr_t>to <= last_wide:
                    memcpy(to, slot, SLOT)  # the next token overwrites the excess
                else:
                    memcpy(to, slot, length)
                to += length
        return decoded


def as_ids(ids):
    """Returns token IDs as an int64 array (n,).

    Args:
        ids: Any iterable of integers, or an integer array (n,).

    Raises:
        KeyError: An ID exceeds 64 bits.
        TypeError: `ids` are not one sequence of integers.
    """
    cdef int64_t[::1] to
    cdef bint changed, plain = False
    if isinstance(ids, (str, bytes, bytearray)):
        raise TypeError(f"ids must be integers, got {type(ids).__name__}")
    if not isinstance(ids, np.ndarray):
        if type(ids) is not list:
            if not (hasattr(ids, "__iter__") or hasattr(ids, "__getitem__")):
                raise TypeError(f"ids must be integers, got {type(ids).__name__}")
            ids = plain_sequence(ids)
        array = np.empty(len(ids), np.int64)
        to = array
        with cython.critical_section(ids):
            changed = len(ids) != to.shape[0]  # the allocation may run code that changes the list
            if not changed:
                plain = not to.shape[0] or are_plain_integers(ids, to.shape[0], &to[0])
        if changed:
            return as_ids(plain_sequence(ids))
        if plain:
            return array
        if any(isinstance(item, np.bool_) for item in ids):
            raise TypeError("ids must be integers, got numpy.bool")
    try:
        array = np.asarray(ids)
    except ValueError:
        raise TypeError("ids must be one sequence of integers") from None
    if array.ndim != 1:
        raise TypeError(f"ids must be one-dimensional, got shape {array.shape}")
    if not array.size:
        return np.empty(0, np.int64)
    if array.dtype.kind not in "iu":
        raise TypeError(f"ids must be integers that fit 64 bits, got {array.dtype}")
    if array.dtype == np.uint64 and array.max() > np.iinfo(np.int64).max:
        raise KeyError(f"id {array.max()} is not in the vocabulary")
    # a copy: the IDs are read a second time after they were checked
    return np.array(array, np.int64, order="C")


cdef bint are_plain_integers(ids, Py_ssize_t n, int64_t *to) except -1:
    """Fills `to` from the n items of a list or tuple. Returns whether they are all plain ints of 64 bits."""
    return fastlm_plain_ints(PySequence_Fast_ITEMS(ids), n, to) == n


cdef object plain_sequence(items):
    """Returns the items in a list or tuple that nobody else changes and whose length is the number of its items.

    A subclass may lie about its length, and so may an iterator that says how many items it has left.
    """
    if isinstance(items, list):
        return PyList_GetSlice(items, 0, PyList_GET_SIZE(items))
    if type(items) is tuple:
        return items
    if isinstance(items, tuple):
        return PyTuple_GetSlice(items, 0, PyTuple_GET_SIZE(items))
    return [item for item in items]
