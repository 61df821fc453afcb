"""Merges that are known already, made in words: where training goes on from a vocabulary, or from a checkpoint.

Merge after merge as they were learned, each in the words that a list of its own names: those where its pair stood from
the start, and those where an earlier merge made it. So the time is that of learning the merges, without counting pairs
or finding the most frequent.
"""
import os

import numpy as np

from libc.stdint cimport int32_t, int64_t, uint64_t

from fastlm._arrays import grown

cdef enum:
    FIRST_MERGED = 256

cdef uint64_t MULTIPLIER = int.from_bytes(os.urandom(8)) | 1


cdef class KnownMerges:
    """Merge k makes symbol 256 + k of symbols left[k] and right[k], both int32 (n,), which are below 256 + k.

    Raises ValueError where they are not, or a pair stands twice.
    """
    cdef readonly object left, right
    cdef const int32_t[::1] lefts, rights
    # number of the merge of a pair, by open addressing, or -1
    cdef int32_t[::1] slots
    cdef int64_t mask
    # for each merge the last node of its list; a node is a word and the node before it
    cdef int32_t[::1] last
    cdef int64_t[:, ::1] nodes
    cdef int64_t used

    def __cinit__(self, left not None, right not None):
        cdef int64_t k, size = 16
        self.left, self.right = left, right
        self.lefts, self.rights = left, right
        if self.lefts.shape[0] != self.rights.shape[0]:
            raise ValueError("left and right must be equally long")
        while size < 3 * self.lefts.shape[0]:
            size *= 2
        self.slots, self.mask = np.full(size, -1, np.int32), size - 1
        self.last = np.full(self.lefts.shape[0], -1, np.int32)
        self.nodes = np.empty((1 << 10, 2), np.int64)
        for k in range(self.lefts.shape[0]):
            if not (0 <= self.lefts[k] < FIRST_MERGED + k and 0 <= self.rights[k] < FIRST_MERGED + k):
                raise ValueError(f"merge {k} joins symbols {self.lefts[k]} and {self.rights[k]}, not two below {256 + k}")
            if self._merge_of(self.lefts[k], self.rights[k]) >= 0:
                raise ValueError(f"merge {k} repeats an earlier one")
            self.slots[self._slot(self.lefts[k], self.rights[k])] = <int32_t>k

    def __len__(self):
        return self.lefts.shape[0]

    def make(self, int32_t[::1] cells not None, int64_t start, int64_t end, int64_t header):
        """Makes all merges in the words whose records lie in cells[start:end], and moves these together.

        A MemoryError leaves cells[start:end] undefined and this object as it was.

        A record is the number of symbols, `header` - 1 more cells, and the symbols. Returns where the last one ends.
        """
        cdef int64_t word, at, k, node
        if not 0 <= start <= end <= cells.shape[0]:
            raise ValueError(f"cells {start}:{end} of {cells.shape[0]}")
        self.used = 0
        try:
            with nogil:
                word = start
                while word < end:
                    for at in range(word + header, word + header + cells[word] - 1):
                        self._note(word, self._merge_of(cells[at], cells[at + 1]))
                    word += header + cells[word]
                for k in range(self.lefts.shape[0]):
                    node = self.last[k]
                    while node >= 0:
                        self._merge(cells, self.nodes[node, 0], header, <int32_t>k)
                        node = self.nodes[node, 1]
                    self.last[k] = -1
                end = self._close_gaps(cells, start, end, header)
        except:
            self.last[:] = -1
            raise
        return end

    cdef int _merge(self, int32_t[::1] cells, int64_t word, int64_t header, int32_t k) except -1 nogil:
        cdef int64_t first = word + header, end = first + cells[word], i = first, to = first
        cdef int32_t a = self.lefts[k], b = self.rights[k], new = FIRST_MERGED + k
        while i < end:
            if cells[i] == a and i + 1 < end and cells[i + 1] == b:
                cells[to] = new
                i += 2
            else:
                cells[to] = cells[i]
                i += 1
            to += 1
        if to == end:
            return 0
        cells[word] = <int32_t>(to - first)
        for i in range(to, end):
            cells[i] = -1
        for i in range(first, to - 1):
            if cells[i] == new or cells[i + 1] == new:
                self._note(word, self._merge_of(cells[i], cells[i + 1]))
        return 0

    cdef int64_t _close_gaps(self, int32_t[::1] cells, int64_t start, int64_t end, int64_t header) except -1 nogil:
        cdef int64_t word = start, to = start, k, size
        while word < end:
            size = header + cells[word]
            for k in range(size):
                cells[to + k] = cells[word + k]
            to += size
            word += size
            while word < end and cells[word] < 0:
                word += 1
        return to

    cdef inline int _note(self, int64_t word, int32_t k) except -1 nogil:
        if k < 0:
            return 0
        if self.used == self.nodes.shape[0]:
            self._widen_nodes()
        self.nodes[self.used, 0], self.nodes[self.used, 1] = word, self.last[k]
        self.last[k] = <int32_t>self.used
        self.used += 1
        return 0

    cdef int _widen_nodes(self) except -1 with gil:
        if self.used >= <int64_t>np.iinfo(np.int32).max:
            raise MemoryError("more than 2^31 places to merge in one part of the words")
        self.nodes = grown(np.asarray(self.nodes).reshape(-1), 4 * self.used).reshape(-1, 2)
        return 0

    cdef inline int64_t _slot(self, int32_t a, int32_t b) except -1 nogil:
        """Slot of the pair, or the empty one where it belongs."""
        cdef uint64_t product = <uint64_t>(<int64_t>a << 32 | b) * MULTIPLIER
        cdef int64_t slot = <int64_t>((product >> 32) & <uint64_t>self.mask), k = self.slots[slot]
        while k >= 0 and (self.lefts[k] != a or self.rights[k] != b):
            slot = (slot + 1) & self.mask
            k = self.slots[slot]
        return slot

    cdef inline int32_t _merge_of(self, int32_t a, int32_t b) except -2 nogil:
        return self.slots[self._slot(a, b)]
