"""Texts that threads encode together, into one array or into lists.

The texts are grouped into chunks, and each thread gets a range of chunks. A thread takes chunks from the front of its
own range, and when that is empty steals from the back of the longest other range. So the same state encodes the
same words in repeated calls. The first thread writes its own ids at their final place. The ids of other chunks are
copied to their places when all texts are encoded.
"""
import numpy as np

from cpython.pythread cimport (
    PyThread_acquire_lock, PyThread_allocate_lock, PyThread_free_lock, PyThread_release_lock, PyThread_type_lock,
    WAIT_LOCK,
)
from libc.stdint cimport int64_t, uint8_t, uint32_t, uintptr_t
from libc.string cimport memcpy

from fastlm.encoding._encoder cimport Encoder, exact_list, text_table
from fastlm.encoding._state cimport EncodeState, boundary_rows
from fastlm.encoding._tables cimport fastlm_prefetch_text
from fastlm.text._token_finder cimport TokenFinder
from fastlm.text._utf8 cimport Utf8

# Bytes of a chunk. Smaller chunks cost more to hand out than they balance. The ids of larger ones do not fit into the
# second-level cache together with their text.
SMALLEST_CHUNK = 1 << 15
LARGEST_CHUNK = 1 << 18
# chunks for each thread, if the texts are enough for it
CHUNKS = 32

cdef enum:
    # columns of `done`: the thread that encoded a chunk, and where its ids begin and end among that thread's ids
    THREAD, START, STOP


