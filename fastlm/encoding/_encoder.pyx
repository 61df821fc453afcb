"""Text to ids: one text or many, as lists or arrays, whole or up to a number or between cuts."""
import numpy as np

from cpython.buffer cimport PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.list cimport PyList_New, PyList_SET_ITEM
from cpython.ref cimport Py_INCREF, PyObject
from libc.stdint cimport int64_t, uint8_t, uintptr_t
from libc.string cimport memcpy

from fastlm.text._added_tokens cimport SpecialFinder
from fastlm.text._utf8 cimport address_of, with_utf8
from fastlm.encoding._worker cimport FASTLM_OUT_FULL, OUT_IDS, fastlm_prefetch, fastlm_status
from fastlm.pretokenize._scan import InvalidUTF8Error
from fastlm.text._utf8 import utf8_bytes

cdef extern from "Python.h":
    PyObject *PyList_GET_ITEM(object items, Py_ssize_t k)

cdef enum:
    # the least that a scanner may be given to fill: more than the characters of a block of 64 bytes
    FEWEST_ENDS = 128


cdef int64_t[:, ::1] places_of(texts, list utf8):
    """Address and length of the UTF-8 of each text; what holds it is added to a list."""
    cdef Py_ssize_t n = 0
    cdef int64_t k
    cdef object held
    utf8 += texts
    cdef int64_t[:, ::1] places = np.empty((len(utf8), 2), np.int64)
    for k in range(places.shape[0]):
        held = with_utf8(utf8[k])
        utf8[k] = held
        places[k, 0] = <int64_t><uintptr_t>address_of(held, &n)
        places[k, 1] = n
    return places


