"""Sorted run files of (pretoken, count): their records, and reading several files as one.

A run file holds one record for each distinct pretoken, sorted by the bytes of the pretokens: the length, the bytes and
the count. Numbers are LEB128: seven bits a byte, the lowest first, the high bit set where more bytes follow. The reader
trusts nothing: a length, a count, an order, a size or a final checksum that is not right is an error.
"""
import zlib

import numpy as np

from libc.stdint cimport INT64_MAX, int32_t, int64_t, uint8_t, uint64_t
from libc.string cimport memcpy, memmove

from fastlm.merging._words cimport HEADER

cdef extern from "bpe_training/sort_entries.hpp" nogil:
    enum:
        FASTLM_ENTRY_WORDS
    void fastlm_sort_entries(uint64_t *words, int64_t count, const uint8_t *arena)
    int fastlm_compare(const uint8_t *a, int64_t a_length, const uint8_t *b, int64_t b_length)

cdef enum:
    # bytes of the longest number
    NUMBER = 10


def sort_entries(uint64_t[::1] entries not None, const uint8_t[::1] arena not None):
    """Sorts the entries of a counter by the bytes of their pretokens."""
    if entries.shape[0] >= 2 * FASTLM_ENTRY_WORDS:
        with nogil:
            fastlm_sort_entries(&entries[0], entries.shape[0] // FASTLM_ENTRY_WORDS,
                                &arena[0] if arena.shape[0] else NULL)


def records(const uint8_t[::1] text not None, const int64_t[::1] starts not None, const int64_t[::1] counts not None):
    """The records of words as `PretokenCounter.words` returns them: uint8 (n,).

    Raises:
        ValueError: The starts do not ascend from 0 to len(text), or their number is not that of the counts plus 1.
    """
    cdef int64_t word, at = 0, words = counts.shape[0]
    if starts.shape[0] != words + 1 or starts[0] != 0 or starts[words] != text.shape[0]:
        raise ValueError("starts must begin with 0, end with len(text) and have one more entry than counts")
    for word in range(words):
        if starts[word + 1] < starts[word]:
            raise ValueError("starts must ascend")
    out_array = np.empty(text.shape[0] + 2 * NUMBER * words, np.uint8)
    cdef uint8_t[::1] out = out_array
    with nogil:
        for word in range(words):
            at = put_number(out, at, starts[word + 1] - starts[word])
            if starts[word + 1] > starts[word]:
                memcpy(&out[at], &text[starts[word]], starts[word + 1] - starts[word])
            at = put_number(out, at + starts[word + 1] - starts[word], counts[word])
    return out_array[:at]


cdef inline int64_t put_number(uint8_t[::1] out, int64_t at, int64_t number) except -1 nogil:
    cdef uint64_t rest = <uint64_t>number
    while rest > 127:
        out[at] = <uint8_t>(rest & 127 | 128)
        rest >>= 7
        at += 1
    out[at] = <uint8_t>rest
    return at + 1


