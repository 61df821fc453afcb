"""The memory of a pretoken cache; pretoken_cache.h has its format and the functions that search it."""
import numpy as np

from libc.stdint cimport int64_t, uint8_t, uint32_t, uintptr_t
from libc.string cimport memcpy, memset

cdef enum:
    CACHE_LINE = 64
    HUGE_PAGE = 1 << 21

# an entry has 32 bits for a position in each arena
LARGEST_ARENA = (1 << 32) - 1


cdef class PretokenCache:
    """Pretokens with their ids, for one thread at a time.

    Args:
        entries: Number of entries, a power of two. Half may be used before the cache counts as full.
        bytes_size: Bytes in the arena of long pretokens.
        ids_size: Ids in the arena for pretokens of more than three ids.
    """

    def __cinit__(self, int64_t entries, int64_t bytes_size, int64_t ids_size):
        if entries < 4 or entries & (entries - 1):
            raise ValueError(f"entries must be a power of two of at least 4, got {entries}")
        if bytes_size < 0 or ids_size < 0:
            raise ValueError(f"arena sizes must not be negative, got {bytes_size} bytes and {ids_size} ids")
        bytes_size, ids_size = min(bytes_size, LARGEST_ARENA), min(ids_size, LARGEST_ARENA)
        cdef int64_t size = entries * sizeof(fastlm_cache_entry)
        # NumPy asks for huge pages for an array this large. Lookups reach all of the table, so it is aligned to one.
        # A small table only has to begin a cache line.
        cdef int64_t alignment = HUGE_PAGE if size >= HUGE_PAGE else CACHE_LINE
        self.memory = np.zeros(size + alignment, np.uint8)
        self.bytes = np.empty(max(1, bytes_size), np.uint8)
        self.ids = np.empty(ids_size + FASTLM_SPARE_IDS, np.uint32)
        self.table.entries = <fastlm_cache_entry *>(<uintptr_t>&self.memory[alignment - 1] & -<uintptr_t>alignment)
        self.table.mask = entries - 1
        self.table.used, self.table.full_at = 0, entries // 2
        self.table.bytes, self.table.bytes_used, self.table.bytes_size = &self.bytes[0], 0, bytes_size
        self.table.ids, self.table.ids_used, self.table.ids_size = &self.ids[0], 0, ids_size + FASTLM_SPARE_IDS

    cdef int64_t entries(self) noexcept nogil:
        return <int64_t>self.table.mask + 1

    cdef PretokenCache resized(self, int64_t entries):
        """A copy with another number of entries and arenas that grow alike. A smaller one may lack some pretokens."""
        cdef int64_t factor = max(1, entries // self.entries())
        cdef PretokenCache copy = PretokenCache(entries, factor * self.table.bytes_size, factor * self.table.ids_size)
        copy.copy_from(self)
        return copy

    cdef int copy_from(self, PretokenCache other) except -1:
        """Copies all of another cache, with arenas that are no larger, into this empty one."""
        cdef fastlm_cache_entry *entry
        cdef fastlm_cache_entry *target
        cdef int64_t k
        if self.table.bytes_size < other.table.bytes_used or self.table.ids_size < other.table.ids_used:
            raise ValueError("the arenas are too small for a copy")
        for k in range(other.entries()):
            entry = other.table.entries + k
            if fastlm_is_empty(entry):
                continue
            target = fastlm_empty_entry(&self.table, fastlm_hash_of(entry))
            if target != NULL:
                target[0] = entry[0]
                self.table.used += 1
        memcpy(self.table.bytes, other.table.bytes, other.table.bytes_used)
        memcpy(self.table.ids, other.table.ids, other.table.ids_used * sizeof(uint32_t))
        self.table.bytes_used, self.table.ids_used = other.table.bytes_used, other.table.ids_used
        return 0

    cdef int clear(self) except -1 nogil:
        """Forgets all pretokens."""
        memset(self.table.entries, 0, self.entries() * sizeof(fastlm_cache_entry))
        self.table.used = self.table.bytes_used = self.table.ids_used = 0
        return 0
