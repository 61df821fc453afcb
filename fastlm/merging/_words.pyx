"""Distinct words as records in one int32 array: number of symbols, count (two cells), symbols.

A word only shrinks, in place; -1 fills the cells that it no longer uses.
"""
import numpy as np

from libc.stdint cimport int32_t, int64_t, uint8_t
from libc.string cimport memcpy, memmove

HEADER_CELLS = HEADER


def cells_of(const int64_t[::1] starts not None):
    """The number of cells that words take; a word of less than two bytes takes none.

    Args:
        starts: Start of each word in bytes, and the end of the last one, int64 (n + 1,).
    """
    cdef int64_t word, cells = 0
    for word in range(starts.shape[0] - 1):
        if starts[word + 1] - starts[word] >= 2:
            cells += HEADER + starts[word + 1] - starts[word]
    return cells


cdef class Words:
    """The distinct words of a training, in an array of `cells` cells (see `cells_of`).

    Args:
        cells: Size of the array.
        byte_symbols: The symbol of each byte, a permutation of 0..255, int32 (256,).

    Raises:
        ValueError: An argument does not have this form.
    """

    def __cinit__(self, int64_t cells, const int32_t[::1] byte_symbols not None):
        if sorted(byte_symbols) != list(range(FIRST_MERGED)):
            raise ValueError("byte_symbols must be a permutation of 0..255")
        if not 0 <= cells <= <int64_t>np.iinfo(np.uint32).max:
            raise ValueError(f"the distinct words take {cells} cells, more than 2^32")
        self.cells = np.empty(cells, np.int32)
        self.byte_symbols = byte_symbols.copy()

    def add(self, const uint8_t[::1] text not None, const int64_t[::1] starts not None,
            const int64_t[::1] counts not None):
        """Adds the words text[starts[w]:starts[w + 1]], each counts[w] times, as records of bytes.

        Raises:
            ValueError: The starts do not ascend from 0 to len(text), a count is less than 1, or the array is full.
        """
        cdef int64_t k
        if starts.shape[0] != counts.shape[0] + 1 or starts[0] != 0 or starts[counts.shape[0]] != text.shape[0]:
            raise ValueError("starts must begin with 0, end with len(text) and have one more entry than counts")
        for k in range(counts.shape[0]):
            if starts[k + 1] < starts[k] or counts[k] < 1:
                raise ValueError("starts must ascend and counts must be at least 1")
        if cells_of(starts) > self.cells.shape[0] - self.used:
            raise ValueError(f"the words do not fit into {self.cells.shape[0]} cells")
        with nogil:
            self._append(text, starts, counts)

    cdef int _append(self, const uint8_t[::1] text, const int64_t[::1] starts,
                     const int64_t[::1] counts) except -1 nogil:
        cdef int64_t word, k, at = self.used
        for word in range(counts.shape[0]):
            if starts[word + 1] - starts[word] < 2:
                continue
            self.cells[at] = <int32_t>(starts[word + 1] - starts[word])
            memcpy(&self.cells[at + 1], &counts[word], sizeof(int64_t))
            at += HEADER
            for k in range(starts[word], starts[word + 1]):
                self.cells[at] = self.byte_symbols[text[k]]
                at += 1
        self.used = at
        return 0

    cdef int close_gaps(self) except -1 nogil:
        """Moves the records together and drops words of one symbol. All indices of words become invalid."""
        cdef int64_t word = 0, after, at = 0, size
        while word < self.used:
            size = HEADER + self.cells[word]
            after = word + size
            while after < self.used and self.cells[after] < 0:
                after += 1
            if size > HEADER + 1:
                if at < word:
                    memmove(&self.cells[at], &self.cells[word], size * sizeof(int32_t))
                at += size
            word = after
        self.used = at
        return 0
