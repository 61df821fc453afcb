"""Counts distinct pretokens of text, with 64-bit counts.

All entries lie in one array, in the order in which their pretokens first occurred: frequent pretokens occur early, so
their entries share cache lines and pages. An entry is three words: two of key (see hash.h) and the count. The key of a
pretoken of more than 15 bytes holds the offset of its bytes in an arena. The hash table uses open addressing with one
word a slot: half of the hash, and the number of the entry. A large table costs cache misses. Therefore pretokens are
looked up in batches: all slots of a batch are prefetched, then all entries.

One thread uses a table at a time. `merge` adds the counts of another table. A table with a maximum size reports where
in a text it became full, so that the caller can take its counts, clear it, and continue there.
"""
import os

import numpy as np

from libc.stdint cimport INT64_MAX, int64_t, uint8_t, uint64_t
from libc.string cimport memcmp, memcpy

from fastlm._arrays import grow_in_place
from fastlm.bpe_training._run_files import sort_entries
from fastlm.native.common cimport fastlm_prefetch_write, fastlm_scan_fn, scanner_function
from fastlm.pretokenize._scan import BLOCK_ENDS, invalid_utf8

cdef extern from "bpe_training/entry.h":
    enum:
        FASTLM_ENTRY_WORDS

cdef extern from "native/hash.h" nogil:
    const int64_t FASTLM_INLINE_KEY
    const uint64_t FASTLM_LONG_KEY
    void fastlm_short_key(const uint8_t *p, int64_t length, int64_t readable, uint64_t *low, uint64_t *high)
    uint64_t fastlm_hash_short(uint64_t low, uint64_t high, const uint64_t *seed)
    uint64_t fastlm_hash_long(const uint8_t *p, int64_t length, const uint64_t *seed)

cdef enum:
    BATCH = 64
    FIRST_SLOTS = 1 << 14
    ENTRY = FASTLM_ENTRY_WORDS
    # tenths of the slots that may be in use
    LOAD_TENTHS = 7

ENTRY_BYTES = ENTRY * sizeof(uint64_t)
SLOT_BYTES = sizeof(uint64_t)
MAX_LOAD = LOAD_TENTHS / 10.0
MIN_SLOTS = FIRST_SLOTS

# a slot is half of the hash, and the number of the entry plus 1; 0 is an empty slot
cdef uint64_t TAG = 0xFFFFFFFF00000000

# hash seed, the same for all tables of a process, so that tables can be merged
cdef uint64_t[2] SEED
SEED[0] = int.from_bytes(os.urandom(8))
SEED[1] = int.from_bytes(os.urandom(8)) | 1

cdef enum State:
    COUNTING
    # the slots no longer match the entries
    SORTED
    # an exception ended `count`, `count_ends` or `merge` halfway
    INCOMPLETE

cdef struct Batch:
    uint64_t[BATCH] low
    uint64_t[BATCH] high
    uint64_t[BATCH] hashed
    int64_t[BATCH] entry
    const uint8_t *long_bytes[BATCH]


