"""The state of a running call: the ids written so far, working memory, and the pretoken cache."""
import numpy as np

cimport numpy
from cpython.exc cimport PyErr_CheckSignals
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

from fastlm.encoding._pretoken_cache cimport PretokenCache
from fastlm.encoding._tables cimport (
    FASTLM_CACHE_FULL, FASTLM_DONE, FASTLM_IDS_FULL, FASTLM_INVALID_UTF8, FASTLM_PRETOKEN_TOO_LONG,
    FASTLM_SCRATCH_WORDS, FASTLM_UNKNOWN_BYTE, EncodeTables, fastlm_waiting, fastlm_encode, fastlm_encode_state, fastlm_status,
)
from fastlm.native.common cimport FASTLM_LEAST_ENDS, FASTLM_NO_ID
from fastlm.pretokenize._scan import invalid_utf8
from fastlm.text._token_finder cimport TokenFinder, fastlm_find_tokens
from fastlm.text._utf8 cimport utf8_of
from fastlm.text._utf8 import utf8_bytes

cdef extern from "encoding/id_list.h":
    list fastlm_empty_id_list(int64_t n)
    int fastlm_append_ids(list ids_list, list ints, const uint32_t *ids, int64_t n) except -1

numpy.import_array()

SCRATCH_WORDS = FASTLM_SCRATCH_WORDS  # a test compares it with the kernel's number

cdef enum:
    # pretoken ends of a block: with their text and ids they fit into the first-level cache
    ENCODE_BLOCK_ENDS = 512
    # added tokens in a text that are found without creating an object
    FEW_BOUNDARIES = 64
    # ids in the first array, and the words of scratch that an idle state keeps
    FIRST_IDS = 1 << 15
    # bytes of a text that is encoded with the GIL: it takes some microseconds, and releasing the GIL some tenths
    SHORT_TEXT = 1024
    # bytes of a text that tells how many ids a byte becomes
    LONG_TEXT = 1 << 16
    # ids in the array of an idle state, at most: a new one costs a page fault for each 1,024 ids
    IDLE_IDS = 1 << 21
    # ids of one call of the loop, and bytes of text after which signals are let in: Ctrl-C acts within some tenths of
    # a second, and taking the GIL this often costs nothing
    UNCHECKED_IDS = 1 << 18
    UNCHECKED_BYTES = 1 << 20
    # ids that become a list before signals are let in
    LISTED_IDS = 1 << 22

# Ids that are reserved, relative to the ids of the last long text.
cdef double MORE_IDS = 1.0625

# Entries of the largest pretoken cache. A larger cache costs more in cache misses than it saves in merges.
LARGEST_CACHE = 1 << 19


