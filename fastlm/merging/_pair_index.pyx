"""The index of pairs of symbols: the count of each pair, and the list of words in which it occurred when it arose.

The index holds the pairs at or above a threshold. A list is complete when it is made, and the count of its pair only
falls afterwards (see _merge): a word of the list that has lost the pair since is skipped when the pair is merged.
"""
import os

import numpy as np

from libc.stdint cimport INT64_MAX, int32_t, int64_t, uint32_t, uint64_t
from libc.string cimport memmove

from fastlm._arrays import grown
from fastlm.merging._buckets cimport Buckets
from fastlm.merging._symbols cimport Symbols
from fastlm.merging._words cimport HEADER, Words, hash_of, key_of

cdef extern from *:
    """
    #define fastlm_trailing_zeros(word) __builtin_ctzll(word)
    """
    int fastlm_trailing_zeros(uint64_t word) nogil

cdef enum:
    # `build` limits the lists to one word for this many cells: a larger index means fewer readings of the words
    BUDGET = 3
    MIN_SLOTS = 1 << 12

cdef uint64_t MULTIPLIER = int.from_bytes(os.urandom(8)) | 1


cdef class PairIndex:
    """An empty index of pairs of up to `size` symbols, whose bytes `symbols` tells.

    Pairs that would make more than max_token_length bytes stay out.
    """

    def __cinit__(self, int64_t size, Symbols symbols not None, int64_t max_token_length):
        self.symbols, self.max_token_length = symbols, max_token_length
        self.threshold = INT64_MAX
        self.rows, self.slots = np.empty(ROW << 10, np.int64), np.empty(0, np.int32)
        self.lists = np.empty(0, np.uint32)
        self.found, self.given = np.empty(1 << 10, np.uint64), np.empty(1 << 10, np.int32)
        self.new_of_left, self.new_of_right = np.full(size, -1, np.int32), np.full(size, -1, np.int32)

    # --- reading the words ---

    cdef bint build(self, Words words, int64_t symbols, int64_t merges_left, int64_t min_count) except -1:
        """Indexes the most frequent pairs of the words, with a lower threshold than before.

        False if no pair occurs min_count times. The threshold is not lower than the remaining merges need: as many
        pairs as merges reach it, roughly.
        """
        cdef int64_t k
        self.lists = np.empty(0, np.uint32)
        self.pairs = self.news = self.lists_used = 0
        with nogil:
            words.close_gaps()
        cdef Buckets buckets = Buckets(words, symbols)
        if buckets.highest < min_count:
            return False
        self.threshold = max(
            min(buckets.lowest_threshold(words.used // BUDGET, 2 * merges_left), self.threshold // 2), min_count)
        buckets.mark(self.threshold)
        if buckets.side:
            with nogil:
                self._take_buckets(buckets)
            buckets.forget_sums()
        else:
            buckets.sums = None
            self._clear_slots(MIN_SLOTS)
            with nogil:
                self._find_pairs(words, buckets)
            buckets.forget_sums()
        self._clear_slots(self.news)
        with nogil:
            self._file_new_pairs()
            for k in range(self.pairs):
                buckets.mark_pair(self.rows[ROW * k + KEY])
            self._fill_lists(words, buckets)
        return True

    cdef int _take_buckets(self, Buckets buckets) except -1 nogil:
        """Makes a new pair of each frequent bucket of one pair."""
        cdef int64_t k
        for k in range(buckets.size):
            if buckets.sums[2 * k] >= self.threshold:
                self.new_pair(key_of(<int32_t>(k // buckets.side), <int32_t>(k % buckets.side)))
                self.rows[ROW * (self.news - 1) + COUNT] = buckets.sums[2 * k]
                self.rows[ROW * (self.news - 1) + LENGTH] = buckets.sums[2 * k + 1]
        return 0

    cdef int _find_pairs(self, Words words, Buckets buckets) except -1 nogil:
        """Makes a new pair of every pair in a frequent bucket, and counts it."""
        cdef int64_t word = 0, at, end, count, key, slot
        cdef uint64_t places
        while word < words.used:
            at, end = word + HEADER, word + HEADER + words.cells[word]
            count = words.count(word)
            while at + 1 < end:
                places = buckets.frequent_places(words, at, end)
                while places:
                    key = words.key_at(at + fastlm_trailing_zeros(places))
                    places &= places - 1
                    slot = self._slot_of(key)
                    if self.slots[slot] < 0:
                        self.slots[slot] = self.new_pair(key)
                        if 2 * self.news > self.mask:
                            self._widen_slots(self.news)
                            slot = self._slot_of(key)
                    self.count_new(self.slots[slot], word, count)
                    if self.rows[ROW * self.slots[slot] + COUNT] < 0:
                        raise_overflow()
                at += 64
            word = end
        return 0

    cdef int _fill_lists(self, Words words, Buckets buckets) except -1 nogil:
        """Lists the words of every pair of the index."""
        cdef int64_t word = 0, at, end, row, to
        cdef int32_t found
        cdef uint64_t places
        while word < words.used:
            at, end = word + HEADER, word + HEADER + words.cells[word]
            while at + 1 < end:
                places = buckets.frequent_places(words, at, end)
                while places:
                    found = self.slots[self._slot_of(words.key_at(at + fastlm_trailing_zeros(places)))]
                    places &= places - 1
                    if found < 0:
                        continue
                    row = ROW * found
                    to = self.rows[row + LIST] + self.rows[row + LENGTH]
                    if self.rows[row + LENGTH] == 0 or self.lists[to - 1] != word:
                        self.lists[to] = <uint32_t>word
                        self.rows[row + LENGTH] += 1
                at += 64
            word = end
        return 0

    # --- one merge: the caller notes each new pair in each word, then ends the merge ---

    cdef int end_merge(self, int64_t row, int32_t new) except -1 nogil:
        """Lowers the counts of the pairs that merging the pair of a row to `new` took apart, and adds the new pairs."""
        cdef int64_t k, at, key = self.rows[ROW * row + KEY]
        cdef int32_t a = <int32_t>(key >> 32), b = <int32_t>key, x, y
        for k in range(self.news):
            at = ROW * (self.pairs + k)
            x, y = <int32_t>(self.rows[at + KEY] >> 32), <int32_t>self.rows[at + KEY]
            if x == new:
                self._lower(b, a if y == new else y, self.rows[at + COUNT])
            else:
                self._lower(x, a, self.rows[at + COUNT])
            self.new_of_left[x] = self.new_of_right[y] = -1
        self.rows[ROW * row + COUNT] = 0
        self._file_new_pairs()
        for k in range(self.found_size):
            if self.given[self.found[k] >> 32] >= 0:
                at = ROW * <int64_t>self.given[self.found[k] >> 32]
                self.lists[self.rows[at + LIST] + self.rows[at + LENGTH]] = <uint32_t>self.found[k]
                self.rows[at + LENGTH] += 1
        self.found_size = 0
        return 0

    cdef inline int _lower(self, int32_t a, int32_t b, int64_t count) except -1 nogil:
        """Lowers the count of a pair; a pair that is not in the index is below the threshold."""
        cdef int32_t row = self.slots[self._slot_of(key_of(a, b))]
        if row >= 0:
            self.rows[ROW * row + COUNT] -= count
        return 0

    cdef int _file_new_pairs(self) except -1 nogil:
        """Gives the new pairs that may be merged a row and memory for their lists, and drops the others."""
        cdef int64_t k, row, at, needed = 0, first = self.pairs, news = self.news
        if news > self.given.shape[0]:
            self._widen_given()
        for k in range(news):
            row = ROW * (first + k)
            self.given[k] = self._may_be_merged(row) - 1
            if self.given[k] >= 0:
                needed += self.rows[row + LENGTH]
        if self.lists_used + needed > self.lists.shape[0]:
            self._reserve_lists(needed)
        for k in range(news):
            if self.given[k] < 0:
                continue
            row, at = ROW * (first + k), ROW * self.pairs
            self.given[k] = <int32_t>self.pairs
            self.rows[at + KEY] = self.rows[row + KEY]
            self.rows[at + COUNT] = self.rows[row + COUNT]
            self.rows[at + LIST] = self.lists_used
            self.lists_used += self.rows[row + LENGTH]
            self.rows[at + LENGTH] = 0
            if 2 * self.pairs > self.mask:
                self._widen_slots(self.pairs)
            self.slots[self._slot_of(self.rows[at + KEY])] = <int32_t>self.pairs
            self.pairs += 1
        self.news = 0
        return 0

    cdef inline bint _may_be_merged(self, int64_t row) except -1 nogil:
        cdef int64_t key = self.rows[row + KEY]
        return self.rows[row + COUNT] >= self.threshold and (
            self.symbols.size(<int32_t>(key >> 32)) + self.symbols.size(<int32_t>key) <= self.max_token_length)

    cdef inline int64_t _slot_of(self, int64_t key) except -1 nogil:
        """The slot of the pair, or the empty one that it would take."""
        cdef int64_t slot = <int64_t>(hash_of(key, MULTIPLIER) & <uint64_t>self.mask)
        while self.slots[slot] >= 0 and self.rows[ROW * self.slots[slot]] != key:
            slot = (slot + 1) & self.mask
        return slot

    # --- growth: allocate first, then replace ---

    cdef int _clear_slots(self, int64_t pairs) except -1:
        cdef int64_t size = MIN_SLOTS
        while size < 3 * pairs:
            size *= 2
        self.slots = np.full(size, -1, np.int32)
        self.mask = size - 1
        return 0

    cdef int _widen_slots(self, int64_t rows) except -1 with gil:
        """More slots; they hold the first `rows` rows."""
        cdef int64_t k
        self._clear_slots(rows)
        for k in range(rows):
            self.slots[self._slot_of(self.rows[ROW * k + KEY])] = <int32_t>k
        return 0

    cdef int _reserve_lists(self, int64_t needed) except -1 with gil:
        """Moves together the lists of pairs that may still be merged, and grows the array if that is not enough."""
        cdef int64_t k, row, length, at = 0
        for k in range(self.pairs):
            row = ROW * k
            length = self.rows[row + LENGTH] if self.rows[row + COUNT] >= self.threshold else 0
            if length:
                memmove(&self.lists[at], &self.lists[self.rows[row + LIST]], length * sizeof(uint32_t))
            self.rows[row + LIST] = at
            self.rows[row + LENGTH] = length
            at += length
        self.lists_used = at
        if 8 * (at + needed) > 7 * self.lists.shape[0]:
            self.lists = grown(self.lists[:at], (at + needed) + (at + needed) // 4)
        return 0

    cdef int reserve_found(self, int64_t size) except -1 nogil:
        """Makes space for the words of `size` new pairs, before a merge."""
        if size > self.found.shape[0]:
            self._renew_found(size)
        return 0

    cdef int _renew_found(self, int64_t size) except -1 with gil:
        """An empty array takes memory only where it is used; one that grows would exist twice."""
        self.found = np.empty(size, np.uint64)
        return 0

    cdef int _widen_found(self) except -1 with gil:
        self.found = grown(self.found, self.found.shape[0] + self.found.shape[0] // 2)
        return 0

    cdef int _widen_rows(self) except -1 with gil:
        self.rows = grown(self.rows, self.rows.shape[0] + self.rows.shape[0] // 2 // ROW * ROW)
        return 0

    cdef int _widen_given(self) except -1 with gil:
        self.given = np.empty(self.news + self.news // 2, np.int32)
        return 0


cdef int raise_overflow() except -1 with gil:
    raise ValueError("the count of a pair exceeds 2^63 - 1")
