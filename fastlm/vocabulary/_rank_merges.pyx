"""Finds the merges of a list of tokens in order of rank, as in tiktoken's rank files.

Such a list tells which bytes are tokens, but not which pair merges to a token. Merging by rank makes a token always in
the same way, whatever the text around it, because merges within its bytes happen in the order of their ranks. So each
token has one merge: that of the two parts which remain when all shorter tokens have merged within its bytes.
"""
import heapq

import numpy as np
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

cdef enum:
    # a longer token is merged with a heap first, because the plain loop takes quadratic time
    LONGEST_QUADRATIC = 256

cdef uint64_t EMPTY = 0xFFFFFFFFFFFFFFFF
cdef uint32_t NO_RANK = 0xFFFFFFFF


cdef class PairRanks:
    """A hash table: pair of token indices -> index of the token that they merge to. It holds up to `most` pairs."""
    cdef uint64_t[::1] keys
    cdef uint32_t[::1] ranks
    cdef uint64_t mask

    def __cinit__(self, int64_t most):
        size = 1 << max(4, int(2 * most).bit_length())
        self.keys, self.ranks, self.mask = np.full(size, EMPTY, np.uint64), np.empty(size, np.uint32), size - 1

    cdef uint64_t _slot(self, uint64_t key) except? 0xFFFFFFFFFFFFFFFF nogil:
        cdef uint64_t product = key * <uint64_t>0x9E3779B97F4A7C15
        cdef uint64_t slot = (product ^ product >> 32) & self.mask
        while self.keys[slot] != EMPTY and self.keys[slot] != key:
            slot = (slot + 1) & self.mask
        return slot

    cdef uint32_t rank(self, uint32_t left, uint32_t right) except? 0xFFFFFFFE nogil:
        cdef uint64_t slot = self._slot(<uint64_t>left << 32 | right)
        return NO_RANK if self.keys[slot] == EMPTY else self.ranks[slot]

    cdef int add(self, uint32_t left, uint32_t right, uint32_t rank) except -1 nogil:
        cdef uint64_t slot = self._slot(<uint64_t>left << 32 | right)
        self.keys[slot] = <uint64_t>left << 32 | right
        self.ranks[slot] = rank
        return 0


def merges_of_ranks(const uint8_t[::1] text not None, const int64_t[::1] offsets not None):
    """Returns the merge of each token that merging can make.

    Args:
        text: The bytes of all tokens, uint8.
        offsets: int64 (tokens + 1,): token k, in order of rank, is text[offsets[k]:offsets[k + 1]]. No token is empty.

    Returns:
        (left, right, new), uint32 (merges,) each, in order of `new`: indices of tokens. A token of one byte has no
        merge, and neither has one that merging cannot make or that has a byte which is no token.
    """
    cdef int64_t n = offsets.shape[0] - 1, at_length, k, i, length, size, at, written = 0, longest = 1
    cdef uint32_t best
    cdef uint32_t[::1] byte_tokens = np.full(256, NO_RANK, np.uint32)
    cdef bint whole
    for k in range(n):
        if offsets[k + 1] - offsets[k] == 1:
            byte_tokens[text[offsets[k]]] = <uint32_t>k
        longest = max(longest, offsets[k + 1] - offsets[k])
    left, right, new = (np.empty(n, np.uint32) for _ in range(3))
    cdef uint32_t[::1] to_left = left, to_right = right, to_new = new
    cdef uint32_t[::1] parts = np.empty(longest, np.uint32), ranks = np.empty(longest, np.uint32)
    pairs = PairRanks(n)
    # the parts of a token are shorter than the token, whatever their ranks
    cdef int64_t[::1] by_length = np.argsort(np.diff(offsets), kind="stable")
    for at_length in range(n):
        k = by_length[at_length]
        length = offsets[k + 1] - offsets[k]
        if length == 1:
            continue
        whole = True
        for i in range(length):
            parts[i] = byte_tokens[text[offsets[k] + i]]
            whole = whole and parts[i] != NO_RANK
        if not whole:
            continue
        size = length
        if length > LONGEST_QUADRATIC:
            size = merge_with_heap(pairs, parts, length)
        with nogil:
            for i in range(size - 1):
                ranks[i] = pairs.rank(parts[i], parts[i + 1])
            while size > 1:
                best, at = NO_RANK, 0
                for i in range(size - 1):
                    if ranks[i] < best:
                        best, at = ranks[i], i
                if best == NO_RANK:
                    break
                parts[at] = best
                size -= 1
                for i in range(at + 1, size):
                    parts[i] = parts[i + 1]
                    ranks[i - 1] = ranks[i]
                if at > 0:
                    ranks[at - 1] = pairs.rank(parts[at - 1], parts[at])
                if at + 1 < size:
                    ranks[at] = pairs.rank(parts[at], parts[at + 1])
            if size == 2:
                pairs.add(parts[0], parts[1], <uint32_t>k)
                to_left[written], to_right[written], to_new[written] = parts[0], parts[1], <uint32_t>k
                written += 1
    in_order = np.argsort(new[:written])
    return left[in_order], right[in_order], new[in_order]


cdef int64_t merge_with_heap(PairRanks pairs, uint32_t[::1] parts, int64_t n) except -1:
    """Merges parts[:n] by rank, in place, in O(n log n). Returns the number of parts that are left."""
    cdef int64_t at, after, kept = 0
    following, before = list(range(1, n + 1)), list(range(-1, n - 1))
    alive = [True] * n
    heap = [(rank, at) for at in range(n - 1) if (rank := pairs.rank(parts[at], parts[at + 1])) != NO_RANK]
    heapq.heapify(heap)
    while heap:
        rank, at = heapq.heappop(heap)
        after = following[at]
        if not alive[at] or after == n or pairs.rank(parts[at], parts[after]) != rank:
            continue
        parts[at], alive[after] = rank, False
        following[at] = following[after]
        if following[at] < n:
            before[following[at]] = at
        for first in (before[at], at):
            if first >= 0 and following[first] < n:
                rank = pairs.rank(parts[first], parts[following[first]])
                if rank != NO_RANK:
                    heapq.heappush(heap, (rank, first))
    for at in range(n):
        if alive[at]:
            parts[kept] = parts[at]
            kept += 1
    return kept