cdef class PretokenCounter:
    """A hash table of distinct pretokens and their counts; `len()` is the number of distinct pretokens.

    A MemoryError in `count`, `count_ends` or `merge` leaves part of the text counted. Every method but `clear` raises
    RuntimeError from then on.

    Args:
        capacity: Maximum number of distinct pretokens. The table always accepts at least one.
        long_bytes: Maximum total bytes of distinct pretokens of more than 15 bytes.

    Raises:
        ValueError: An argument is less than 1.
    """
    cdef uint64_t[::1] slots
    cdef uint64_t mask
    # arrays that grow in place, and views of them
    cdef object entries_array, arena_array
    cdef uint64_t[::1] entries
    cdef uint8_t[::1] arena
    cdef readonly int64_t distinct
    cdef int64_t arena_used, capacity, long_capacity
    cdef int64_t[::1] ends
    cdef State state

    def __cinit__(self, *, capacity=None, long_bytes=None):
        if (capacity is not None and capacity < 1) or (long_bytes is not None and long_bytes < 1):
            raise ValueError(f"capacity and long_bytes must be at least 1, got {capacity} and {long_bytes}")
        self.capacity = INT64_MAX if capacity is None else capacity
        self.long_capacity = INT64_MAX if long_bytes is None else long_bytes
        self.slots = np.zeros(FIRST_SLOTS, np.uint64)
        self.mask = FIRST_SLOTS - 1
        self.entries_array, self.arena_array = np.empty(ENTRY * BLOCK_ENDS, np.uint64), np.empty(1 << 12, np.uint8)
        self.entries, self.arena = self.entries_array, self.arena_array
        self.ends = np.empty(BLOCK_ENDS, np.int64)
        self.state = COUNTING

    def __len__(self):
        return self.distinct

    def count(self, const uint8_t[::1] text not None, const int64_t[:, ::1] segments not None, scanner):
        """Counts the pretokens of each segment of `text`.

        Args:
            text: UTF-8, uint8 (n,).
            segments: Start and end of each segment in bytes, int64 (k, 2). Pretokens do not cross segments.
            scanner: A capsule of `_scan.scanner`.

        Returns:
            None, or, if the table is full, the offset in `text` up to which it counted. A pretoken starts there.

        Raises:
            TypeError: `scanner` is not such a capsule.
            ValueError: A segment is not within the text, or a byte is not UTF-8 (InvalidUTF8Error, with its offset).
            RuntimeError: The table is sorted or incomplete.
        """
        cdef fastlm_scan_fn scan = scanner_function(scanner)
        cdef int64_t k, stopped = -1, bad = -1, n = text.shape[0]
        for k in range(segments.shape[0]):
            if not 0 <= segments[k, 0] <= segments[k, 1] <= n:
                raise ValueError(f"segment {k} is {segments[k, 0]}:{segments[k, 1]} in a text of {n} bytes")
        self._begin_change()
        with nogil:  # once a block: threads lose more to releasing and taking the GIL than to counting
            for k in range(segments.shape[0]):
                stopped = self._count_segment(text, segments[k, 0], segments[k, 1], scan, &bad)
                if stopped < segments[k, 1]:
                    break
                stopped = -1
        self.state = COUNTING
        if bad >= 0:
            raise invalid_utf8(text, bad)
        return None if stopped < 0 else stopped

    def count_ends(self, const uint8_t[::1] text not None, const int64_t[::1] ends not None):
        """Counts the pretokens of `text` that end at `ends`.

        Args:
            text: uint8 (n,).
            ends: Ascending offsets, int64 (k,); the last is n.

        Returns:
            None, or, if the table is full, the number of pretokens that it counted.

        Raises:
            ValueError: The ends do not ascend or are not within the text.
            RuntimeError: The table is sorted or incomplete.
        """
        cdef int64_t n = text.shape[0], k, position = 0, first = 0, count
        for k in range(ends.shape[0]):
            if not (ends[k - 1] if k else 0) < ends[k] <= n:
                raise ValueError(f"end {k} is {ends[k]}, not above the one before it and at most {n}")
        self._begin_change()
        with nogil:
            while first < ends.shape[0]:
                count = self._fitting(position, &ends[first], min(ends.shape[0] - first, <int64_t>BATCH))
                if count == 0:
                    break
                self._add_block(&text[0], n, position, &ends[first], count)
                position = ends[first + count - 1]
                first += count
        self.state = COUNTING
        return None if first == ends.shape[0] else first

    def merge(self, PretokenCounter other not None):
        """Adds the counts of another table to this one.

        Raises:
            ValueError: A count exceeds 2^63 - 1. The table is incomplete afterwards.
            RuntimeError: This table is sorted, or one of both is incomplete.
        """
        cdef Batch batch
        cdef uint64_t[BATCH] times
        cdef int64_t first = 0, k, size, entry, long_bytes
        other._check_complete()
        self._begin_change()
        with nogil:
            while first < other.distinct:
                size = min(other.distinct - first, <int64_t>BATCH)
                long_bytes = 0
                for k in range(size):
                    entry = ENTRY * (first + k)
                    batch.low[k], batch.high[k] = other.entries[entry], other.entries[entry + 1]
                    times[k] = other.entries[entry + 2]
                    if batch.high[k] >= FASTLM_LONG_KEY:
                        batch.long_bytes[k] = &other.arena[<int64_t>batch.low[k]]
                        long_bytes += length_of(batch.high[k])
                    batch.hashed[k] = other._hash(batch.low[k], batch.high[k])
                    fastlm_prefetch_write(&self.slots[batch.hashed[k] & self.mask])
                self._reserve(size, long_bytes)
                self._find(&batch, size)
                for k in range(size):
                    entry = ENTRY * self._entry(&batch, k)
                    self.entries[entry + 2] += times[k]
                    if self.entries[entry + 2] > <uint64_t>INT64_MAX:
                        self._raise_overflow()
                first += size
        self.state = COUNTING

    def sort(self):
        """Sorts the entries by the bytes of their pretokens. Counting needs `clear` afterwards."""
        self._check_complete()
        self.state = SORTED
        sort_entries(self.entries_array[: ENTRY * self.distinct], self.arena_array[: self.arena_used])

    def clear(self):
        """Removes all counts and keeps the memory."""
        self.slots[:] = 0
        self.distinct = self.arena_used = 0
        self.state = COUNTING

    def words(self, int64_t first=0, stop=None):
        """The pretokens and counts of the entries first:stop, in no particular order except after `sort`.

        Returns:
            (bytes, starts, counts): uint8 (total,), int64 (n + 1,), int64 (n,).

        Raises:
            ValueError: The table has no such entries, or a count exceeds 2^63 - 1.
            RuntimeError: The table is incomplete.
        """
        cdef int64_t entry, at = 0, length, last = self.distinct if stop is None else min(stop, self.distinct)
        cdef uint64_t low, high
        self._check_complete()
        if not 0 <= first <= last:
            raise ValueError(f"entries {first}:{last} of {self.distinct}")
        for entry in range(first, last):
            at += length_of(self.entries[ENTRY * entry + 1])
        text_array = np.empty(at, np.uint8)
        starts_array, counts_array = np.zeros(last - first + 1, np.int64), np.empty(last - first, np.int64)
        cdef uint8_t[::1] text = text_array
        cdef int64_t[::1] starts = starts_array, counts = counts_array
        at = 0
        with nogil:
            for entry in range(first, last):
                low, high = self.entries[ENTRY * entry], self.entries[ENTRY * entry + 1]
                length = length_of(high)
                memcpy(&text[at], &self.arena[<int64_t>low] if high >= FASTLM_LONG_KEY else
                       <const uint8_t *>&self.entries[ENTRY * entry], length)
                at += length
                counts[entry - first] = <int64_t>self.entries[ENTRY * entry + 2]
                if counts[entry - first] < 0:
                    self._raise_overflow()
                starts[entry - first + 1] = at
        return text_array, starts_array, counts_array

    # --- state ---

    cdef int _check_complete(self) except -1:
        if self.state == INCOMPLETE:
            raise RuntimeError("an earlier error left the table incomplete; clear it first")
        return 0

    cdef int _begin_change(self) except -1:
        """Marks the table as incomplete until the caller resets the state."""
        self._check_complete()
        if self.state == SORTED:
            raise RuntimeError("the table is sorted; clear it first")
        self.state = INCOMPLETE
        return 0

    cdef int _raise_overflow(self) except -1 with gil:
        raise ValueError("the count of a pretoken exceeds 2^63 - 1")

    cdef inline uint64_t _hash(self, uint64_t low, uint64_t high) except? 0 nogil:
        """Hash of the key of an entry."""
        if high >= FASTLM_LONG_KEY:
            return fastlm_hash_long(&self.arena[<int64_t>low], length_of(high), SEED)
        return fastlm_hash_short(low, high, SEED)

    # --- growth: allocate first, then replace, so that a MemoryError leaves the table as it was ---

    cdef inline int _reserve(self, int64_t pretokens, int64_t text_bytes) except -1 nogil:
        """Makes space for new pretokens of `text_bytes` in total, at the maximum load."""
        if self.arena_used + text_bytes > self.arena.shape[0]:
            self._widen_arena(text_bytes)
        if ENTRY * (self.distinct + pretokens) > self.entries.shape[0]:
            self._widen_entries(pretokens)
        if (self.distinct + pretokens) * 10 > self.slots.shape[0] * LOAD_TENTHS:
            self._widen_slots(pretokens)
        return 0

    cdef int _widen_arena(self, int64_t text_bytes) except -1 with gil:
        cdef int64_t size = min(self.arena.shape[0] + self.arena.shape[0] // 4, self.long_capacity)
        size = max(size, self.arena_used + text_bytes)
        self.arena = None
        try:
            grow_in_place(self.arena_array, size)
        finally:
            self.arena = self.arena_array
        return 0

    cdef int _widen_entries(self, int64_t pretokens) except -1 with gil:
        cdef int64_t entries = self.entries.shape[0] // ENTRY
        if self.distinct + pretokens >= <int64_t>0xFFFFFFFF:
            raise OverflowError("more than 2^32 distinct pretokens")
        entries = max(min(entries + entries // 4, self.capacity), self.distinct + pretokens)
        self.entries = None
        try:
            grow_in_place(self.entries_array, ENTRY * entries)
        finally:
            self.entries = self.entries_array
        return 0

    cdef int _widen_slots(self, int64_t pretokens) except -1 with gil:
        cdef int64_t size = self.slots.shape[0], entry
        cdef uint64_t hashed, slot
        while (self.distinct + pretokens) * 10 > size * LOAD_TENTHS:
            size *= 2
        self.slots = np.zeros(size, np.uint64)
        self.mask = size - 1
        with nogil:
            for entry in range(self.distinct):
                hashed = self._hash(self.entries[ENTRY * entry], self.entries[ENTRY * entry + 1])
                slot = hashed & self.mask
                while self.slots[slot]:
                    slot = (slot + 1) & self.mask
                self.slots[slot] = hashed & TAG | <uint64_t>(entry + 1)
        return 0

    # --- counting ---

    cdef int64_t _count_segment(self, const uint8_t[::1] text, int64_t position, int64_t stop, fastlm_scan_fn scan,
                                int64_t *bad) except -1 nogil:
        """Counts the pretokens of text[position:stop] and returns the offset up to which it counted.

        That is less than `stop` if the table is full, or if the byte at bad[0] is not UTF-8.
        """
        cdef int64_t written
        while position < stop:
            written = scan(&text[0], stop, position, &self.ends[0], self.ends.shape[0])
            if written < 0:
                bad[0] = self.ends[0]
                return position
            written = self._fitting(position, &self.ends[0], written)
            if written == 0:
                return position
            self._add_block(&text[0], text.shape[0], position, &self.ends[0], written)
            position = self.ends[written - 1]
        return position

    cdef inline int64_t _fitting(self, int64_t start, const int64_t *ends, int64_t count) except -1 nogil:
        """How many of the pretokens that end at `ends` fit if all are new; at least one into an empty table."""
        cdef int64_t k, long_bytes
        count = min(count, self.capacity - self.distinct)
        if count and ends[count - 1] - start > self.long_capacity - self.arena_used:
            long_bytes = self.arena_used
            for k in range(count):
                if ends[k] - start > FASTLM_INLINE_KEY:
                    long_bytes += ends[k] - start
                    if long_bytes > self.long_capacity and self.distinct + k:
                        return k
                start = ends[k]
        return count

    cdef int _add_block(self, const uint8_t *text, int64_t n, int64_t start, const int64_t *ends,
                        int64_t count) except -1 nogil:
        """Counts the pretokens that end at ends[:count]; the first one starts at `start`."""
        cdef Batch batch
        cdef int64_t first = 0, k, size, length
        self._reserve(count, ends[count - 1] - start)
        while first < count:
            size = min(count - first, <int64_t>BATCH)
            for k in range(size):
                length = ends[first + k] - start
                if length <= FASTLM_INLINE_KEY:
                    fastlm_short_key(text + start, length, n - start, &batch.low[k], &batch.high[k])
                    batch.hashed[k] = fastlm_hash_short(batch.low[k], batch.high[k], SEED)
                else:
                    batch.hashed[k] = fastlm_hash_long(text + start, length, SEED)
                    batch.high[k] = FASTLM_LONG_KEY | <uint64_t>length
                    batch.long_bytes[k] = text + start
                fastlm_prefetch_write(&self.slots[batch.hashed[k] & self.mask])
                start = ends[first + k]
            self._find(&batch, size)
            for k in range(size):
                self.entries[ENTRY * self._entry(&batch, k) + 2] += 1
            first += size
        return 0

    cdef inline int _find(self, Batch *batch, int64_t size) except -1 nogil:
        """Sets the most likely entry of each key of the batch, or -1, and prefetches it."""
        cdef int64_t k
        cdef uint64_t slot, found, tag
        for k in range(size):
            slot = batch.hashed[k] & self.mask
            tag = batch.hashed[k] & TAG
            found = self.slots[slot]
            while found and found & TAG != tag:
                slot = (slot + 1) & self.mask
                found = self.slots[slot]
            batch.entry[k] = <int64_t>(found & ~TAG) - 1
            fastlm_prefetch_write(&self.entries[ENTRY * batch.entry[k] if found else 0])
        return 0

    cdef inline int64_t _entry(self, Batch *batch, int64_t k) except -1 nogil:
        """The entry of key k of the batch; a new one if the table has none."""
        if batch.entry[k] >= 0 and self._is_key(batch, k, batch.entry[k]):
            return batch.entry[k]
        return self._entry_from_start(batch, k)

    cdef inline bint _is_key(self, Batch *batch, int64_t k, int64_t entry) except -1 nogil:
        cdef uint64_t low = self.entries[ENTRY * entry], high = self.entries[ENTRY * entry + 1]
        if high != batch.high[k]:
            return False
        if high < FASTLM_LONG_KEY:
            return low == batch.low[k]
        return memcmp(&self.arena[<int64_t>low], batch.long_bytes[k], length_of(high)) == 0

    cdef int64_t _entry_from_start(self, Batch *batch, int64_t k) except -1 nogil:
        """The same, from the first slot that the key may have."""
        cdef uint64_t slot = batch.hashed[k] & self.mask, tag = batch.hashed[k] & TAG
        cdef int64_t entry, length
        while self.slots[slot]:
            entry = <int64_t>(self.slots[slot] & ~TAG) - 1
            if self.slots[slot] & TAG == tag and self._is_key(batch, k, entry):
                return entry
            slot = (slot + 1) & self.mask
        entry = self.distinct
        self.slots[slot] = tag | <uint64_t>(entry + 1)
        if batch.high[k] >= FASTLM_LONG_KEY:
            length = length_of(batch.high[k])
            memcpy(&self.arena[self.arena_used], batch.long_bytes[k], length)
            batch.low[k] = <uint64_t>self.arena_used
            self.arena_used += length
        self.entries[ENTRY * entry], self.entries[ENTRY * entry + 1] = batch.low[k], batch.high[k]
        self.entries[ENTRY * entry + 2] = 0
        self.distinct += 1
        return entry


cdef inline int64_t length_of(uint64_t high) noexcept nogil:
    """Bytes of the pretoken with this second word of key."""
    if high >= FASTLM_LONG_KEY:
        return <int64_t>(high & ~FASTLM_LONG_KEY)
    return <int64_t>(high >> 56)
