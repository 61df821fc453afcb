"""Text to token ids with one vocabulary: the calls that Python makes."""
import numpy as np

cimport cython
from libc.stdint cimport int64_t, uint8_t, uintptr_t

from fastlm.encoding._state cimport EncodeState, IdSink, boundary_rows
from fastlm.encoding._tables cimport EncodeTables, fastlm_prefetch_text
from fastlm.text._token_finder cimport TokenFinder
from fastlm.text._utf8 cimport utf8_of


cdef class Encoder:
    """Encodes with one vocabulary. Any number of threads may share it.

    The tables never change. A call changes only an EncodeState: it takes an idle one, or makes one if none is
    idle, and gives it back at the end, also if it raises. The pretoken cache of a new state has the
    vocabulary's first tokens.

    Every method takes a str, UTF-8 bytes, or Utf8, and the boundaries in it: a TokenFinder that finds them; or
    int64 (k, 3) rows of start and end in bytes and an id, in order, where the id -1 adds no id; or None. Every method
    raises TypeError for other types, and ValueError for text that is not UTF-8, for a byte without an id, and for
    rows that are not in order, not inside the text, or without an id of the vocabulary.

    Args:
        vocabulary: A Vocabulary.
        kernel: The result of kernels.merge.merge_kernel().
        whole_tokens: int64 (k,): ids that a pretoken of just their bytes becomes, whatever the merges say.

    Raises:
        ValueError: The vocabulary's merges or tokens cannot be looked up.
    """

    def __cinit__(self, vocabulary, kernel, whole_tokens):
        self.tables = EncodeTables(vocabulary, kernel, whole_tokens)
        self.idle, self.num_states = [], 0

    # --- calls ---

    def encode(self, text, boundaries=None) -> list[int]:
        """The ids of a text as a list."""
        cdef EncodeState state = self.take(0)
        try:
            return state.id_list(0, state.append(text, boundaries))
        finally:
            self.give_back(state)

    def encode_to_numpy(self, text, boundaries=None):
        """The ids of a text as a uint32 array (n_ids,)."""
        cdef EncodeState state = self.take(0)
        try:
            return state.take_ids(state.append(text, boundaries))
        finally:
            self.give_back(state)

    def encode_batch_flat(self, texts, boundaries=None):
        """The ids of all texts in one array.

        Args:
            texts: Any iterable of texts.
            boundaries: The boundaries of every text, or a list with the boundaries of each one.

        Returns:
            ids: uint32 (n_ids,).
            offsets: int64 (n_texts + 1,): where the ids of each text begin, and where the ids of the last one end.
        """
        cdef int64_t k, size = 0, n_texts
        cdef list items = exact_list(texts)
        cdef list each = exact_list(boundaries) if isinstance(boundaries, list) else None
        cdef int64_t[:, ::1] table = text_table(items)
        n_texts = table.shape[0]
        if each is not None and len(each) != n_texts:
            raise ValueError(f"expected boundaries of {n_texts} texts, got {len(each)}")
        offsets = np.zeros(n_texts + 1, np.int64)
        cdef int64_t[::1] ends = offsets
        for k in range(n_texts):
            size += table[k, 1]
        cdef TokenFinder finder
        cdef EncodeState state = self.take(0)
        try:
            state.reserve_for(size)
            if self.has_scanner() and (boundaries is None or isinstance(boundaries, TokenFinder)):
                finder = boundaries
                with nogil:  # for all texts: threads would wait for each other if each text took the GIL
                    for k in range(n_texts):
                        if k + 1 < n_texts:
                            fastlm_prefetch_text(<const uint8_t *><uintptr_t>table[k + 1, 0], table[k + 1, 1])
                        state.start(<const uint8_t *><uintptr_t>table[k, 0], table[k, 1], finder, NULL, 0)
                        state.run(0)
                        ends[k + 1] = state.written()
            else:
                for k in range(n_texts):
                    ends[k + 1] = state.append(items[k], boundaries if each is None else each[k])
            state.note_ids_of(size, state.written())
            return state.take_ids(state.written()), offsets
        finally:
            self.give_back(state)

    def encode_upto(self, text, int64_t limit, boundaries=None) -> list[int]:
        """The first `limit` ids, or all if there are fewer. Text after them is not encoded."""
        if limit < 0:
            raise ValueError(f"limit must not be negative, got {limit}")
        cdef EncodeState state = self.take(0)
        try:
            return state.id_list(0, min(limit, state.append_up_to(text, boundaries, limit)))
        finally:
            self.give_back(state)

    def encode_between(self, text, boundaries, out):
        """The ids of a text, written into an array.

        Args:
            text: See Encoder.
            boundaries: int64 (k, 3); see Encoder.
            out: uint16 or uint32 (m,), contiguous.

        Returns:
            ids: (n_ids,): a view of the beginning of `out`, or of a larger array if `out` is too small.
            ids_before: int64 (k,): the number of ids before each boundary.
        """
        cdef IdSink sink = IdSink(out)
        if sink.is_narrow and self.tables.num_ids() > 1 << 16:
            raise ValueError(f"uint16 does not hold the ids of {self.tables.num_ids()} tokens")
        boundaries = boundary_rows(boundaries)
        ids_before = np.empty(len(boundaries), np.int64)
        cdef EncodeState state = self.take(0)
        try:
            state.pass_on(text, boundaries, sink, ids_before)
            return sink.array[: sink.used], ids_before
        finally:
            self.give_back(state)

    def checked_boundaries(self, boundaries, int64_t n):
        """A copy of the boundaries of a text of n bytes, int64 (k, 3). Raises as Encoder says."""
        cdef int64_t[:, ::1] rows = boundary_rows(boundaries)
        if rows.shape[0]:
            self.tables.check_boundaries(&rows[0, 0], rows.shape[0], n)
        return np.asarray(rows)

    def count(self, text, boundaries=None) -> int:
        """The number of ids, in memory that does not depend on the text."""
        cdef EncodeState state = self.take(0)
        try:
            return state.pass_on(text, boundaries, None, None)
        finally:
            self.give_back(state)

    # --- states ---

    cdef EncodeState take(self, int64_t number):
        """The state of this number if it is idle, else another idle one, else a new one."""
        cdef Py_ssize_t k
        cdef EncodeState state = None
        with cython.critical_section(self):  # nothing where there is a GIL
            if number < len(self.idle) and self.idle[number] is not None:
                state, self.idle[number] = self.idle[number], None
            else:
                for k in range(len(self.idle)):
                    if self.idle[k] is not None:
                        state, self.idle[k] = self.idle[k], None
                        break
                else:
                    number = self.num_states
                    self.num_states += 1
                    self.idle.append(None)
        return self._new_state(number) if state is None else state

    cdef int give_back(self, EncodeState state) except -1:
        """Makes a state idle."""
        try:
            state.rest()
        finally:
            self.idle[state.number] = state
        return 0

    cdef EncodeState _new_state(self, int64_t number):
        return EncodeState(self.tables, self.tables.tokens.new_cache(), number)

    cdef bint has_scanner(self):
        """Whether texts are split without the GIL."""
        return self.tables.scan != NULL


