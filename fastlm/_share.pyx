"""Texts that threads encode together, into one array.

The texts are cut into chunks, and each thread has a stretch of them, so that call after call the same worker meets the
same words. It takes chunks from the front of its stretch, and when that is done from the back of the longest other one.
Ids stay where the worker wrote them until all are there; then the threads copy them to where they belong.
"""
import numpy as np

from cpython.pythread cimport (
    PyThread_acquire_lock, PyThread_allocate_lock, PyThread_free_lock, PyThread_release_lock, PyThread_type_lock,
    WAIT_LOCK,
)
from libc.stdint cimport int64_t, uint8_t, uint32_t, uintptr_t
from libc.string cimport memcpy

from fastlm._encode cimport Encoder, Worker, fastlm_prefetch
from fastlm._special cimport SpecialFinder
from fastlm._utf8 cimport Utf8, address_of, with_utf8

# bytes of a chunk: fewer cost more to hand out than they balance, more do not stay in the second cache with their ids
LEAST_CHUNK = 1 << 15
LARGEST_CHUNK = 1 << 18
# unless the texts are too few for it, each thread gets so many
CHUNKS = 32


cdef class Share:
    """Texts for so many threads; `cuts` is one for all of them, or a list with one for each, as Encoder takes it.

    encode(k) for the first k < threads, each in a thread, or only some of them; then make_room(), and place() in any
    number of threads; then result(). `threads` is how many are worth while.
    """
    cdef readonly int64_t threads
    cdef Encoder encoder
    cdef PyThread_type_lock lock
    cdef list texts, workers
    cdef object cuts, offsets_array, ids_array, error
    cdef bint apart
    cdef SpecialFinder finder
    cdef const int64_t[:, ::1] rows
    cdef int64_t[::1] first_row, first_text, offsets
    cdef int64_t[:, ::1] places, stretches, done
    cdef uint32_t[::1] ids
    cdef int64_t failed, placed

    def __cinit__(self):
        self.lock = PyThread_allocate_lock()
        if self.lock == NULL:
            raise MemoryError

    def __dealloc__(self):
        if self.lock != NULL:
            PyThread_free_lock(self.lock)

    def __init__(self, Encoder encoder, texts, cuts, int64_t threads):
        cdef Py_ssize_t n = 0
        cdef int64_t k
        self.encoder, self.texts, self.cuts = encoder, list(map(with_utf8, texts)), cuts
        # what has no scanner needs the GIL
        self.apart = encoder.scan != NULL
        self.places = np.empty((len(self.texts), 2), np.int64)
        for k in range(len(self.texts)):
            self.places[k, 0] = <int64_t><uintptr_t>address_of(self.texts[k], &n)
            self.places[k, 1] = n
        self._keep_cuts()
        sizes = np.asarray(self.places)[:, 1]
        ends, total = np.cumsum(sizes), int(sizes.sum())
        chunk = min(max(total // (threads * CHUNKS), LEAST_CHUNK), LARGEST_CHUNK)
        starts = np.unique(np.searchsorted(ends, np.arange(0, total, chunk), "right"))
        self.first_text = np.append(starts, len(self.texts)).astype(np.int64)
        if len(starts):
            self.first_text[0] = 0
        self.threads = max(1, min(threads, len(starts)))
        # where the stretch of each thread begins now, where it ends, and bytes of ids it will take
        bounds = np.linspace(0, len(starts), self.threads + 1).astype(np.int64)
        self.stretches = np.stack([bounds[: self.threads], bounds[1:]], axis=1)
        # of each chunk: who encoded it, and where in what it wrote
        self.done = np.zeros((len(starts), 3), np.int64)
        self.workers = [None] * self.threads
        self.offsets_array = np.zeros(len(self.texts) + 1, np.int64)
        self.offsets = self.offsets_array
        self.failed, self.placed, self.error = len(starts), 0, None

    cdef int _keep_cuts(self) except -1:
        cuts = self.cuts
        self.finder, self.rows, self.first_row = None, None, None
        if not isinstance(cuts, list):
            if cuts is None or isinstance(cuts, SpecialFinder):
                self.finder = cuts
                return 0
            cuts = [cuts] * len(self.texts)
        rows, first, total = [np.empty((0, 3), np.int64)], [0], 0
        for text, cut in zip(self.texts, cuts):
            if isinstance(cut, SpecialFinder):
                cut = (<SpecialFinder>cut).find(memoryview(Utf8(text)))
            if cut is not None:
                rows.append(cut)
                total += len(cut)
            first.append(total)
        self.rows, self.first_row = np.concatenate(rows), np.array(first, np.int64)
        return 0

    def encode(self, int64_t number):
        """Encodes chunks until none is left."""
        cdef int64_t chunk = -1
        cdef Worker worker = self.encoder.take(number)
        worker.encoding.written = 0
        self.workers[number] = worker
        worker.reserve(self._size(number) // 3)
        while True:
            try:
                if self.apart:
                    with nogil:
                        self._encode_chunks(worker, number, &chunk)
                else:
                    self._encode_chunks(worker, number, &chunk)
                return
            except Exception as error:
                # the chunks before it are still to be encoded, so that the first error of all is the one raised
                if chunk < self.failed:
                    self.failed, self.error = chunk, error

    cdef int64_t _size(self, int64_t number) except -1:
        """Bytes of a thread's stretch."""
        start, stop = self.first_text[self.stretches[number, 0]], self.first_text[self.stretches[number, 1]]
        return np.asarray(self.places)[start:stop, 1].sum()

    cdef int64_t _next(self, int64_t number) except -2 nogil:
        """The next chunk for a thread, or -1."""
        cdef int64_t k, left, longest = 0, of = number, chunk = -1
        PyThread_acquire_lock(self.lock, WAIT_LOCK)
        if self.stretches[number, 0] < self.stretches[number, 1]:
            chunk = self.stretches[number, 0]
            self.stretches[number, 0] += 1
        else:
            for k in range(self.stretches.shape[0]):
                left = self.stretches[k, 1] - self.stretches[k, 0]
                if left > longest:
                    longest, of = left, k
            if longest:
                self.stretches[of, 1] -= 1
                chunk = self.stretches[of, 1]
        PyThread_release_lock(self.lock)
        return chunk

    cdef int _encode_chunks(self, Worker worker, int64_t number, int64_t *chunk) except -1 nogil:
        cdef int64_t k
        while True:
            chunk[0] = self._next(number)
            if chunk[0] < 0:
                return 0
            if chunk[0] > self.failed:
                continue
            self.done[chunk[0], 0], self.done[chunk[0], 1] = number, worker.encoding.written
            for k in range(self.first_text[chunk[0]], self.first_text[chunk[0] + 1]):
                self._encode_text(worker, k)
                self.offsets[k + 1] = worker.encoding.written
            self.done[chunk[0], 2] = worker.encoding.written

    cdef int _encode_text(self, Worker worker, int64_t k) except -1 nogil:
        cdef const uint8_t *text = <const uint8_t *><uintptr_t>self.places[k, 0]
        if not self.apart:
            with gil:
                self.encoder.append(worker, self.texts[k], self.cuts[k] if isinstance(self.cuts, list) else self.cuts)
            return 0
        if k + 1 < self.places.shape[0]:
            fastlm_prefetch(<const uint8_t *><uintptr_t>self.places[k + 1, 0], self.places[k + 1, 1])
        if self.rows is None:
            self.encoder.append_one(worker, text, self.places[k, 1], self.finder)
        else:
            self.encoder.run(worker, text, self.places[k, 1], self.rows[self.first_row[k]:self.first_row[k + 1]], True,
                             worker.ends)
        return 0

    def make_room(self):
        """The number of ids, for which there is then an array. Raises the error of the first text that has one."""
        if self.error is not None:
            self._leave()
            raise self.error
        done = np.asarray(self.done)
        sizes = done[:, 2] - done[:, 1]
        starts = np.cumsum(sizes) - sizes
        self.offsets_array[1:] += np.repeat(starts - done[:, 1], np.diff(self.first_text))
        self.ids_array = np.empty(int(sizes.sum()), np.uint32)
        self.ids = self.ids_array
        return len(self.ids_array)

    def place(self, int64_t number):
        """Copies ids to where they belong, until all are there."""
        cdef int64_t chunk, n
        cdef Worker worker
        while True:
            PyThread_acquire_lock(self.lock, WAIT_LOCK)
            chunk = self.placed
            self.placed += 1
            PyThread_release_lock(self.lock)
            if chunk >= self.done.shape[0]:
                return
            worker, n = self.workers[self.done[chunk, 0]], self.done[chunk, 2] - self.done[chunk, 1]
            if n:
                start = self.offsets[self.first_text[chunk]]
                self._copy(worker, self.done[chunk, 1], start, n)

    cdef int _copy(self, Worker worker, int64_t source, int64_t target, int64_t n) except -1:
        cdef uint32_t *to = &self.ids[target]
        cdef const uint32_t *ids = &worker.out[source]
        with nogil:
            memcpy(to, ids, n * sizeof(uint32_t))
        return 0

    def result(self):
        """(ids, offsets), uint32 and int64, of all texts."""
        self._leave()
        return self.ids_array, self.offsets_array

    cdef int _leave(self) except -1:
        for worker in self.workers:
            if worker is not None:
                self.encoder.put_back(worker)
        self.workers = []
        return 0