cdef class Batch:
    """Texts to encode with several threads.

    Use it in a `with` statement, whose end gives the encoder's states back. Call `encode(k)` once for each k <
    num_threads, each in a thread; only `encode(0)` is necessary. Then, if the batch was made with `as_lists`, call
    `lists()`; else `gather()`, then `copy()` in any number of threads, then `arrays()`.

    Args:
        encoder: The encoder.
        texts: Any iterable of texts, as Encoder takes them.
        boundaries: The boundaries of every text, or a list with the boundaries of each one.
        num_threads: The largest number of threads. The attribute `num_threads` is the number that is worthwhile.
        as_lists: Whether the result is a list of ids for each text.
    """
    cdef readonly int64_t num_threads
    cdef Encoder encoder
    cdef PyThread_type_lock lock
    cdef list texts, states, is_running, lists_of_ids
    cdef object boundaries, offsets_array, ids_array, error
    cdef bint has_scanner, is_gathered, is_closed
    cdef TokenFinder finder
    cdef int64_t[:, ::1] rows
    cdef int64_t[::1] first_row, first_text, offsets
    cdef int64_t[:, ::1] table, ranges, done
    cdef uint32_t[::1] ids, stolen
    cdef int64_t first_failed, ids_kept, next_copy

    def __cinit__(self, Encoder encoder not None, texts, boundaries, int64_t num_threads, bint as_lists=False):
        cdef int64_t k, chunk_bytes, total = 0, size = 0
        cdef list first = []
        self.lock = PyThread_allocate_lock()
        if self.lock == NULL:
            raise MemoryError
        if num_threads < 1:
            raise ValueError(f"num_threads must be at least 1, got {num_threads}")
        self.encoder, self.texts = encoder, exact_list(texts)
        self.has_scanner = encoder.has_scanner()  # without one, encoding needs the GIL
        self.table = text_table(self.texts)
        self.lists_of_ids = [None] * len(self.texts) if as_lists else None
        self._set_boundaries(boundaries)
        for k in range(self.table.shape[0]):
            total += self.table[k, 1]
        chunk_bytes = min(max(total // (num_threads * CHUNKS), SMALLEST_CHUNK), LARGEST_CHUNK)
        for k in range(self.table.shape[0]):
            if size >= chunk_bytes or not k:
                first.append(k)
                size = 0
            size += self.table[k, 1]
        self.num_threads = max(1, min(num_threads, len(first)))
        # of each thread: the first chunk that is left in its range, and the end of the range
        bounds = np.linspace(0, len(first), self.num_threads + 1).astype(np.int64)
        self.ranges = np.stack([bounds[: self.num_threads], bounds[1:]], axis=1)
        self.done = np.zeros((len(first), 3), np.int64)
        self.first_failed = len(first)
        self.first_text = np.array([*first, len(self.texts)], np.int64)
        self.states = [None] * self.num_threads
        self.is_running = [False] * self.num_threads
        self.offsets_array = np.zeros(len(self.texts) + 1, np.int64)
        self.offsets = self.offsets_array
        self.ids = self.stolen = np.empty(0, np.uint32)
        self.ids_array = self.error = None
        self.ids_kept = self.next_copy = 0
        self.is_gathered = self.is_closed = False

    def __enter__(self):
        return self

    def __exit__(self, *error):
        # an interrupt can come before the caller knows of a thread that it started: its call ends soon, and keeps its
        # state until then
        self.is_closed = True
        if True in self.is_running:
            self._stop()
        cdef list states = self.states
        self.states = [None] * self.num_threads
        for thread, state in enumerate(states):
            if state is not None and not self.is_running[thread]:
                self.encoder.give_back(state)

    def __dealloc__(self):
        if self.lock != NULL:
            PyThread_free_lock(self.lock)

    cdef int _set_boundaries(self, boundaries) except -1:
        """Sets `finder`, or `rows` and `first_row`: the rows of text k are rows[first_row[k]:first_row[k + 1]]."""
        cdef int64_t n_texts = self.table.shape[0], total = 0
        self.finder, self.rows, self.first_row = None, None, None
        if isinstance(boundaries, list):
            self.boundaries = boundaries = exact_list(boundaries)
            if len(boundaries) != n_texts:
                raise ValueError(f"expected boundaries of {n_texts} texts, got {len(boundaries)}")
        elif boundaries is None or isinstance(boundaries, TokenFinder):
            self.boundaries = self.finder = boundaries
            return 0
        else:
            self.boundaries, boundaries = boundaries, [boundaries] * n_texts
        rows, first = [np.empty((0, 3), np.int64)], [0]
        for text, given in zip(self.texts, boundaries):
            if isinstance(given, TokenFinder):
                given = (<TokenFinder>given).find(memoryview(Utf8(text)))
            if given is not None:
                given = boundary_rows(given)
                rows.append(given)
                total += len(given)
            first.append(total)
        self.rows, self.first_row = np.concatenate(rows), np.array(first, np.int64)
        return 0

    def encode(self, int64_t thread):
        """Encodes chunks until none is left.

        Args:
            thread: The number of the thread; once for each number.
        """
        if not 0 <= thread < self.num_threads:
            raise ValueError(f"thread must be at least 0 and below {self.num_threads}, got {thread}")
        if self.states[thread] is not None or self.is_gathered or self.is_closed:
            raise RuntimeError(f"encode({thread}) must be called once, and before the results")
        cdef EncodeState state = self.encoder.take(thread)
        self.is_running[thread] = True
        self.states[thread] = state
        try:
            self._encode_all(state, thread)
        finally:
            self.is_running[thread] = False

    cdef int _encode_all(self, EncodeState state, int64_t thread) except -1:
        cdef int64_t chunk = -1
        if self.lists_of_ids is None:
            state.reserve_for(self._bytes_of(thread))
        while True:
            try:
                if self.has_scanner:
                    with nogil:
                        self._encode_chunks(state, thread, &chunk)
                else:
                    self._encode_chunks(state, thread, &chunk)
                return 0
            except Exception as error:
                # earlier chunks are still encoded, so the error that is raised is that of the first text that has one
                self._note_error(chunk, error)
            except BaseException:  # an interrupt
                self._stop()
                raise

    cdef int _stop(self) except -1:
        """Lets all threads end soon: none takes another chunk, and long texts end at the next look."""
        PyThread_acquire_lock(self.lock, WAIT_LOCK)
        self.first_failed = -1
        PyThread_release_lock(self.lock)
        for state in list(self.states):
            if state is not None:
                (<EncodeState>state).is_stopped = True
        return 0

    cdef int _note_error(self, int64_t chunk, error) except -1:
        earlier = self.error  # is freed after the lock, because a finalizer may run any code
        PyThread_acquire_lock(self.lock, WAIT_LOCK)
        if chunk < self.first_failed:
            self.first_failed, self.error = chunk, error
        PyThread_release_lock(self.lock)
        return 0

    cdef int64_t _bytes_of(self, int64_t thread) except -1:
        """Bytes of a thread's range; for the first thread, of all texts, because its array will hold all ids."""
        cdef int64_t k, size = 0, first, last, stop = self.table.shape[0]
        PyThread_acquire_lock(self.lock, WAIT_LOCK)  # other threads may take chunks of the range already
        first, last = self.ranges[thread, 0], self.ranges[thread, 1]
        PyThread_release_lock(self.lock)
        if thread:
            stop = self.first_text[last]
        for k in range(self.first_text[first], stop):
            size += self.table[k, 1]
        return size

    cdef int64_t _next_chunk(self, int64_t thread) except -2 nogil:
        """The next chunk for a thread, or -1. Chunks after one that failed are left out."""
        cdef int64_t k, left, longest, victim, chunk
        PyThread_acquire_lock(self.lock, WAIT_LOCK)
        while True:
            chunk, longest, victim = -1, 0, thread
            if self.ranges[thread, 0] < self.ranges[thread, 1]:
                chunk = self.ranges[thread, 0]
                self.ranges[thread, 0] += 1
            else:
                for k in range(self.ranges.shape[0]):
                    left = self.ranges[k, 1] - self.ranges[k, 0]
                    if left > longest:
                        longest, victim = left, k
                if longest:
                    self.ranges[victim, 1] -= 1
                    chunk = self.ranges[victim, 1]
            if chunk <= self.first_failed:
                break
        PyThread_release_lock(self.lock)
        return chunk

    cdef int _encode_chunks(self, EncodeState state, int64_t thread, int64_t *chunk) except -1 nogil:
        cdef int64_t k
        while True:
            chunk[0] = self._next_chunk(thread)
            if chunk[0] < 0:
                return 0
            self.done[chunk[0], THREAD], self.done[chunk[0], START] = thread, state.written()
            for k in range(self.first_text[chunk[0]], self.first_text[chunk[0] + 1]):
                self._encode_text(state, k)
                self.offsets[k + 1] = state.written()
            self.done[chunk[0], STOP] = state.written()
            if self.lists_of_ids is not None:
                with gil:
                    self._make_lists(state, chunk[0])

    cdef int _make_lists(self, EncodeState state, int64_t chunk) except -1:
        """Makes the lists of a chunk while other threads encode."""
        cdef int64_t k, start = self.done[chunk, START]
        for k in range(self.first_text[chunk], self.first_text[chunk + 1]):
            self.lists_of_ids[k] = state.id_list(start, self.offsets[k + 1])
            start = self.offsets[k + 1]
        state.forget_after(0)
        return 0

    cdef int _encode_text(self, EncodeState state, int64_t k) except -1 nogil:
        cdef const uint8_t *text = <const uint8_t *><uintptr_t>self.table[k, 0]
        cdef int64_t first, n_rows
        if not self.has_scanner:
            with gil:
                boundaries = self.boundaries[k] if isinstance(self.boundaries, list) else self.boundaries
                state.append(self.texts[k], boundaries)
            return 0
        if k + 1 < self.table.shape[0]:
            fastlm_prefetch_text(<const uint8_t *><uintptr_t>self.table[k + 1, 0], self.table[k + 1, 1])
        if self.rows is None:
            state.start(text, self.table[k, 1], self.finder, NULL, 0)
        else:
            first, n_rows = self.first_row[k], self.first_row[k + 1] - self.first_row[k]
            state.start(text, self.table[k, 1], None, &self.rows[first, 0] if n_rows else NULL, n_rows)
        state.run(0)
        return 0

    def gather(self) -> int:
        """Allocates one array for all ids.

        Returns:
            The number of ids that `copy` has to copy.

        Raises:
            ValueError, TypeError: The error of the first text that has one.
        """
        cdef int64_t chunk, k, n_bytes = 0, total = 0, chunks_kept = 0
        self._check_encoded()
        cdef EncodeState first = self.states[0]
        for chunk in range(self.done.shape[0]):
            # chunks that the first thread stole follow, among its ids, all chunks whose ids stay in place
            if chunks_kept == chunk and not self.done[chunk, THREAD] and self.done[chunk, START] == total:
                chunks_kept, self.ids_kept = chunk + 1, self.done[chunk, STOP]
            for k in range(self.first_text[chunk], self.first_text[chunk + 1]):
                self.offsets[k + 1] += total - self.done[chunk, START]
            total += self.done[chunk, STOP] - self.done[chunk, START]
        for k in range(self.table.shape[0]):
            n_bytes += self.table[k, 1]
        for state in list(self.states):
            if state is not None:
                (<EncodeState>state).note_ids_of(n_bytes, total)
        self.stolen = first.copy_ids(self.ids_kept, first.written())
        first.forget_after(self.ids_kept)
        self.ids_array = first.take_ids(total)
        self.ids, self.next_copy, self.is_gathered = self.ids_array, chunks_kept, True
        return total - self.ids_kept

    def copy(self) -> None:
        """Copies ids to their places, until all are there."""
        self._check_gathered()
        cdef list states = self.states
        cdef int64_t chunk, start, n, thread
        cdef const uint32_t *source
        while True:
            PyThread_acquire_lock(self.lock, WAIT_LOCK)
            chunk = self.next_copy
            self.next_copy += 1
            PyThread_release_lock(self.lock)
            if chunk >= self.done.shape[0]:
                return
            thread, start = self.done[chunk, THREAD], self.done[chunk, START]
            n = self.done[chunk, STOP] - start
            if not n:
                continue
            if thread:
                source = (<EncodeState>states[thread]).ids_pointer() + start
            else:
                source = &self.stolen[start - self.ids_kept]
            with nogil:
                memcpy(&self.ids[self.offsets[self.first_text[chunk]]], source, n * sizeof(uint32_t))

    def arrays(self):
        """(ids, offsets): uint32 (n_ids,) and int64 (n_texts + 1,), after `gather` and `copy`."""
        self._check_gathered()
        return self.ids_array, self.offsets_array

    def lists(self):
        """A list of ids for each text. Raises as `gather`."""
        self._check_encoded()
        return self.lists_of_ids

    cdef int _check_encoded(self) except -1:
        if self.states[0] is None or self.is_gathered:
            raise RuntimeError("encode(0) must be called first, and the results once")
        if self.error is not None:
            error, self.error = self.error, None  # its traceback refers to this batch
            raise error
        return 0

    cdef int _check_gathered(self) except -1:
        if not self.is_gathered or self.is_closed:
            raise RuntimeError("gather() must be called first")
        return 0
