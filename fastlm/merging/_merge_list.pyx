"""A merge list: merges that are known already, applied to words.

Training continues from the merges of a vocabulary or a checkpoint. The merges are applied one after the other, as they
were learned. Each has a list of the words in which its pair occurs, either from the start or because an earlier merge
made it. So the time is that of learning the merges, without counting pairs or finding the most frequent one.
"""
import os

import numpy as np

from libc.stdint cimport int32_t, int64_t, uint64_t

from fastlm._arrays import grown
from fastlm.merging._words cimport FIRST_MERGED, HEADER, key_of

cdef uint64_t MULTIPLIER = int.from_bytes(os.urandom(8)) | 1


cdef class MergeList:
    """Merges on symbols: merge k joins symbols left[k] and right[k] to symbol 256 + k. `len()` is their number.

    Args:
        left: int32 (n,); left[k] is below 256 + k.
        right: int32 (n,), below 256 + k also.

    Raises:
        ValueError: A symbol is out of range, or a pair occurs twice.
    """
    cdef readonly object left, right
    cdef const int32_t[::1] lefts, rights
    # open addressing: number of the merge of a pair, or -1
    cdef int32_t[::1] slots
    cdef int64_t mask
    # the last node of the list of each merge; a node is a word and the node before it
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
                raise ValueError(
                    f"merge {k} joins symbols {self.lefts[k]} and {self.rights[k]}, not two below {FIRST_MERGED + k}"
                )
            if self._merge_of(self.lefts[k], self.rights[k]) >= 0:
                raise ValueError(f"merge {k} repeats an earlier one")
            self.slots[self._slot(self.lefts[k], self.rights[k])] = <int32_t>k

    def __len__(self):
        return self.lefts.shape[0]

    def apply(self, int32_t[::1] cells not None, int64_t start, int64_t end):
        """Applies all merges to the words whose records (see _words) are in cells[start:end].

        Moves the records together and returns where the last one ends. A MemoryError leaves cells[start:end] undefined
        and this object as it was.

        Raises:
            ValueError: The array has no such cells.
        """
        cdef int64_t word, at, k, node
        if not 0 <= start <= end <= cells.shape[0]:
            raise ValueError(f"cells {start}:{end} of {cells.shape[0]}")
        self.used = 0
        try:
            with nogil:
                word = start
                while word < end:
                    for at in range(word + HEADER, word + HEADER + cells[word] - 1):
                        self._note(word, self._merge_of(cells[at], cells[at + 1]))
                    word += HEADER + cells[word]
                for k in range(self.lefts.shape[0]):
                    node = self.last[k]
                    while node >= 0:
                        self._merge(cells, self.nodes[node, 0], <int32_t>k)
                        node = self.nodes[node, 1]
                    self.last[k] = -1
                end = self._close_gaps(cells, start, end)
        except:
            self.last[:] = -1
            raise
        return end

    cdef int _merge(self, int32_t[::1] cells, int64_t word, int32_t k) except -1 nogil:
        cdef int64_t first = word + HEADER, end = first + cells[word], i = first, to = first
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

    cdef int64_t _close_gaps(self, int32_t[::1] cells, int64_t start, int64_t end) except -1 nogil:
        cdef int64_t word = start, to = start, k, size
        while word < end:
            size = HEADER + cells[word]
            for k in range(size):
                cells[to + k] = cells[word + k]
            to += size
            word += size
            while word < end and cells[word] < 0:
                word += 1
        return to

    cdef inline int _note(self, int64_t word, int32_t k) except -1 nogil:
        """Adds a word to the list of merge k, if k is not -1."""
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
        """The slot of the pair, or the empty one that it would take."""
        cdef uint64_t product = <uint64_t>key_of(a, b) * MULTIPLIER
        cdef int64_t slot = <int64_t>((product >> 32) & <uint64_t>self.mask), k = self.slots[slot]
        while k >= 0 and (self.lefts[k] != a or self.rights[k] != b):
            slot = (slot + 1) & self.mask
            k = self.slots[slot]
        return slot

    cdef inline int32_t _merge_of(self, int32_t a, int32_t b) except -2 nogil:
        """The number of the merge of the pair, or -1."""
        return self.slots[self._slot(a, b)]
