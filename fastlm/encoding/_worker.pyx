"""What a running call changes: the table of known pretokens, output and scratch, and whom the ids are handed to."""
import numpy as np

from libc.stdint cimport int64_t, uint16_t, uint32_t, uint64_t, uintptr_t
from libc.string cimport memcpy

SCRATCH_WORDS = FASTLM_SCRATCH_WORDS  # what the kernel counts on; a test compares them

cdef enum:
    CACHE_LINE = 64
    HUGE_PAGE = 1 << 21
    # the ends of a block of text stay in the first cache, with the text and its ids
    BLOCK_ENDS = 512
    # special tokens in a text for which there is room without asking
    FEW_CUTS = 64


cdef class Known:
    """A table of known pretokens with `entries`, a power of two, and the memory that it points to."""

    def __init__(self, int64_t entries, int64_t bytes_size, int64_t ids_size):
        cdef int64_t size = entries * sizeof(fastlm_known_entry)
        # numpy asks for huge pages for arrays this large, and the table is to lie on whole ones: its entries are read
        # all over it. A small one begins with a cache line
        cdef int64_t page = HUGE_PAGE if size >= HUGE_PAGE else CACHE_LINE
        self.memory = np.zeros(size + page, np.uint8)
        self.bytes = np.empty(bytes_size, np.uint8)
        self.ids = np.empty(ids_size + FASTLM_SPARE_IDS, np.uint32)
        self.table.entries = <fastlm_known_entry *>(<uintptr_t>&self.memory[page - 1] & -<uintptr_t>page)
        self.table.mask = entries - 1
        self.table.used, self.table.full_at = 0, entries // 4 * 3
        self.table.bytes, self.table.bytes_used, self.table.bytes_size = &self.bytes[0], 0, bytes_size
        self.table.ids, self.table.ids_used, self.table.ids_size = &self.ids[0], 0, ids_size + FASTLM_SPARE_IDS

    cdef int64_t entries(self) noexcept:
        return <int64_t>self.table.mask + 1

    cdef Known resized(self, int64_t entries):
        """The same pretokens in a table of so many entries, of which some may be lost, and as much more memory."""
        cdef int64_t grown = max(1, entries // self.entries())
        cdef Known new = Known(entries, grown * self.table.bytes_size, grown * self.table.ids_size)
        new.take(self)
        return new

    cdef int take(self, Known other) except -1:
        """Takes into a table without entries what a table that is no larger knows."""
        cdef fastlm_known_entry *entry
        cdef fastlm_known_entry *place
        cdef int64_t k
        if self.table.mask == other.table.mask:
            memcpy(self.table.entries, other.table.entries, self.entries() * sizeof(fastlm_known_entry))
            # one whose memory is full is to take a block, at least, before it is found so again
            self.table.used = min(other.table.used, self.table.full_at - 1)
        else:
            for k in range(other.entries()):
                entry = other.table.entries + k
                if fastlm_is_empty(entry):
                    continue
                place = fastlm_empty_entry(&self.table, fastlm_hash_of(entry))
                if place != NULL:
                    place[0] = entry[0]
                    self.table.used += 1
        memcpy(self.table.bytes, other.table.bytes, other.table.bytes_used)
        memcpy(self.table.ids, other.table.ids, other.table.ids_used * sizeof(uint32_t))
        self.table.bytes_used, self.table.ids_used = other.table.bytes_used, other.table.ids_used
        return 0


cdef class Worker:
    """What one running call changes. Calls of the same `number` get the same one, where it is idle."""

    def __init__(self, Known known, int64_t number):
        self.known, self.number = known, number
        self.ends = np.empty(BLOCK_ENDS, np.int64)
        self.cuts = np.empty((FEW_CUTS, 3), np.int64)
        self.scratch = np.empty(FASTLM_SCRATCH_WORDS, np.uint64)
        self.encoding.written = 0
        self.renew_out(OUT_IDS)

    cdef int renew_out(self, int64_t size) except -1:
        """A larger output, holding the ids written so far."""
        new = np.empty(size, np.uint32)
        if self.encoding.written:
            new[: self.encoding.written] = self.out[: self.encoding.written]
        self.out_array = new
        self.out = new
        return 0

    cdef int make_room(self) except -1:
        """Room for as many more ids as are wanted, and some."""
        return self.renew_out(
            max(self.out.shape[0] + self.out.shape[0] // 2, self.encoding.written + self.encoding.wanted))

    cdef int reserve(self, int64_t more) except -1:
        """Room for some more ids."""
        if self.encoding.written + more > self.out.shape[0]:
            self.renew_out(2 * self.encoding.written + more + OUT_IDS)
        return 0


cdef class Taken:
    """Ids that a worker hands over as they come, in an array of uint16 or uint32, or a larger one like it."""

    def __init__(self, array):
        self.is_narrow, self.used = array.itemsize == 2, 0
        self.array, self.bytes = array, array.view(np.uint8)

    cdef int renew(self, int64_t room) except -1:
        new = np.empty(room, self.array.dtype)
        new[: self.used] = self.array[: self.used]
        self.array, self.bytes = new, new.view(np.uint8)
        return 0

    cdef int take(self, const uint32_t *ids, int64_t n) except -1 nogil:
        cdef uint16_t *narrow
        cdef int64_t k
        if self.bytes.shape[0] < (self.used + n) * (2 if self.is_narrow else 4):
            with gil:
                self.renew(self.used + max(n, self.used // 2))
        if not n:
            return 0
        if self.is_narrow:
            narrow = <uint16_t *>&self.bytes[0] + self.used
            for k in range(n):
                narrow[k] = <uint16_t>ids[k]
        else:
            memcpy(<uint32_t *>&self.bytes[0] + self.used, ids, n * sizeof(uint32_t))
        self.used += n
        return 0
