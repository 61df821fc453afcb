"""Text to distinct pretokens with 64-bit counts.

The table is open addressing over a uint64 array, four words an entry: two of key (see hash.h), the count, and for a
pretoken of more than 15 bytes the offset of its bytes in an arena; word 1 is 0 in an empty entry. A block of pretoken
ends is hashed 64 at a time and their entries prefetched before they are looked at, since on a large table the cost is
the cache misses. A table is one thread's; `merge` adds another's counts to it.
"""
import os

import numpy as np

from libc.stdint cimport int64_t, uint8_t, uint64_t, uintptr_t
from libc.string cimport memcmp, memcpy

from fastlm._scan import BLOCK_ENDS, invalid_utf8

cdef extern from "hash.h" nogil:
    const int64_t FASTLM_INLINE_KEY
    const uint64_t FASTLM_LONG_KEY
    void fastlm_short_key(const uint8_t *p, int64_t length, int64_t readable, uint64_t *low, uint64_t *high)
    uint64_t fastlm_hash_short(uint64_t low, uint64_t high, const uint64_t *seed)
    uint64_t fastlm_hash_long(const uint8_t *p, int64_t length, const uint64_t *seed)

cdef extern from *:
    """
    #define fastlm_prefetch(address) __builtin_prefetch(address, 1)
    """
    void fastlm_prefetch(const void *address) nogil

ctypedef int64_t (*scan_fn)(const uint8_t *text, int64_t n, int64_t start, int64_t *ends, int64_t capacity) noexcept nogil

cdef enum:
    BATCH = 64
    FIRST_ENTRIES = 1 << 14

# two words of hash seed, the same for all tables of a process so that one can be merged into another
cdef uint64_t[2] SEED
SEED[0] = int.from_bytes(os.urandom(8))
SEED[1] = int.from_bytes(os.urandom(8)) | 1