cdef class RunReader:
    """Reads the records of a run file.

    Args:
        file: A binary file without a buffer, at the start of the run.
        name: The start of error messages.
        size: Bytes of the run.
        checksum: zlib.crc32 of these bytes.
        buffer_bytes: Size of the read buffer; it grows for longer records.
        words: Number of words, if known.
        cells: Cells that these words need in a MergeLearner, if known.

    Reading raises ValueError for a damaged run, at the latest at its end.
    """
    cdef object file, name, buffer_array
    cdef uint8_t[::1] buffer
    cdef int64_t at, end, left
    cdef uint64_t checksum, expected
    # the current record
    cdef int64_t word, length, count
    # words and cells up to it, and expected ones, or -1
    cdef int64_t words, cells, expected_words, expected_cells

    def __cinit__(self, file, name, int64_t size, uint64_t checksum, int64_t buffer_bytes, *, words=None, cells=None):
        self.file, self.name, self.left, self.expected = file, name, size, checksum
        self.expected_words, self.expected_cells = -1 if words is None else words, -1 if cells is None else cells
        self.buffer_array = np.empty(max(buffer_bytes, 4 * NUMBER), np.uint8)
        self.buffer = self.buffer_array

    cdef bint next(self) except -1:
        """Moves to the next record; false at the end."""
        cdef int64_t previous_length = self.length
        # the bytes of the previous word stay in the buffer, at self.word, until the order is checked
        if self.end - self.at < NUMBER:
            self._fill(NUMBER)
            if self.at == self.end:
                self._check_end()
                return False
        self.length = self._number()
        if self.length > self.end - self.at + self.left:
            raise self._damaged(f"a word has {self.length} bytes, {self.end - self.at + self.left} are left")
        if self.end - self.at < self.length + NUMBER:
            self._fill(self.length + NUMBER)
        if self.length < 1:
            raise self._damaged("a length and a count must be at least 1")
        if previous_length and fastlm_compare(&self.buffer[self.word], previous_length,
                                              &self.buffer[self.at], self.length) >= 0:
            raise self._damaged("its words do not ascend")
        self.word = self.at
        self.at += self.length
        self.words += 1
        if self.length >= 2:
            self.cells += HEADER + self.length
        self.count = self._number()
        if self.count < 1:
            raise self._damaged("a length and a count must be at least 1")
        return True

    cdef int _check_end(self) except -1:
        if self.checksum != self.expected:
            raise self._damaged("its bytes have another checksum")
        if self.expected_words not in (-1, self.words):
            raise self._damaged(f"it has {self.words} words, not {self.expected_words}")
        if self.expected_cells not in (-1, self.cells):
            raise self._damaged(f"its words take {self.cells} cells, not {self.expected_cells}")
        return 0

    cdef int64_t _number(self) except -1:
        cdef uint64_t number = 0, digit
        cdef int shift = 0
        while self.at < self.end and shift < 63:
            digit = self.buffer[self.at]
            self.at += 1
            number |= (digit & 127) << shift
            if digit < 128:
                return <int64_t>number
            shift += 7
        raise self._damaged("a number does not end")

    cdef int _fill(self, int64_t needed) except -1:
        """Reads until `needed` bytes follow self.at or the run ends. Keeps the bytes from self.word on."""
        cdef int64_t kept = self.end - self.word, target = self.at - self.word + needed
        if target > self.buffer.shape[0]:
            larger = np.empty(target + target // 4, np.uint8)
            larger[:kept] = self.buffer_array[self.word : self.end]
            self.buffer_array = larger
            self.buffer = larger
        elif kept:
            memmove(&self.buffer[0], &self.buffer[self.word], kept)
        self.at, self.word, self.end = self.at - self.word, 0, kept
        while self.end < target and self.left:
            free = memoryview(self.buffer_array)[self.end : min(self.buffer.shape[0], self.end + self.left)]
            read = self.file.readinto(free)
            if not read:
                raise self._damaged(f"it ends {self.left} bytes early")
            self.checksum = zlib.crc32(free[:read], self.checksum)
            self.end += <int64_t>read
            self.left -= <int64_t>read
        return 0

    def _damaged(self, reason):
        return ValueError(f"{self.name} is damaged: {reason}")


cdef class MergedRuns:
    """The words of several run files, sorted by their bytes, with the sums of their counts.

    After an error in `words` the position in the files is undefined: further calls raise RuntimeError.
    """
    cdef list readers
    # the readers that are not at their end, as a heap: the smallest word comes first
    cdef int32_t[::1] heap
    cdef int64_t size
    cdef bint failed

    def __cinit__(self, readers):
        cdef RunReader reader
        self.readers = list(readers)
        self.heap = np.zeros(len(self.readers) + 1, np.int32)
        for number, reader in enumerate(self.readers):
            if reader.next():
                self._sift_up(self.size, number)
                self.size += 1

    def words(self, int64_t most):
        """The next words, at most `most`; none at the end.

        Returns:
            (bytes, starts, counts): uint8 (total,), int64 (n + 1,), int64 (n,).

        Raises:
            ValueError: A run is damaged, or the sum of counts exceeds 2^63 - 1.
            OSError: A file cannot be read.
        """
        cdef int64_t words = 0, at = 0, count
        cdef RunReader reader
        cdef const uint8_t *last
        if self.failed:
            raise RuntimeError("an earlier error left the position in the run files undefined; open them again")
        self.failed = True
        text_array, starts_array = np.empty(16 * most, np.uint8), np.zeros(most + 1, np.int64)
        counts_array = np.empty(most, np.int64)
        cdef uint8_t[::1] text = text_array
        cdef int64_t[::1] starts = starts_array, counts = counts_array
        while words < most and self.size:
            reader = <RunReader>self.readers[self.heap[0]]
            if at + reader.length > text.shape[0]:
                larger = np.empty(2 * (at + reader.length), np.uint8)
                larger[:at] = text_array[:at]
                text_array = larger
                text = larger
            memcpy(&text[at], &reader.buffer[reader.word], reader.length)
            count = 0
            last = &text[at]
            starts[words + 1] = at = at + reader.length
            while True:
                if reader.count > INT64_MAX - count:
                    raise ValueError(f"{reader.name}: the count of a pretoken, added to that of other run files, "
                                     "exceeds 2^63 - 1")
                count += reader.count
                self._advance(reader)
                if not self.size:
                    break
                reader = <RunReader>self.readers[self.heap[0]]
                if fastlm_compare(&reader.buffer[reader.word], reader.length, last, at - starts[words]):
                    break
            counts[words] = count
            words += 1
        self.failed = False
        return text_array[:at], starts_array[: words + 1], counts_array[:words]

    cdef int _advance(self, RunReader reader) except -1:
        """Moves the reader at the top of the heap to its next record."""
        if reader.next():
            self._sift_down(self.heap[0])
        else:
            self.size -= 1
            if self.size:
                self._sift_down(self.heap[self.size])
        return 0

    cdef inline bint _before(self, int32_t number, int32_t other) except -1:
        cdef RunReader a = <RunReader>self.readers[number], b = <RunReader>self.readers[other]
        return fastlm_compare(&a.buffer[a.word], a.length, &b.buffer[b.word], b.length) < 0

    cdef int _sift_up(self, int64_t hole, int32_t number) except -1:
        cdef int64_t parent
        while hole:
            parent = (hole - 1) // 2
            if not self._before(number, self.heap[parent]):
                break
            self.heap[hole] = self.heap[parent]
            hole = parent
        self.heap[hole] = number
        return 0

    cdef int _sift_down(self, int32_t number) except -1:
        cdef int64_t hole = 0, child = 1
        while child < self.size:
            if child + 1 < self.size and self._before(self.heap[child + 1], self.heap[child]):
                child += 1
            if self._before(number, self.heap[child]):
                break
            self.heap[hole] = self.heap[child]
            hole = child
            child = 2 * child + 1
        self.heap[hole] = number
        return 0