cdef class PlainTexts:
    """Encodes texts whose boundaries one finder finds. Its methods take nothing but the text, so a short text costs
    little more than its ids.

    Args:
        encoder: Does the work, and its errors are raised.
        finder: Finds the boundaries in every text.
    """

    cdef Encoder encoder
    cdef TokenFinder finder

    def __cinit__(self, Encoder encoder not None, TokenFinder finder not None):
        self.encoder, self.finder = encoder, finder

    def encode(self, text) -> list[int]:
        """The ids of a text as a list."""
        cdef EncodeState state = self.encoder.take(0)
        try:
            return state.id_list(0, state.append(text, self.finder))
        finally:
            self.encoder.give_back(state)

    def encode_to_numpy(self, text):
        """The ids of a text as a uint32 array (n_ids,)."""
        cdef EncodeState state = self.encoder.take(0)
        try:
            return state.take_ids(state.append(text, self.finder))
        finally:
            self.encoder.give_back(state)


cdef list exact_list(items):
    """A list of the items. Does not use the length that a subclass of list reports."""
    if type(items) is list:
        return list(items)
    return [item for item in items]


cdef int64_t[:, ::1] text_table(list texts):
    """Address and length of the UTF-8 of each text. Replaces the texts by the objects that own the UTF-8."""
    cdef Py_ssize_t n = 0, k
    cdef const uint8_t *start = NULL
    cdef int64_t[:, ::1] table = np.empty((len(texts), 2), np.int64)
    for k in range(table.shape[0]):
        texts[k] = utf8_of(texts[k], &start, &n)
        table[k, 0], table[k, 1] = <int64_t><uintptr_t>start, n
    return table