cdef class EncodeState:
    """The state that one running call changes.

    Args:
        tables: The vocabulary's tables.
        cache: A pretoken cache, which only this state uses.
        number: The state's place in a pool.
    """

    def __cinit__(self, EncodeTables tables not None, PretokenCache cache not None, int64_t number):
        self.tables, self.cache, self.number = tables, cache, number
        self.ends = self.given_ends = np.empty(ENCODE_BLOCK_ENDS, np.int64)
        self.few_boundaries = self.many_boundaries = np.empty((FEW_BOUNDARIES, 3), np.int64)
        self.scratch = np.empty(FASTLM_SCRATCH_WORDS, np.uint64)
        self.ids_array = np.empty(FIRST_IDS, np.uint32)
        self.ids = self.ids_array
        self.waiting = np.empty(sizeof(fastlm_waiting), np.uint8)
        self.state.waiting = <fastlm_waiting *>&self.waiting[0]
        self.state.waiting.count = self.state.waiting.n_gaps = 0
        self.state.written = 0
        self.ids_per_byte = 1 / 3.0
        self.written_before = 0
        self.unchecked, self.is_stopped = 0, False

    # --- texts ---

    cdef int64_t append(self, text, boundaries) except -1:
        """Adds the ids of a text; returns how many ids are written.

        Args:
            text: A str, UTF-8 bytes, or Utf8.
            boundaries: The boundaries of the text: a TokenFinder, int64 (k, 3) rows of start, end and id, or None.

        Raises:
            TypeError: The text or the boundaries have another type.
            ValueError: The text is not UTF-8 or has a byte without an id; or the boundaries are not in order and inside
                the text, or have an id that is not in the vocabulary.
        """
        cdef Py_ssize_t n = 0
        cdef int64_t before
        cdef const uint8_t *start = NULL
        cdef TokenFinder finder
        if self.tables.scan != NULL and (boundaries is None or isinstance(boundaries, TokenFinder)):
            utf8, finder = utf8_of(text, &start, &n), boundaries
            if n > SHORT_TEXT:
                self.reserve_for(n)
            before = self.state.written
            if n <= SHORT_TEXT:
                self.start(start, n, finder, NULL, 0)
                self.run(0)
            else:
                with nogil:
                    self.start(start, n, finder, NULL, 0)
                    self.run(0)
        else:
            utf8 = self._start_object(text, boundaries)
            n, before = self.state.n, self.state.written
            self.reserve_for(n)
            with nogil:
                self.run(0)
        self.note_ids_of(n, self.state.written - before)
        return self.state.written

    cdef int64_t append_up_to(self, text, boundaries, int64_t limit) except -1:
        """The same, but may stop when at least `limit` ids are written."""
        cdef int64_t status = FASTLM_IDS_FULL, size
        utf8 = self._start_object(text, boundaries)
        limit = min(limit, self.state.n + self.state.n_boundaries)
        size = min(limit, FIRST_IDS // 2)
        if self.state.scan != NULL:
            self.state.n_ends = min(self.state.n_ends, limit + FASTLM_LEAST_ENDS)
        while self.state.written < limit and status == FASTLM_IDS_FULL:
            if size > self.ids.shape[0]:
                self.reserve(self.state.needed)
            with nogil:
                status = self.run(size)
            size = self.state.written + self.state.needed
        return self.state.written

    cdef int64_t pass_on(self, text, boundaries, IdSink sink, int64_t[::1] ids_before) except -1:
        """Encodes a text in parts whose ids stay in the processor's cache, and hands each part to the sink.

        Args:
            text, boundaries: See `append`.
            sink: Gets the ids; None counts them only.
            ids_before: Gets the number of ids before each boundary; or None.

        Returns:
            The number of ids.
        """
        cdef int64_t status = FASTLM_IDS_FULL, size = FIRST_IDS
        utf8 = self._start_object(text, boundaries)
        if ids_before is not None:
            if ids_before.shape[0] != self.state.n_boundaries:
                raise ValueError(f"ids_before must have {self.state.n_boundaries} items, got {ids_before.shape[0]}")
            if ids_before.shape[0]:
                self.state.ids_before = &ids_before[0]
        with nogil:
            while status == FASTLM_IDS_FULL:
                status = self.run(size)
                if status == FASTLM_IDS_FULL and not self.state.written:
                    size = self.state.needed
                    if size > self.ids.shape[0]:
                        with gil:
                            self.reserve(size)
                if sink is not None:
                    sink.write(&self.ids[0], self.state.written)
                self.state.taken += self.state.written
                self.state.written = 0
        return self.state.taken

    cdef int start(self, const uint8_t *text, int64_t n, TokenFinder finder, const int64_t *boundaries,
                   int64_t n_boundaries) except -1 nogil:
        """Begins a text, whose ids `run` adds. A finder finds the boundaries; without one, (n_boundaries, 3) are
        given."""
        cdef fastlm_encode_state *s = &self.state
        cdef int64_t position = 0
        if finder is not None and finder.longest:
            boundaries = &self.few_boundaries[0, 0]
            n_boundaries = fastlm_find_tokens(
                &finder.trie, text, n, &position, &self.few_boundaries[0, 0], FEW_BOUNDARIES)
            if n_boundaries == FEW_BOUNDARIES:
                with gil:
                    self.many_boundaries = finder.find_in(text, n)
                boundaries, n_boundaries = &self.many_boundaries[0, 0], self.many_boundaries.shape[0]
        if n_boundaries:
            self.tables.check_boundaries(boundaries, n_boundaries, n)
        self.written_before = s.written
        s.text, s.n = text, n
        s.boundaries, s.n_boundaries, s.ids_before = boundaries, n_boundaries, NULL
        s.scan, s.ends, s.n_ends = self.tables.scan, &self.ends[0], self.ends.shape[0]
        s.position = s.boundary = s.taken = s.needed = 0
        return 0

    cdef int start_pretokens(self, const uint8_t *text, int64_t n, int64_t[::1] ends) except -1 nogil:
        """Begins bytes of any kind that are split already: `ends` ascends to n."""
        self.start(text, n, None, NULL, 0)
        self.state.scan = NULL
        self.state.ends, self.state.n_ends = &ends[0], ends.shape[0]
        return 0

    cdef object _start_object(self, text, boundaries):
        """Begins a text as `append` takes it. Returns the object that owns its UTF-8, which must live until the end."""
        cdef Py_ssize_t n = 0
        cdef const uint8_t *start = NULL
        utf8 = utf8_of(text, &start, &n)
        if boundaries is None or isinstance(boundaries, TokenFinder):
            self.start(start, n, boundaries, NULL, 0)
        else:
            self.many_boundaries = boundary_rows(boundaries)
            n_boundaries = self.many_boundaries.shape[0]
            self.start(start, n, None, &self.many_boundaries[0, 0] if n_boundaries else NULL, n_boundaries)
        if self.state.scan == NULL:
            rows = None
            if self.state.n_boundaries:
                rows = np.asarray(<int64_t[:self.state.n_boundaries, :3]><int64_t *>self.state.boundaries)
            self.given_ends = self.tables.pretoken_ends(utf8_bytes(utf8), rows)
            self.state.n_ends = self.given_ends.shape[0]
            if self.state.n_ends:
                self.state.ends = &self.given_ends[0]
        return utf8

    cdef int64_t run(self, int64_t max_ids) except -1 nogil:
        """Adds the ids of the text that was begun.

        Args:
            max_ids: Stops before more ids than this are written; 0 means no limit.

        Returns:
            FASTLM_DONE; or FASTLM_IDS_FULL if the next `needed` ids would exceed `max_ids`.

        Raises KeyboardInterrupt, or what another handler of a signal raises.
        """
        cdef fastlm_encode_state *s = &self.state
        cdef fastlm_status status
        cdef int64_t size, position
        while True:
            if self.unchecked >= UNCHECKED_BYTES:
                with gil:
                    self._let_signals_in()
            size = self.ids.shape[0]
            if max_ids and max_ids < size:
                size = max_ids
            s.ids, s.ids_size = &self.ids[0], min(size, s.written + max(UNCHECKED_IDS, s.needed))
            s.scratch, s.scratch_words = &self.scratch[0], self.scratch.shape[0]
            position = s.position
            status = fastlm_encode(&self.tables.vocabulary, &self.cache.table, s)
            self.unchecked += s.position - position
            if status == FASTLM_IDS_FULL and s.ids_size < size:
                continue
            if status == FASTLM_DONE or (status == FASTLM_IDS_FULL and max_ids):
                return status
            with gil:
                self._provide(status)

    cdef int _let_signals_in(self) except -1:
        """Runs the handlers of signals, which may raise, if this is the main thread; ends a call that is stopped."""
        self.unchecked = 0
        PyErr_CheckSignals()
        if self.is_stopped:
            raise InterruptedError("another thread of the call was interrupted")
        return 0

    cdef int _provide(self, fastlm_status status) except -1:
        """Provides what the loop is missing. Raises ValueError if the text cannot be encoded."""
        cdef fastlm_encode_state *s = &self.state
        if status == FASTLM_INVALID_UTF8:
            raise invalid_utf8(<const uint8_t[:s.n]>s.text, s.position)
        if status == FASTLM_PRETOKEN_TOO_LONG:
            raise ValueError(f"the pretoken at byte {s.position} has 4 GiB or more")
        if status == FASTLM_UNKNOWN_BYTE:
            self._encode_known_bytes()
        elif status == FASTLM_IDS_FULL:
            self._grow_ids(max(self._expected_ids(), s.written + s.needed))
        elif status == FASTLM_CACHE_FULL:
            if self.cache.entries() < LARGEST_CACHE:
                self.cache = self.cache.resized(2 * self.cache.entries())
            else:  # choosing the entries to keep would cost more
                self.tables.tokens.refill(self.cache)
        else:
            self.scratch = np.empty(s.needed, np.uint64)
        return 0

    cdef int _encode_known_bytes(self) except -1:
        """Encodes the next pretoken without its bytes that have no id, or raises ValueError."""
        cdef fastlm_encode_state outer = self.state
        cdef int64_t k
        cdef uint8_t[::1] known
        kept = bytearray()
        for k in range(outer.position, outer.position + outer.needed):
            if self.tables.byte_ids[outer.text[k]] != FASTLM_NO_ID:
                kept.append(outer.text[k])
            elif not self.tables.drops_unknown:
                raise ValueError(f"byte {k} of the text, 0x{outer.text[k]:02x}, has no token in the vocabulary")
        if kept:
            known = kept
            self.start_pretokens(&known[0], known.shape[0], np.array([known.shape[0]], np.int64))
            self.run(0)
        outer.written = self.state.written
        outer.position += outer.needed
        self.state = outer
        return 0

    # --- ids ---

    cdef int64_t written(self) noexcept nogil:
        """The number of ids."""
        return self.state.written

    cdef int reserve(self, int64_t more) except -1:
        """Allocates memory for more ids."""
        if self.state.written + more > self.ids.shape[0]:
            self._grow_ids(2 * self.state.written + more + FIRST_IDS)
        return 0

    cdef int reserve_for(self, int64_t n) except -1:
        """Allocates memory for the ids of n bytes, if these are like the last long text."""
        cdef int64_t more = <int64_t>(self.ids_per_byte * n)
        if more > self.ids.shape[0]:
            self.reserve(more)
        return 0

    cdef int note_ids_of(self, int64_t n, int64_t n_ids) noexcept nogil:
        """Notes that n bytes became n_ids ids. An array that is much too large or that has to grow costs page faults."""
        if n >= LONG_TEXT:
            self.ids_per_byte = min(1.0, MORE_IDS * n_ids / n)
        return 0

    cdef int64_t _expected_ids(self) noexcept:
        """The ids of all texts so far if the rest of this text is like its part that is encoded, but at least half as
        many again as there is memory for: a batch may have many texts."""
        cdef fastlm_encode_state *s = &self.state
        cdef int64_t more = s.n - s.position + s.n_boundaries - s.boundary  # at most one id for each
        cdef double each = MORE_IDS * (s.written - self.written_before) / max(1, s.position)
        more = min(more, <int64_t>(each * (s.n - s.position)))
        return max(s.written + more, self.ids.shape[0] + self.ids.shape[0] // 2)

    cdef int _grow_ids(self, int64_t size) except -1:
        """Moves the ids to a larger array."""
        array = np.empty(size, np.uint32)
        if self.state.written:
            array[: self.state.written] = self.ids[: self.state.written]
        self.ids_array = array
        self.ids = array
        return 0

    cdef int forget_after(self, int64_t n) except -1 nogil:
        """Keeps the first n ids."""
        self.state.written = n
        return 0

    cdef list id_list(self, int64_t start, int64_t stop):
        """Ids `start` to `stop` as a list."""
        cdef list ids = fastlm_empty_id_list(stop - start)
        cdef int64_t first
        for first from start <= first < stop by LISTED_IDS:
            if first > start:
                PyErr_CheckSignals()
            fastlm_append_ids(ids, self.tables.ints, &self.ids[0] + first, min(LISTED_IDS, stop - first))
        return ids

    cdef object copy_ids(self, int64_t start, int64_t stop):
        """Ids `start` to `stop` as a new uint32 array."""
        cdef numpy.npy_intp n = stop - start
        # np.empty and a memoryview cost as much as encoding a short text
        copy = numpy.PyArray_EMPTY(1, &n, numpy.NPY_UINT32, 0)
        memcpy(numpy.PyArray_DATA(copy), &self.ids[0] + start, n * sizeof(uint32_t))
        return copy

    cdef object take_ids(self, int64_t n):
        """A uint32 array (n,) that begins with all ids written. A large one is given away instead of copied."""
        if n > self.ids.shape[0]:
            self._grow_ids(n)
        if n <= FIRST_IDS:
            return self.copy_ids(0, n)
        array = np.empty(FIRST_IDS, np.uint32)
        ids, self.ids_array = self.ids_array, array
        self.ids = array
        self.state.written = 0
        ids.resize(n, refcheck=False)
        return ids

    cdef const uint32_t *ids_pointer(self) except NULL:
        """The ids written, valid until the next one is."""
        return &self.ids[0]

    cdef int rest(self) except -1:
        """Forgets all ids, and frees the memory that an idle state does not keep."""
        self.state.written = 0
        self.is_stopped = False
        # to replace a memoryview takes as long as to encode two tokens
        if self.given_ends.shape[0] != ENCODE_BLOCK_ENDS:
            self.given_ends = self.ends
        if self.many_boundaries.shape[0] != FEW_BOUNDARIES:
            self.many_boundaries = self.few_boundaries
        if self.ids.shape[0] > IDLE_IDS:
            self._grow_ids(FIRST_IDS)
        if self.scratch.shape[0] > FIRST_IDS:
            self.scratch = np.empty(FASTLM_SCRATCH_WORDS, np.uint64)
        return 0


cdef object boundary_rows(boundaries):
    """A copy of int64 (k, 3) rows, which no other thread can change. Raises TypeError or ValueError for other
    objects."""
    if not isinstance(boundaries, np.ndarray):
        raise TypeError(f"boundaries must be an int64 array of shape (k, 3), got {type(boundaries).__name__}")
    rows = np.array(boundaries, order="C", subok=False)
    if rows.dtype != np.int64 or rows.ndim != 2 or rows.shape[1] != 3:
        raise ValueError(f"boundaries must be an int64 array of shape (k, 3), got {rows.dtype} {rows.shape}")
    return rows


cdef class IdSink:
    """Collects ids in an array that grows.

    Args:
        array: uint16 or uint32 (m,), contiguous. If it is too small, `array` becomes a larger one.
    """

    def __cinit__(self, array):
        if not isinstance(array, np.ndarray):
            raise TypeError(f"out must be a uint16 or uint32 array, got {type(array).__name__}")
        array = array.view(np.ndarray)
        if array.dtype not in (np.uint16, np.uint32) or array.ndim != 1 or not array.flags.c_contiguous:
            raise ValueError(
                f"out must be a contiguous uint16 or uint32 array with one dimension, got {array.dtype} {array.shape}")
        self.is_narrow, self.used = array.dtype == np.uint16, 0
        self.array, self.bytes = array, array.view(np.uint8)

    cdef int _grow(self, int64_t size) except -1:
        array = np.empty(size, self.array.dtype)
        array[: self.used] = self.array[: self.used]
        self.array, self.bytes = array, array.view(np.uint8)
        return 0

    cdef int write(self, const uint32_t *ids, int64_t n) except -1 nogil:
        """Appends n ids."""
        cdef uint16_t *narrow
        cdef int64_t k
        if self.bytes.shape[0] < (self.used + n) * (2 if self.is_narrow else 4):
            with gil:
                self._grow(self.used + max(n, self.used // 2))
        if not n:
            return 0
        if self.is_narrow:
            narrow = <uint16_t *>&self.bytes[0] + self.used
            for k in range(n):
                narrow[k] = <uint16_t>ids[k]
        else:
            memcpy(<uint32_t *>&self.bytes[0] + self.used, ids, n * sizeof(uint32_t))
        self.used += n
        return 0
