cimport cython
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t

from fastlm.merging._buckets cimport Buckets
from fastlm.merging._symbols cimport Symbols
from fastlm.merging._words cimport Words, key_of

cdef enum:
    # cells of a pair's row: its key, its count, where its list of words starts, and how long that is
    KEY = 0
    COUNT = 1
    LIST = 2
    LENGTH = 3
    ROW = 4


@cython.final
cdef class PairIndex:
    # rows of pairs, then rows of new pairs, whose last two cells are the last word noted and the number of words
    cdef int64_t[::1] rows
    cdef int64_t pairs, news
    # open addressing: the row of a pair, or -1
    cdef int32_t[::1] slots
    cdef int64_t mask
    cdef uint32_t[::1] lists
    cdef int64_t lists_used, threshold, max_token_length
    cdef Symbols symbols
    # (number of the new pair << 32 | word) for each word in which a new pair arose
    cdef uint64_t[::1] found
    cdef int64_t found_size
    # the row that each new pair received, or -1
    cdef int32_t[::1] given
    # number of the new pair (x, new) and (new, x), or -1
    cdef int32_t[::1] new_of_left, new_of_right

    cdef bint build(self, Words words, int64_t symbols, int64_t merges_left, int64_t min_count) except -1
    cdef int reserve_found(self, int64_t size) except -1 nogil
    cdef int end_merge(self, int64_t row, int32_t new) except -1 nogil
    cdef int _widen_rows(self) except -1 with gil
    cdef int _widen_found(self) except -1 with gil
    cdef int _take_buckets(self, Buckets buckets) except -1 nogil
    cdef int _find_pairs(self, Words words, Buckets buckets) except -1 nogil
    cdef int _fill_lists(self, Words words, Buckets buckets) except -1 nogil
    cdef int _lower(self, int32_t a, int32_t b, int64_t count) except -1 nogil
    cdef int _file_new_pairs(self) except -1 nogil
    cdef bint _may_be_merged(self, int64_t row) except -1 nogil
    cdef int64_t _slot_of(self, int64_t key) except -1 nogil
    cdef int _clear_slots(self, int64_t pairs) except -1
    cdef int _widen_slots(self, int64_t rows) except -1 with gil
    cdef int _reserve_lists(self, int64_t needed) except -1 with gil
    cdef int _renew_found(self, int64_t size) except -1 with gil
    cdef int _widen_given(self) except -1 with gil

    cdef inline int32_t new_pair(self, int64_t key) except -1 nogil:
        """The number of a new pair."""
        cdef int64_t number = self.news, row = ROW * (self.pairs + number)
        if row == self.rows.shape[0]:
            self._widen_rows()
        self.rows[row + KEY] = key
        self.rows[row + COUNT] = self.rows[row + LENGTH] = 0
        self.rows[row + LIST] = -1
        self.news += 1
        return <int32_t>number

    cdef inline int32_t pair_before(self, int32_t symbol, int32_t new) except -1 nogil:
        """The number of the new pair (symbol, new)."""
        if self.new_of_left[symbol] < 0:
            self.new_of_left[symbol] = self.new_pair(key_of(symbol, new))
        return self.new_of_left[symbol]

    cdef inline int32_t pair_after(self, int32_t new, int32_t symbol) except -1 nogil:
        """The number of the new pair (new, symbol)."""
        if self.new_of_right[symbol] < 0:
            self.new_of_right[symbol] = self.new_pair(key_of(new, symbol))
        return self.new_of_right[symbol]

    cdef inline bint count_new(self, int64_t number, int64_t word, int64_t count) except -1 nogil:
        """Counts one more occurrence of a new pair in a word; true if it is the first one in the word."""
        cdef int64_t row = ROW * (self.pairs + number)
        self.rows[row + COUNT] += count
        if self.rows[row + LIST] == word:
            return False
        self.rows[row + LIST] = word
        self.rows[row + LENGTH] += 1
        return True

    cdef inline int note(self, int64_t number, int64_t word, int64_t count) except -1 nogil:
        """Counts one more occurrence of a new pair in a word, and keeps the word for the list of the pair."""
        if self.count_new(number, word, count):
            if self.found_size == self.found.shape[0]:
                self._widen_found()
            self.found[self.found_size] = <uint64_t>number << 32 | <uint64_t>word
            self.found_size += 1
        return 0