cdef class PretokenCounter:
    """Counts of distinct pretokens; `len()` is how many there are."""
    cdef uint64_t[::1] table
    cdef uint64_t mask
    cdef readonly int64_t distinct
    cdef uint8_t[::1] arena
    cdef int64_t arena_used
    cdef int64_t[::1] ends

    def __cinit__(self):
        self.table = np.zeros(4 * FIRST_ENTRIES, np.uint64)
        self.mask = FIRST_ENTRIES - 1
        self.arena = np.empty(1 << 12, np.uint8)
        self.ends = np.empty(BLOCK_ENDS, np.int64)

    def __len__(self):
        return self.distinct

    def count(self, const uint8_t[::1] text not None, const int64_t[:, ::1] segments not None, scanner: int):
        """Counts the pretokens of each segment of `text`.

        text: IN (n,) UTF-8. segments: IN (k, 2), start and end of stretches that pretokens do not cross. scanner: the
        address of a scanner. Raises ValueError naming the offset in `text` of the first byte that is not UTF-8.
        """
        cdef scan_fn scan = <scan_fn><uintptr_t>scanner
        cdef int64_t k, position, stop, written, n = text.shape[0], capacity = self.ends.shape[0]
        for k in range(segments.shape[0]):
            position = segments[k, 0]
            stop = segments[k, 1]
            if not 0 <= position <= stop <= n:
                raise ValueError(f"segment {k} is {position}:{stop} in a text of {n} bytes")
            while position < stop:
                with nogil:
                    written = scan(&text[0], stop, position, &self.ends[0], capacity)
                if written < 0:
                    raise invalid_utf8(text, self.ends[0])
                self._make_room(written, self.ends[written - 1] - position)
                with nogil:
                    self._add_block(&text[0], n, position, &self.ends[0], written)
                position = self.ends[written - 1]

    def count_ends(self, const uint8_t[::1] text not None, const int64_t[::1] ends not None):
        """Counts the pretokens of `text` that end at `ends` (IN, ascending, the last is len(text))."""
        cdef int64_t n = text.shape[0], k, position = 0, first = 0, count
        for k in range(ends.shape[0]):
            if not (ends[k - 1] if k else 0) < ends[k] <= n:
                raise ValueError(f"end {k} is {ends[k]}, not above the one before it and at most {n}")
        while first < ends.shape[0]:
            count = min(ends.shape[0] - first, <int64_t>BLOCK_ENDS)
            self._make_room(count, ends[first + count - 1] - position)
            with nogil:
                self._add_block(&text[0], n, position, &ends[first], count)
            position = ends[first + count - 1]
            first += count

    def merge(self, PretokenCounter other not None):
        """Adds the counts of another table to this one."""
        cdef int64_t entry, n = other.table.shape[0] // 4, block
        cdef int64_t longest = other.arena_used
        self._make_room(other.distinct, longest)
        with nogil:
            for entry in range(n):
                if other.table[4 * entry + 1]:
                    self._add_entry(other, entry)

    def words(self):
        """(bytes, starts, counts): uint8 (total,), int64 (n + 1,), int64 (n,), in no particular order."""
        cdef int64_t entry, k = 0, at = 0, length, n = self.table.shape[0] // 4
        cdef uint64_t high
        cdef const uint8_t *source
        for entry in range(n):
            high = self.table[4 * entry + 1]
            if high:
                at += self._length(high)
        text_array = np.empty(at, np.uint8)
        starts_array, counts_array = np.zeros(self.distinct + 1, np.int64), np.empty(self.distinct, np.int64)
        cdef uint8_t[::1] text = text_array
        cdef int64_t[::1] starts = starts_array, counts = counts_array
        at = 0
        with nogil:
            for entry in range(n):
                high = self.table[4 * entry + 1]
                if not high:
                    continue
                length = self._length(high)
                if length <= FASTLM_INLINE_KEY:
                    source = <const uint8_t *>&self.table[4 * entry]
                else:
                    source = &self.arena[<int64_t>self.table[4 * entry + 3]]
                memcpy(&text[at], source, length)
                at += length
                counts[k] = <int64_t>self.table[4 * entry + 2]
                k += 1
                starts[k] = at
        return text_array, starts_array, counts_array

    cdef inline int64_t _length(self, uint64_t high) noexcept nogil:
        if high >= FASTLM_LONG_KEY:
            return <int64_t>(high & ~FASTLM_LONG_KEY)
        return <int64_t>(high >> 56)

    cdef int _make_room(self, int64_t pretokens, int64_t text_bytes) except -1:
        """Room for so many new pretokens, of so many bytes together, at a load of at most 0.6."""
        cdef int64_t entries = self.table.shape[0] // 4, entry
        cdef uint64_t[::1] old = self.table
        cdef uint64_t slot
        if self.arena_used + text_bytes > self.arena.shape[0]:
            arena = np.empty(max(2 * self.arena.shape[0], self.arena_used + text_bytes), np.uint8)
            arena[: self.arena_used] = self.arena[: self.arena_used]
            self.arena = arena
        if (self.distinct + pretokens) * 5 <= entries * 3:
            return 0
        while (self.distinct + pretokens) * 5 > entries * 3:
            entries *= 2
        self.table = np.zeros(4 * entries, np.uint64)
        self.mask = entries - 1
        with nogil:
            for entry in range(old.shape[0] // 4):
                if old[4 * entry + 1]:
                    slot = self._hash(old[4 * entry], old[4 * entry + 1]) & self.mask
                    while self.table[4 * slot + 1]:
                        slot = (slot + 1) & self.mask
                    memcpy(&self.table[4 * slot], &old[4 * entry], 32)
        return 0

    cdef inline uint64_t _hash(self, uint64_t low, uint64_t high) noexcept nogil:
        """Hash of an entry's key; a long key's low word is its hash already."""
        return low if high >= FASTLM_LONG_KEY else fastlm_hash_short(low, high, SEED)

    cdef int _add_block(self, const uint8_t *text, int64_t n, int64_t start, const int64_t *ends,
                        int64_t count) except -1 nogil:
        """Counts the pretokens that end at ends[:count], the first of which starts at `start`."""
        cdef uint64_t[BATCH] low, high, hashed
        cdef int64_t[BATCH] starts
        cdef int64_t first = 0, k, size, length
        while first < count:
            size = min(count - first, <int64_t>BATCH)
            for k in range(size):
                length = ends[first + k] - start
                starts[k] = start
                if length <= FASTLM_INLINE_KEY:
                    fastlm_short_key(text + start, length, n - start, &low[k], &high[k])
                    hashed[k] = fastlm_hash_short(low[k], high[k], SEED)
                else:
                    hashed[k] = low[k] = fastlm_hash_long(text + start, length, SEED)
                    high[k] = FASTLM_LONG_KEY | <uint64_t>length
                fastlm_prefetch(&self.table[4 * (hashed[k] & self.mask)])
                start = ends[first + k]
            for k in range(size):
                self._add(low[k], high[k], hashed[k], 1, text + starts[k])
            first += size
        return 0

    cdef int _add_entry(self, PretokenCounter other, int64_t entry) except -1 nogil:
        cdef uint64_t low = other.table[4 * entry], high = other.table[4 * entry + 1]
        cdef const uint8_t *source = NULL
        if high >= FASTLM_LONG_KEY:
            source = &other.arena[<int64_t>other.table[4 * entry + 3]]
        return self._add(low, high, self._hash(low, high), other.table[4 * entry + 2], source)

    cdef inline int _add(self, uint64_t low, uint64_t high, uint64_t hashed, uint64_t count,
                         const uint8_t *source) except -1 nogil:
        """Adds `count` to a key's entry, making it where there is none; `source` holds the bytes of a long key."""
        cdef uint64_t slot = hashed & self.mask
        cdef int64_t length
        while True:
            if self.table[4 * slot + 1] == high and self.table[4 * slot] == low:
                if high < FASTLM_LONG_KEY:
                    break
                length = <int64_t>(high & ~FASTLM_LONG_KEY)
                if memcmp(&self.arena[<int64_t>self.table[4 * slot + 3]], source, length) == 0:
                    break
            elif not self.table[4 * slot + 1]:
                self.table[4 * slot] = low
                self.table[4 * slot + 1] = high
                if high >= FASTLM_LONG_KEY:
                    length = <int64_t>(high & ~FASTLM_LONG_KEY)
                    memcpy(&self.arena[self.arena_used], source, length)
                    self.table[4 * slot + 3] = <uint64_t>self.arena_used
                    self.arena_used += length
                self.distinct += 1
                break
            slot = (slot + 1) & self.mask
        self.table[4 * slot + 2] += count
        return 0
