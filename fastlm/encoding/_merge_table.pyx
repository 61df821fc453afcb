"""The merge table, in which the kernel finds the merge of a pair of ids; kernels/bpe.py has its format."""
import numpy as np

from libc.stdint cimport int16_t, int64_t, uint32_t, uint64_t, uintptr_t

from fastlm.native.common cimport FASTLM_NO_ID

cdef enum:
    # slots of a bucket; one vector comparison of the kernel searches a bucket
    BUCKET = 8

# odd multipliers for the hash. They are tried in turn until no search is long
MULTIPLIERS = (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53)
# full buckets in a row that a search may pass. Chance alone gives a few
MAX_FULL_BUCKETS = 64
# the largest share of slots that are taken: then one search in a hundred continues in the next bucket
MAX_LOAD = 0.4
# a 32-bit lane of the kernel holds a merge rank above 6 bits of position, and the greatest rank means none
MAX_MERGES = (1 << 26) - 1


cdef class MergeTable:
    """The tables of the kernel for a list of merges.

    Args:
        left, right, new: uint32 (n_merges,): the two ids of each merge and the id that it makes, in order of rank.
        byte_ids: uint32 (256,): the id of each byte.

    Raises:
        ValueError: The arrays have another shape or dtype, a pair occurs twice, or pairs collide under every hash.
    """

    def __cinit__(self, left, right, new, byte_ids):
        cdef const uint32_t[:] left_view = left, right_view = right, new_view = new
        cdef int64_t n = left_view.shape[0]
        if right_view.shape[0] != n or new_view.shape[0] != n:
            raise ValueError(f"merges must have the same length, got {n}, {right_view.shape[0]}, {new_view.shape[0]}")
        if n > MAX_MERGES:
            raise ValueError(f"too many merges: {n}, the maximum is {MAX_MERGES}")
        self.byte_ids = np.array(byte_ids)
        self.byte_ids_view = self.byte_ids
        if self.byte_ids_view.shape[0] != 256:
            raise ValueError(f"byte_ids must have 256 ids, got {self.byte_ids_view.shape[0]}")
        bucket_bits = max(0, int(np.ceil(np.log2(max(1, n) / (BUCKET * MAX_LOAD)))))
        self.tables.row_bits = int(n).bit_length()
        self.tables.shift = 64 - max(1, bucket_bits)
        self.merges = np.empty(2 * (n + 1), np.uint64)
        fill_rows(self.merges, left_view, right_view, new_view)
        self.merges_view = self.merges
        self.byte_pairs = byte_pair_ranks(left_view, right_view, self.byte_ids_view)
        self.byte_pairs_view = self.byte_pairs
        for multiplier in MULTIPLIERS:
            self.tables.multiplier = multiplier
            self.slots = np.zeros(BUCKET << (64 - self.tables.shift), np.uint32)
            if self._fill(self.slots, self.merges):
                break
        else:
            raise ValueError("the merges collide under every hash; no training from text gives such merges")
        self.slots_view = self.slots
        for array in (self.byte_ids, self.byte_pairs, self.slots, self.merges):
            array.flags.writeable = False
        self.tables.byte_ids, self.tables.byte_pairs = &self.byte_ids_view[0], &self.byte_pairs_view[0]
        self.tables.slots, self.tables.merges = &self.slots_view[0], &self.merges_view[0]

    @property
    def shift(self) -> int:
        return self.tables.shift

    @property
    def multiplier(self) -> int:
        return self.tables.multiplier

    @property
    def row_bits(self) -> int:
        return self.tables.row_bits

    @property
    def address(self) -> int:
        """Address of the struct fastlm_merge_tables, valid as long as this object."""
        return <uintptr_t>&self.tables

    cdef bint _fill(self, uint32_t[::1] slots, const uint64_t[::1] merges) except -1:
        """Puts each row of `merges` into the first bucket with an empty slot; returns false if a search is too long."""
        cdef int64_t buckets = slots.shape[0] // BUCKET, row, bucket, k, full = 0
        cdef uint64_t pair, hashed
        cdef uint32_t rows = <uint32_t>((<uint64_t>1 << self.tables.row_bits) - 1), slot
        cdef int64_t max_full = MAX_FULL_BUCKETS
        for row in range(1, merges.shape[0] // 2):
            pair = merges[2 * row]
            hashed = (pair ^ pair >> 29) * self.tables.multiplier
            bucket = <int64_t>(hashed >> self.tables.shift)
            full = 0
            while True:
                k = 0
                while k < BUCKET and slots[BUCKET * bucket + k]:
                    slot = slots[BUCKET * bucket + k]
                    if not ((slot ^ <uint32_t>hashed) & ~rows) and merges[2 * <uint64_t>(slot & rows)] == pair:
                        first = slot & rows
                        raise ValueError(
                            f"merge {row - 1} repeats merge {first - 1}: ids {pair >> 32}, {pair & 0xFFFFFFFF}")
                    k += 1
                if k < BUCKET:
                    break
                bucket = (bucket + 1) % buckets
                full += 1
                if full > max_full or full == buckets:
                    return False
            slots[BUCKET * bucket + k] = (<uint32_t>hashed & ~rows) | <uint32_t>row
        # the longest search is for a pair that has no merge
        full = 0
        for k in range(2 * buckets):
            full = full + 1 if slots[BUCKET * (k % buckets) + BUCKET - 1] else 0
            if full > max_full:
                return False
        return True


cdef int fill_rows(uint64_t[::1] rows, const uint32_t[:] left, const uint32_t[:] right,
                   const uint32_t[:] new) except -1:
    """Writes the rows of MergeTable.merges."""
    cdef int64_t rank
    rows[0] = rows[1] = <uint64_t>-1
    for rank in range(left.shape[0]):
        rows[2 * rank + 2] = <uint64_t>left[rank] << 32 | right[rank]
        rows[2 * rank + 3] = new[rank]
    return 0


def byte_pair_ranks(const uint32_t[:] left, const uint32_t[:] right, const uint32_t[::1] byte_ids):
    """Merge ranks of pairs of bytes.

    Args:
        left, right: uint32 (n_merges,): the ids of each merge, in order of rank.
        byte_ids: uint32 (256,): the id of each byte.

    Returns:
        uint32 (65536,): the rank of the merge of two bytes, by `first << 8 | second`; all ones if there is none.
    """
    ranks = np.full(1 << 16, FASTLM_NO_ID, np.uint32)
    cdef uint32_t[::1] to_ranks = ranks
    cdef int64_t rank, first, second
    cdef ByteOfId bytes_of = ByteOfId(byte_ids)
    for rank in range(left.shape[0]):
        first = bytes_of.byte(left[rank])
        if first >= 0:
            second = bytes_of.byte(right[rank])
            if second >= 0:
                to_ranks[first << 8 | second] = <uint32_t>rank
    return ranks


cdef class ByteOfId:
    """Finds the byte of an id: a hash table of the 256 ids, of which none may be repeated but FASTLM_NO_ID."""
    cdef uint32_t[1024] ids
    cdef int16_t[1024] bytes

    def __cinit__(self, const uint32_t[::1] byte_ids):
        cdef int64_t k, slot
        for k in range(1024):
            self.bytes[k] = -1
        for k in range(256):
            slot = <uint32_t>(byte_ids[k] * <uint32_t>0x9E3779B1) >> 22
            while self.bytes[slot] >= 0:
                slot = (slot + 1) & 1023
            self.ids[slot], self.bytes[slot] = byte_ids[k], <int16_t>k

    cdef int64_t byte(self, uint32_t token_id) noexcept:
        """Returns the byte that has an id, or -1."""
        cdef int64_t slot = <uint32_t>(token_id * <uint32_t>0x9E3779B1) >> 22
        while self.bytes[slot] >= 0:
            if self.ids[slot] == token_id:
                return self.bytes[slot]
            slot = (slot + 1) & 1023
        return -1
