"""The heap of pairs, ordered by count and tie-break rule.

The count of an entry is that of its pair when it was pushed. Counts only fall, so it is an upper bound, which
`correct_top` corrects when the entry reaches the top.
"""
import numpy as np

from libc.stdint cimport int32_t, int64_t

from fastlm._arrays import grown
from fastlm.merging._pair_index cimport COUNT, KEY, ROW, PairIndex
from fastlm.merging._symbols cimport Symbols


cdef class PairHeap:
    """An empty heap of pairs of an index.

    Among pairs of equal count comes first the one with the smallest symbols if smallest_symbols, else the one whose two
    byte strings are lexicographically greatest.
    """

    def __cinit__(self, PairIndex index not None, Symbols symbols not None, bint smallest_symbols):
        self.index, self.symbols, self.smallest_symbols = index, symbols, smallest_symbols
        self.counts, self.rows = np.empty(1 << 10, np.int64), np.empty(1 << 10, np.int32)

    cdef int push(self, int32_t row) except -1 nogil:
        """Adds the pair of a row of the index."""
        cdef int64_t hole = self.size, parent, count = self.index.rows[ROW * row + COUNT]
        if hole == self.rows.shape[0]:
            self._widen()
        self.size += 1
        while hole:
            parent = (hole - 1) // 2
            if not self._before(count, row, self.counts[parent], self.rows[parent]):
                break
            self.counts[hole] = self.counts[parent]
            self.rows[hole] = self.rows[parent]
            hole = parent
        self.counts[hole] = count
        self.rows[hole] = row
        return 0

    cdef bint correct_top(self) except -1 nogil:
        """Brings the pair to merge next to the top; false if no pair reaches the threshold of the index."""
        cdef int64_t now
        cdef int32_t row
        while self.size:
            row = self.rows[0]
            now = self.index.rows[ROW * row + COUNT]
            if now == self.counts[0]:
                return True
            if now >= self.index.threshold:
                self._replace_top(now, row)
            else:
                self.size -= 1
                if self.size:
                    self._replace_top(self.counts[self.size], self.rows[self.size])
        return False

    cdef inline bint _before(self, int64_t count, int32_t row, int64_t other_count, int32_t other) except -1 nogil:
        """Whether (count, row) is merged before (other_count, other)."""
        cdef int order
        cdef int64_t key, other_key
        if count != other_count:
            return count > other_count
        key, other_key = self.index.rows[ROW * row + KEY], self.index.rows[ROW * other + KEY]
        if self.smallest_symbols:
            return key < other_key
        order = self.symbols.compare(<int32_t>(key >> 32), <int32_t>(other_key >> 32))
        if order == 0:
            order = self.symbols.compare(<int32_t>key, <int32_t>other_key)
        return order > 0

    cdef int _replace_top(self, int64_t count, int32_t row) except -1 nogil:
        cdef int64_t hole = 0, child = 1
        while child < self.size:
            if child + 1 < self.size and self._before(self.counts[child + 1], self.rows[child + 1],
                                                      self.counts[child], self.rows[child]):
                child += 1
            if self._before(count, row, self.counts[child], self.rows[child]):
                break
            self.counts[hole] = self.counts[child]
            self.rows[hole] = self.rows[child]
            hole = child
            child = 2 * child + 1
        self.counts[hole] = count
        self.rows[hole] = row
        return 0

    cdef int _widen(self) except -1 with gil:
        size = self.size + self.size // 2
        self.counts, self.rows = grown(self.counts, size), grown(self.rows, size)
        return 0
