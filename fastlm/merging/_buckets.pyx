"""Sums of pair counts by bucket: which pairs are frequent enough to be worth an entry in the index.

While there are few symbols each pair has its own bucket, and the sum of a bucket is the count of its pair. Otherwise a
bucket is a hash, and its sum is an upper bound.
"""
import os

import numpy as np

from libc.stdint cimport INT64_MAX, int64_t, uint64_t

from fastlm.merging._words cimport HEADER, Words

cdef extern from *:
    """
    #define fastlm_leading_zeros(word) __builtin_clzll(word)
    """
    int fastlm_leading_zeros(uint64_t word) nogil

cdef enum:
    MAX_BUCKETS = 1 << 20
    MIN_BUCKETS = 1 << 12
    # thresholds considered between a power of two and the next
    STEPS = 8

cdef uint64_t MULTIPLIER = int.from_bytes(os.urandom(8)) | 1


cdef inline int step_of(int64_t count) noexcept nogil:
    """The threshold step of a count >= 1."""
    cdef int power = 63 - fastlm_leading_zeros(<uint64_t>count)
    return power * STEPS + <int>((count >> power - 3 if power >= 3 else count << 3 - power) & 7)


cdef inline int64_t first_of_step(int64_t step) noexcept nogil:
    """The lowest count of a threshold step."""
    cdef int64_t power = step // STEPS, part = STEPS + step % STEPS
    return part << power - 3 if power >= 3 else part + (1 << 3 - power) - 1 >> 3 - power


cdef class Buckets:
    """The sums of all pairs of `words`, which have no gaps, with symbols below `symbols`.

    Raises:
        ValueError: The count of a pair exceeds 2^63 - 1. Detected here only if each pair has its own bucket.
    """

    def __cinit__(self, Words words not None, int64_t symbols):
        self.size = symbols * symbols
        self.side = symbols if self.size <= MAX_BUCKETS else 0
        if not self.side:
            self.size = MIN_BUCKETS
            while self.size < words.used // 8 and self.size < MAX_BUCKETS:
                self.size *= 2
            self.mask, self.multiplier = self.size - 1, MULTIPLIER
        self.sums = np.zeros(2 * self.size, np.int64)
        with nogil:
            self._add_up(words)

    cdef int _add_up(self, Words words) except -1 nogil:
        cdef int64_t word = 0, i, end, count, bucket, total
        while word < words.used:
            end = word + HEADER + words.cells[word]
            count = words.count(word)
            for i in range(word + HEADER, end - 1):
                bucket = self.bucket_of(words.key_at(i))
                total = <int64_t>(<uint64_t>self.sums[2 * bucket] + <uint64_t>count)
                if total < 0:
                    if self.side:
                        raise_overflow()
                    total = INT64_MAX  # still an upper bound
                self.sums[2 * bucket] = total
                self.sums[2 * bucket + 1] += 1
            word = end
        for bucket in range(self.size):
            self.highest = max(self.highest, self.sums[2 * bucket])
        return 0

    cdef int64_t lowest_threshold(self, int64_t places, int64_t buckets) except -1:
        """The lowest threshold that at most `places` places reach, and not many more than `buckets` buckets."""
        cdef int64_t k, step, threshold = self.highest, found = 0
        cdef int64_t[:, ::1] of_step = np.zeros((64 * STEPS, 2), np.int64)
        for k in range(0, self.sums.shape[0], 2):
            if self.sums[k]:
                step = step_of(self.sums[k])
                of_step[step, 0] += self.sums[k + 1]
                of_step[step, 1] += 1
        step = step_of(threshold)
        while step >= 0 and of_step[step, 0] <= places and found < buckets:
            places -= of_step[step, 0]
            found += of_step[step, 1]
            threshold = first_of_step(step)
            step -= 1
        return threshold

    cdef int mark(self, int64_t threshold) except -1:
        """Marks as frequent the buckets whose sums reach a threshold, and no others."""
        cdef int64_t k
        self.frequent = np.zeros(self.size // 64 + 1, np.uint64)
        with nogil:
            for k in range(self.size):
                if self.sums[2 * k] >= threshold:
                    self.frequent[k >> 6] |= <uint64_t>1 << (k & 63)
        return 0

    cdef int forget_sums(self) except -1:
        """Frees the sums, and marks no bucket as frequent."""
        self.sums = None
        self.frequent[:] = 0
        return 0


cdef int raise_overflow() except -1 with gil:
    raise ValueError("the count of a pair exceeds 2^63 - 1")
