"""Texts that threads encode together, into one array.

The texts are cut into chunks, and each thread has a stretch of them, so that call after call the same worker meets the
same words. It takes chunks from the front of its stretch, and when that is done from the back of the longest other one.
The ids of the first stretch are written where they stay, the others copied behind them when all are there.
"""
import numpy as np

from cpython.pythread cimport (
    PyThread_acquire_lock, PyThread_allocate_lock, PyThread_free_lock, PyThread_release_lock, PyThread_type_lock,
    WAIT_LOCK,
)
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t, uintptr_t
from libc.string cimport memcpy

from fastlm.encoding._encoder cimport Encoder, places_of
from fastlm.text._added_tokens cimport SpecialFinder
from fastlm.text._utf8 cimport Utf8
from fastlm.encoding._worker cimport Worker, fastlm_prefetch

# bytes of a chunk: fewer cost more to hand out than they balance, more do not stay in the second cache with their ids
LEAST_CHUNK = 1 << 15
LARGEST_CHUNK = 1 << 18
# unless the texts are too few for it, each thread gets so many
CHUNKS = 32


cdef class Share:
    """Texts for so many threads; `cuts` is one for all of them, or a list with one for each, as Encoder takes it.

    encode(k) for all k < threads, each in a thread of its own, but only encode(0) has to be; `threads` is how many are
    worth while. Then result_lists(), if `lists`; else gather(), copy() in any number of threads, and result_arrays().
    """
    cdef readonly int64_t threads
    cdef Encoder encoder
    cdef PyThread_type_lock lock
    cdef list texts, workers, lists
    cdef object cuts, offsets_array, ids_array, error
    cdef bint scans
    cdef SpecialFinder finder
    cdef const int64_t[:, ::1] rows
    cdef int64_t[::1] first_row, first_text, offsets
    cdef int64_t[:, ::1] places, stretches, done
    cdef uint32_t[::1] ids, stolen
    cdef int64_t failed, ids_kept, copied
    cdef uint64_t[::1] outputs

    def __cinit__(self):
        self.lock = PyThread_allocate_lock()
        if self.lock == NULL:
            raise MemoryError

    def __dealloc__(self):
        if self.lock != NULL:
            PyThread_free_lock(self.lock)

    def __init__(self, Encoder encoder, texts, cuts, int64_t threads, bint lists=False):
        cdef int64_t k, chunk, total = 0, size = 0
        cdef list first = []
        self.encoder, self.texts, self.cuts = encoder, [], cuts
        self.scans = encoder.scan != NULL  # what has no scanner needs the GIL
        self.places = places_of(texts, self.texts)
        self.lists = [None] * len(self.texts) if lists else None
        self._keep_cuts()
        for k in range(self.places.shape[0]):
            total += self.places[k, 1]
        chunk = min(max(total // (threads * CHUNKS), LEAST_CHUNK), LARGEST_CHUNK)
        for k in range(self.places.shape[0]):
            if size >= chunk or not k:
                first.append(k)
                size = 0
            size += self.places[k, 1]
        self.threads = max(1, min(threads, len(first)))
        # of each thread's stretch: the first chunk that is left, and the end
        bounds = np.linspace(0, len(first), self.threads + 1).astype(np.int64)
        self.stretches = np.stack([bounds[: self.threads], bounds[1:]], axis=1)
        # of each chunk: who encoded it, and where in what it wrote
        self.done = np.zeros((len(first), 3), np.int64)
        self.failed = len(first)
        self.first_text = np.array([*first, len(self.texts)], np.int64)
        self.workers, self.outputs = [None] * self.threads, np.zeros(self.threads, np.uint64)
        self.offsets_array = np.zeros(len(self.texts) + 1, np.int64)
        self.offsets = self.offsets_array
        self.ids = self.stolen = self.ids_array = self.error = None
        self.ids_kept = self.copied = 0

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
        if self.lists is None:
            worker.reserve(self._size(number) // 2)
        while True:
            try:
                if self.scans:
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
        """Bytes of what a thread is to encode, and for the first of what all are: in its output all ids are gathered."""
        cdef int64_t k, size = 0, stop = self.places.shape[0]
        if number:
            stop = self.first_text[self.stretches[number, 1]]
        for k in range(self.first_text[self.stretches[number, 0]], stop):
            size += self.places[k, 1]
        return size

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
            if self.lists is not None:
                with gil:
                    self._make_lists(worker, chunk[0])

    cdef int _make_lists(self, Worker worker, int64_t chunk) except -1:
        """The lists of a chunk, while others encode."""
        cdef int64_t k, start = self.done[chunk, 1]
        for k in range(self.first_text[chunk], self.first_text[chunk + 1]):
            self.lists[k] = self.encoder.list_of(worker, start, self.offsets[k + 1])
            start = self.offsets[k + 1]
        worker.encoding.written = 0
        return 0

    cdef int _encode_text(self, Worker worker, int64_t k) except -1 nogil:
        cdef const uint8_t *text = <const uint8_t *><uintptr_t>self.places[k, 0]
        if not self.scans:
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

    def gather(self) -> int:
        """Makes room for all ids in one array; returns how many are to be copied. Raises as result_lists()."""
        cdef int64_t chunk, k, total = 0, chunks_kept = 0
        cdef Worker first = self.workers[0]
        self._check()
        for chunk in range(self.done.shape[0]):
            # what the first thread took of others' stretches comes later than all that it leaves in its place
            if chunks_kept == chunk and not self.done[chunk, 0] and self.done[chunk, 1] == total:
                chunks_kept, self.ids_kept = chunk + 1, self.done[chunk, 2]
            for k in range(self.first_text[chunk], self.first_text[chunk + 1]):
                self.offsets[k + 1] += total - self.done[chunk, 1]
            total += self.done[chunk, 2] - self.done[chunk, 1]
        self.stolen = np.array(first.out[self.ids_kept : first.encoding.written])
        first.encoding.written = self.ids_kept
        if first.out.shape[0] < total:
            first.renew_out(total)
        self.ids_array = self.encoder.give_ids(first, total)
        self.ids, self.copied, self.workers[0] = self.ids_array, chunks_kept, None
        for k in range(1, self.threads):
            if self.workers[k] is not None:
                self.outputs[k] = <uintptr_t>&(<Worker>self.workers[k]).out[0]
        return total - self.ids_kept

    def copy(self) -> None:
        """Copies ids to where they belong, until all are there."""
        with nogil:
            self._copy()

    cdef int _copy(self) except -1 nogil:
        cdef int64_t chunk, n
        while True:
            PyThread_acquire_lock(self.lock, WAIT_LOCK)
            chunk = self.copied
            self.copied += 1
            PyThread_release_lock(self.lock)
            if chunk >= self.done.shape[0]:
                return 0
            n = self.done[chunk, 2] - self.done[chunk, 1]
            if n:
                memcpy(&self.ids[self.offsets[self.first_text[chunk]]], self._written(chunk), n * sizeof(uint32_t))

    cdef const uint32_t *_written(self, int64_t chunk) except NULL nogil:
        """Where the ids of a chunk were written."""
        if not self.done[chunk, 0]:
            return &self.stolen[self.done[chunk, 1] - self.ids_kept]
        return <const uint32_t *><uintptr_t>self.outputs[self.done[chunk, 0]] + self.done[chunk, 1]

    def result_arrays(self):
        """(ids, offsets), uint32 and int64, of all texts."""
        self._leave()
        return self.ids_array, self.offsets_array

    def result_lists(self):
        """A list of ids of each text. Raises the error of the first text that has one."""
        self._check()
        self._leave()
        return self.lists

    cdef int _check(self) except -1:
        if self.error is not None:
            self._leave()
            error, self.error = self.error, None  # which holds what holds this
            raise error
        return 0

    cdef int _leave(self) except -1:
        for worker in self.workers:
            if worker is not None:
                self.encoder.put_back(worker)
        self.workers = []
        return 0