cdef class Encoder(EncodingLoop):
    """Encodes with one vocabulary, see EncodingLoop.

    The methods take a str, UTF-8 bytes or Utf8, and with it what cuts it: a SpecialFinder, or an int64 array (k, 3) of
    start and end in bytes and the id that stands there, in order; or None.
    """

    def __init__(self, *vocabulary):
        super().__init__(*vocabulary)
        self.boxed = list(range(self.is_own.shape[0]))

    cdef object _rows(self, const uint8_t *text, int64_t n, cuts):
        """int64 (k, 3): start, end and id of what cuts the text, or None."""
        if cuts is None or not isinstance(cuts, SpecialFinder):
            return cuts
        return (<SpecialFinder>cuts).find_in(text, n) if (<SpecialFinder>cuts).longest else None

    cdef int64_t[::1] _ends_for(self, Worker worker, utf8, rows):
        """What a scanner is to fill; without one, all pretoken ends."""
        cdef int64_t[::1] ends = worker.ends
        if not self.scan:
            found = self._found_ends(utf8_bytes(utf8), rows)
            if len(found):  # else there would be nothing to point to
                ends = found
        return ends

    cdef object _found_ends(self, bytes text, cuts):
        """Pretoken ends from `find_ends`, which sees no special token."""
        parts, start = [np.empty(0, np.int64)], 0
        for stop, after in [*(() if cuts is None else cuts[:, :2].tolist()), (len(text), 0)]:
            if stop > start:
                try:
                    parts.append(start + self.find_ends(text[start:stop]))
                except InvalidUTF8Error as error:
                    raise InvalidUTF8Error(start + error.offset, error.reason) from None
            start = after
        return np.concatenate(parts)

    cdef Worker _encode(self, text, cuts):
        """A worker that holds the ids of a text of any length; the caller puts it back."""
        cdef Worker worker = self.take(0)
        worker.encoding.written = 0
        self.append(worker, text, cuts)
        return worker

    cdef int append(self, Worker worker, text, cuts) except -1:
        """Adds the ids of a text to those that a worker holds."""
        cdef Py_ssize_t n = 0
        cdef const int64_t[:, ::1] rows
        cdef int64_t[::1] ends
        cdef SpecialFinder finder
        utf8 = with_utf8(text)
        cdef const uint8_t *start = address_of(utf8, &n)
        worker.reserve(n // 3)
        if self.scan and (cuts is None or isinstance(cuts, SpecialFinder)):
            finder = cuts
            with nogil:
                self.append_one(worker, start, n, finder)
            return 0
        found = self._rows(start, n, cuts)
        rows = found
        ends = self._ends_for(worker, utf8, found)
        with nogil:
            self.run(worker, start, n, rows, self.scan != NULL, ends)
        return 0

    cdef int append_one(self, Worker worker, const uint8_t *text, int64_t n, SpecialFinder finder) except -1 nogil:
        """Adds the ids of a text; few special tokens in it take no Python objects."""
        cdef int64_t found = 0, position = 0
        cdef const int64_t[:, ::1] cuts
        if finder is not None and finder.longest:
            found = finder.fill(text, n, &position, worker.cuts)
        cuts = worker.cuts[:found]
        if found == worker.cuts.shape[0]:
            with gil:
                cuts = finder.find_in(text, n)
        self.run(worker, text, n, cuts, True, worker.ends)
        return 0

    cdef int _append_all(self, Worker worker, const int64_t[:, ::1] places, SpecialFinder finder,
                         int64_t[::1] offsets) except -1 nogil:
        """Adds the ids of the texts at these addresses and of these lengths; offsets[k + 1] is where the k-th ends.

        All without the GIL: to let it go and take it again for each text would keep threads waiting for each other.
        """
        cdef int64_t k, n
        cdef const uint8_t *text
        for k in range(places.shape[0]):
            text, n = <const uint8_t *><uintptr_t>places[k, 0], places[k, 1]
            if k + 1 < places.shape[0]:
                fastlm_prefetch(<const uint8_t *><uintptr_t>places[k + 1, 0], places[k + 1, 1])
            self.append_one(worker, text, n, finder)
            offsets[k + 1] = worker.encoding.written
        return 0

    def encode(self, text, cuts=None) -> list[int]:
        """Ids of a text as a list."""
        cdef Worker worker = self._encode(text, cuts)
        return self._give_list(worker, worker.encoding.written)

    def encode_to_numpy(self, text, cuts=None):
        """The same as a uint32 array."""
        cdef Worker worker = self._encode(text, cuts)
        return self.give_ids(worker, worker.encoding.written)

    def encode_batch_flat(self, texts, cuts=None):
        """Ids of all texts in one uint32 array, and where each begins and the last ends, int64 (len(texts) + 1,).

        `cuts`: one for all texts, or a list with one for each.
        """
        cdef Worker worker
        cdef int64_t k, total = 0
        cdef SpecialFinder finder
        offsets = np.zeros(len(texts) + 1, np.int64)
        cdef int64_t[::1] ends = offsets
        cdef list utf8 = []
        cdef int64_t[:, ::1] places = places_of(texts, utf8)
        for k in range(places.shape[0]):
            total += places[k, 1]
        worker = self.take(0)
        worker.encoding.written = 0
        worker.reserve(total // 3)
        if self.scan and (cuts is None or isinstance(cuts, SpecialFinder)):
            finder = cuts
            with nogil:
                self._append_all(worker, places, finder, ends)
        else:
            for k in range(len(utf8)):
                self.append(worker, utf8[k], cuts[k] if isinstance(cuts, list) else cuts)
                ends[k + 1] = worker.encoding.written
        return self.give_ids(worker, worker.encoding.written), offsets

    def encode_upto(self, text, int64_t limit, cuts=None) -> list[int]:
        """The first `limit` ids, or all where there are fewer; what follows them is not encoded."""
        cdef Py_ssize_t n = 0
        cdef Worker worker = self.take(0)
        utf8 = with_utf8(text)
        cdef const uint8_t *start = address_of(utf8, &n)
        cdef int64_t room = min(limit, OUT_IDS // 2), out_size
        cdef fastlm_status status = FASTLM_OUT_FULL
        rows = self._rows(start, n, cuts)
        cdef int64_t[::1] ends = self._ends_for(worker, utf8, rows)
        if self.scan:
            ends = ends[:min(ends.shape[0], limit + FEWEST_ENDS)]
        worker.encoding.written = 0
        self._begin(worker, start, n, rows, self.scan != NULL, ends)
        while worker.encoding.written < limit and n and status == FASTLM_OUT_FULL:
            out_size = min(room, worker.out.shape[0])
            with nogil:
                status = <fastlm_status>self._step(worker, out_size)
            room = worker.encoding.written + worker.encoding.wanted
            if room > worker.out.shape[0]:
                worker.make_room()
        return self._give_list(worker, min(limit, worker.encoding.written))

    def encode_between(self, text, cuts, out):
        """Ids as the beginning of `out`, uint16 or uint32 (m,), or of a larger array where that has no room for them;
        and how many of them stand before each cut, int64 (k,).

        A cut with a negative id only cuts. Raises ValueError where the type does not hold the vocabulary's ids.
        """
        if out.dtype != np.uint32 and (out.dtype != np.uint16 or len(self.boxed) > 1 << 16):
            raise ValueError(f"{out.dtype} does not hold the ids of {len(self.boxed)} tokens")
        cdef Taken taken = Taken(out)
        places = np.empty(len(cuts), np.int64)
        self._pass_through(with_utf8(text), cuts, taken, places)
        return taken.array[: taken.used], places

    def count(self, text, cuts=None) -> int:
        """Number of ids, without making them all at once."""
        cdef Py_ssize_t n = 0
        utf8 = with_utf8(text)
        cdef const uint8_t *start = address_of(utf8, &n)
        return self._pass_through(utf8, self._rows(start, n, cuts), None, None)

    cdef int64_t _pass_through(self, utf8, cuts, Taken taken, int64_t[::1] places) except -1:
        """Encodes a text in parts whose ids stay in the cache, and hands each over; returns the number of ids. `places`
        is told how many stand before each cut."""
        cdef Py_ssize_t n = 0
        cdef const uint8_t *start = address_of(utf8, &n)
        cdef const int64_t[:, ::1] rows = cuts
        cdef fastlm_status status = FASTLM_OUT_FULL
        cdef int64_t room = OUT_IDS, total
        cdef Worker worker = self.take(0)
        cdef int64_t[::1] ends = self._ends_for(worker, utf8, cuts)
        worker.encoding.written = 0
        self._begin(worker, start, n, rows, self.scan != NULL, ends)
        if places is not None and places.shape[0]:
            worker.encoding.places = &places[0]
        with nogil:
            while status == FASTLM_OUT_FULL:
                status = <fastlm_status>self._step(worker, room)
                if status == FASTLM_OUT_FULL and not worker.encoding.written:
                    room = worker.encoding.wanted
                    if room > worker.out.shape[0]:
                        with gil:
                            worker.make_room()
                if taken is not None:
                    taken.take(&worker.out[0], worker.encoding.written)
                worker.encoding.taken += worker.encoding.written
                worker.encoding.written = 0
        total = worker.encoding.taken
        self.put_back(worker)
        return total

    cdef list _give_list(self, Worker worker, Py_ssize_t n):
        """The first n ids that a worker holds; puts the worker back."""
        cdef list ids = self.list_of(worker, 0, n)
        self.put_back(worker)
        return ids

    cdef list list_of(self, Worker worker, Py_ssize_t start, Py_ssize_t stop):
        """Ids that a worker holds."""
        cdef Py_ssize_t k
        cdef list ids = PyList_New(stop - start)
        for k in range(start, stop):
            item = <object>PyList_GET_ITEM(self.boxed, worker.out[k])
            Py_INCREF(item)
            PyList_SET_ITEM(ids, k - start, item)
        return ids

    cdef object give_ids(self, Worker worker, int64_t n):
        """An array of n ids, the first of which the worker holds; puts the worker back."""
        cdef Py_buffer copied
        if n > OUT_IDS:
            ids, worker.out_array, worker.out = worker.out_array, None, None
            worker.encoding.written = 0
            worker.renew_out(OUT_IDS)
            ids.resize(n, refcheck=False)
        else:
            ids = np.empty(n, np.uint32)
            # by the buffer itself: a memoryview costs as much as a short text
            PyObject_GetBuffer(ids, &copied, PyBUF_WRITABLE)
            memcpy(copied.buf, &worker.out[0], 4 * worker.encoding.written)
            PyBuffer_Release(&copied)
        self.put_back(worker)
        return ids
