cimport cython
from libc.stdint cimport int64_t, uint32_t, uint64_t

from fastlm.merging._words cimport Words, hash_of


@cython.final
cdef class Buckets:
    # number of symbols if each pair has its own bucket, else 0
    cdef readonly int64_t side
    cdef readonly int64_t size
    cdef uint64_t mask, multiplier
    # for each bucket the sum of counts of its pairs, and the number of places where they occur
    cdef int64_t[::1] sums
    cdef int64_t highest
    # a bit for each frequent bucket
    cdef uint64_t[::1] frequent

    cdef int64_t lowest_threshold(self, int64_t places, int64_t buckets) except -1
    cdef int mark(self, int64_t threshold) except -1
    cdef int forget_sums(self) except -1
    cdef int _add_up(self, Words words) except -1 nogil

    cdef inline int64_t bucket_of(self, int64_t key) noexcept nogil:
        if self.side:
            return (key >> 32) * self.side + <uint32_t>key
        return <int64_t>(hash_of(key, self.multiplier) & self.mask)

    cdef inline int mark_pair(self, int64_t key) except -1 nogil:
        """Marks the bucket of a pair as frequent."""
        cdef int64_t bucket = self.bucket_of(key)
        self.frequent[bucket >> 6] |= <uint64_t>1 << (bucket & 63)
        return 0

    cdef inline uint64_t frequent_places(self, Words words, int64_t at, int64_t end) except? 0 nogil:
        """A bit for each of the cells at, ..., at + 63 before `end` that starts a pair of a frequent bucket."""
        cdef int64_t k, bucket
        cdef uint64_t places = 0
        for k in range(min(end - 1 - at, <int64_t>64)):  # without a branch: it would not be predictable
            bucket = self.bucket_of(words.key_at(at + k))
            places |= (self.frequent[bucket >> 6] >> (bucket & 63) & 1) << k
        return places
