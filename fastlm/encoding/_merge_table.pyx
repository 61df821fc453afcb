"""The tables by which the kernel finds the merge of a pair; see kernels/bpe.py."""
import numpy as np

from libc.stdint cimport int64_t, uint32_t, uint64_t

cdef enum:
    BUCKET = 8

# odd multipliers for the hash, tried in turn until no search is long
MULTIPLIERS = (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53)
# full buckets in a row that a search may have to pass; chance alone gives a few
LONGEST_RUN = 64
# the share of slots that are taken, at most: then one search in a hundred goes on in the next bucket
MOST_TAKEN = 0.4
# a rank stands over six bits of position in a lane of 32, and the last one means none
MOST_MERGES = (1 << 26) - 1


cdef class PairTables:
    """byte_pairs, slots, merges (arrays), shift, multiplier and row_bits (int) for these merges.

    left, right, new: uint32 (n_merges,), in order of merge rank; byte_ids: uint32 (256,), the id of each byte. Raises
    ValueError for a pair given twice, or pairs made to collide.
    """

    cdef readonly object byte_pairs, slots, merges
    cdef readonly uint64_t multiplier
    cdef readonly int shift, row_bits

    def __init__(self, left, right, new, byte_ids):
        n = len(left)
        if n > MOST_MERGES:
            raise ValueError(f"there may be {MOST_MERGES} merges, not {n}")
        self.row_bits = n.bit_length()
        bucket_bits = max(0, int(np.ceil(np.log2(max(1, n) / (BUCKET * MOST_TAKEN)))))
        self.shift = 64 - max(1, bucket_bits)
        self.merges = np.full(2 * (n + 1), 2**64 - 1, np.uint64)
        self.merges[2::2] = left.astype(np.uint64) << np.uint64(32) | right
        self.merges[3::2] = new
        self.byte_pairs = byte_pair_ranks(left, right, byte_ids)
        for multiplier in MULTIPLIERS:
            self.multiplier = multiplier
            self.slots = np.zeros(BUCKET << (64 - self.shift), np.uint32)
            if _fill(self.slots, self.merges, self.shift, self.multiplier, self.row_bits):
                return
        raise ValueError("the merges collide under every hash; they were not learned from text")


def byte_pair_ranks(left, right, byte_ids):
    """uint32 (65536,): the rank of the merge of two bytes, or all ones."""
    byte_of = dict(zip(byte_ids.tolist(), range(256)))
    ranks = np.full(1 << 16, 0xFFFFFFFF, np.uint32)
    of_bytes = np.flatnonzero(np.isin(left, byte_ids) & np.isin(right, byte_ids))
    for rank in of_bytes.tolist():
        ranks[byte_of[int(left[rank])] << 8 | byte_of[int(right[rank])]] = rank
    return ranks


cdef bint _fill(uint32_t[::1] slots, const uint64_t[::1] merges, int shift, uint64_t multiplier,
                int row_bits) except -1:
    """Puts every row in the first bucket with room from its own on; whether no search is long."""
    cdef int64_t buckets = slots.shape[0] // BUCKET, row, bucket, k, full = 0, run = 0
    cdef uint64_t pair, hashed
    cdef uint32_t rows = <uint32_t>((<uint64_t>1 << row_bits) - 1)
    for row in range(1, merges.shape[0] // 2):
        pair = merges[2 * row]
        hashed = (pair ^ pair >> 29) * multiplier
        bucket = <int64_t>(hashed >> shift)
        run = 0
        while True:
            k = 0
            while k < BUCKET and slots[BUCKET * bucket + k]:
                if merges[2 * (slots[BUCKET * bucket + k] & rows)] == pair:
                    first = slots[BUCKET * bucket + k] & rows
                    raise ValueError(
                        f"merge {row - 1} repeats merge {first - 1}: ids {pair >> 32}, {pair & 0xFFFFFFFF}")
                k += 1
            if k < BUCKET:
                break
            bucket = (bucket + 1) % buckets
            run += 1
            if run > LONGEST_RUN or run == buckets:
                return False
        slots[BUCKET * bucket + k] = (<uint32_t>hashed & ~rows) | <uint32_t>row
    # the longest search is for a pair that is not there
    run = 0
    for k in range(2 * buckets):
        run = run + 1 if slots[BUCKET * (k % buckets) + BUCKET - 1] else 0
        if run > LONGEST_RUN:
            return False
    return True
