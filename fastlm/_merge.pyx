"""Words and counts to merges: the BPE training loop (Sennrich et al. 2016, on bytes as in GPT-2).

All words lie in one int32 array of symbols; a word only ever shrinks, in place, and -1 marks what it no longer uses.
For a pair of symbols the index keeps its count and the list of words where it occurred when it arose. Two facts carry
the algorithm:

- A merge (a, b) -> c creates only pairs that contain c, and all of them at once. So a pair's list is complete when it
  arises and its count only falls afterwards: a heap entry with an old count is an upper bound, corrected when it
  reaches the top, and a list entry whose word has lost the pair is skipped.
- A pair whose count is below a threshold can be left out of the index altogether, since it cannot rise to it. When no
  pair at or above the threshold is left, the words are read once more with a lower one. Most pairs are rare, so table,
  heap and lists stay small and the words are read a handful of times in all.

No two merges spell the same bytes: what lies between two places that no merge has crossed is merged just as if it
stood alone, so every occurrence of a token's bytes between such places became that token when it was made.

A merge costs time in proportion to the words that hold its pair, not to the corpus. Counts are 64-bit.
"""
import os

import numpy as np

from libc.stdint cimport int32_t, int64_t, uint8_t, uint64_t
from libc.string cimport memcmp

from fastlm._arrays import grown

cdef extern from *:
    """
    #define fastlm_prefetch(address) __builtin_prefetch(address, 1)
    """
    void fastlm_prefetch(const void *address) nogil

cdef enum:
    FIRST_MERGED = 256
    # each reading of the words lowers the threshold by this factor: fewer readings against a larger index
    THRESHOLD_STEP = 8
    # merges between two looks at progress and signals
    SLICE = 256
    AHEAD = 8

cdef uint64_t MULTIPLIER = int.from_bytes(os.urandom(8)) | 1
TIE_BREAKS = ("cs336", "hf")


def learn_merges(const uint8_t[::1] text not None, const int64_t[::1] starts not None,
                 const int64_t[::1] counts not None, int64_t num_merges, const int32_t[::1] byte_symbols not None,
                 tie_break: str, progress=None, int64_t min_count=1, max_token_length=None):
    """The merges of BPE training as (left, right), int32 (n,) each with n <= num_merges.

    text[starts[w]:starts[w + 1]] are the bytes of word w, which occurs counts[w] >= 1 times. Symbols are
    byte_symbols[byte] (a permutation of 0..255), and 256 + k for what merge k makes. There are fewer merges than asked
    for when no word has two symbols left. Of pairs of equal count, tie_break "cs336" takes the one whose two byte
    strings are lexicographically greatest, "hf" the one whose two symbols are smallest. Pairs that occur less than
    min_count times are not merged, nor those that would make more than max_token_length bytes. `progress(k)` is called
    now and then with the number of merges done. Raises ValueError for arguments that are not of this form.
    """
    if tie_break not in TIE_BREAKS:
        raise ValueError(f"tie_break must be one of {TIE_BREAKS}, not {tie_break!r}")
    if starts.shape[0] != counts.shape[0] + 1 or starts[0] != 0 or starts[counts.shape[0]] != text.shape[0]:
        raise ValueError("starts must begin with 0, end with len(text) and have one entry more than counts")
    if counts.shape[0] >= np.iinfo(np.int32).max:
        raise ValueError(f"{counts.shape[0]} distinct words are more than 2^31 - 1")
    if counts.shape[0] and (np.diff(starts).min() < 0 or np.min(counts) < 1):
        raise ValueError("starts must ascend and counts be at least 1")
    if sorted(byte_symbols) != list(range(256)):
        raise ValueError("byte_symbols must be a permutation of 0..255")
    if num_merges < 0:
        raise ValueError(f"num_merges must not be negative, but is {num_merges}")
    if min_count < 1:
        raise ValueError(f"min_count must be at least 1, but is {min_count}")
    longest = np.iinfo(np.int64).max if max_token_length is None else max_token_length
    cdef Learner learner = Learner(text, starts, counts, num_merges, byte_symbols, tie_break == "hf", min_count, longest)
    return learner.run(progress)


cdef class Learner:
    # the words
    cdef int32_t[::1] symbols
    cdef const int64_t[::1] starts, counts
    # what each symbol stands for: its bytes, and their first eight as one big-endian number
    cdef uint8_t[::1] bytes
    cdef int64_t[::1] bytes_start
    cdef uint64_t[::1] prefix
    # the index: table[2 s] = left << 32 | right or -1, table[2 s + 1] = its row
    cdef int64_t[::1] table
    cdef int64_t mask, pairs
    cdef int32_t[::1] left, right
    cdef int64_t[::1] count, list_start, list_length
    cdef int32_t[::1] lists
    cdef int64_t lists_used, threshold
    # the heap of (count, row); the greatest comes first
    cdef int64_t[::1] heap_count
    cdef int32_t[::1] heap_row
    cdef int64_t heap_size
    # pairs that arise in the present step, and the words where they do; row_of_left[x] is the row of (x, new) in them
    cdef int32_t[::1] new_left, new_right, new_last_word
    cdef int64_t[::1] new_count, new_length
    cdef int64_t news
    cdef int32_t[::1] found_row, found_word
    cdef int64_t found
    cdef int32_t[::1] row_of_left, row_of_right
    # what came of it
    cdef int32_t[::1] merge_left, merge_right
    cdef int64_t merges, num_merges, min_count, max_token_length
    cdef bint smallest_symbols

    def __cinit__(self, text, starts, counts, num_merges, byte_symbols, smallest_symbols, min_count,
                  max_token_length):
        cdef const int32_t[::1] of_byte = byte_symbols
        cdef const uint8_t[::1] source = text
        cdef int64_t k, vocabulary = FIRST_MERGED + num_merges
        self.starts, self.counts = starts, counts
        self.symbols = np.empty(source.shape[0], np.int32)
        for k in range(source.shape[0]):
            self.symbols[k] = of_byte[source[k]]
        self.bytes = np.empty(FIRST_MERGED, np.uint8)
        self.bytes_start = np.arange(vocabulary + 1)
        self.prefix = np.empty(vocabulary, np.uint64)
        for k in range(256):
            self.bytes[of_byte[k]] = k
            self.prefix[of_byte[k]] = <uint64_t>k << 56
        self.left, self.right, self.heap_row, self.lists = (np.empty(4096, np.int32) for _ in range(4))
        self.count, self.list_start, self.list_length, self.heap_count = (np.empty(4096, np.int64) for _ in range(4))
        self.new_left, self.new_right, self.new_last_word = (np.empty(1024, np.int32) for _ in range(3))
        self.new_count, self.new_length = np.empty(1024, np.int64), np.empty(1024, np.int64)
        self.found_row, self.found_word = np.empty(1024, np.int32), np.empty(1024, np.int32)
        self.row_of_left, self.row_of_right = np.full(vocabulary, -1, np.int32), np.full(vocabulary, -1, np.int32)
        self.merge_left, self.merge_right = np.empty(num_merges, np.int32), np.empty(num_merges, np.int32)
        self.num_merges, self.min_count, self.max_token_length = num_merges, min_count, max_token_length
        self.smallest_symbols = smallest_symbols

    cdef tuple run(self, progress):
        cdef int64_t goal
        cdef bint more = self.num_merges > 0 and self._index(0)
        while more and self.merges < self.num_merges:
            goal = min(self.merges + SLICE, self.num_merges)
            with nogil:
                while self.merges < goal and self._take_best():
                    self._merge_pair(self.heap_row[0])
            if self.merges < goal:
                more = self.threshold > self.min_count and self._index(max(self.min_count, self.threshold // THRESHOLD_STEP))
            if progress is not None:
                progress(self.merges)
        return np.array(self.merge_left[: self.merges]), np.array(self.merge_right[: self.merges])

    # --- the index ---

    cdef bint _index(self, int64_t threshold) except -1:
        """Indexes the pairs that occur at least so often, 0 for a first guess; false when none occurs often enough.

        A table of sums by hash comes first: only pairs whose sum reaches the threshold are counted one by one.
        """
        cdef int64_t buckets = 1 << 12, top = 0, k
        while buckets < self.symbols.shape[0] // 4 and buckets < 1 << 22:
            buckets *= 2
        cdef int64_t[::1] sums = np.zeros(buckets, np.int64)
        with nogil:
            self._sum_pairs(sums)
            for k in range(buckets):
                top = max(top, sums[k])
        if top < self.min_count:
            return False
        self.threshold = max(self.min_count, threshold or top // THRESHOLD_STEP)
        self._clear_index(1 << 12)
        with nogil:
            self._find_pairs(sums)
        self._clear_index(self._table_size(self.news))
        with nogil:
            self._file_new_pairs()
        return True

    cdef int _sum_pairs(self, int64_t[::1] sums) except -1 nogil:
        cdef int64_t word, i, end, sums_mask = sums.shape[0] - 1
        for word in range(self.counts.shape[0]):
            end = self.starts[word + 1]
            for i in range(self.starts[word], end - 1):
                if self.symbols[i + 1] < 0:
                    break
                sums[self._hash(self.symbols[i], self.symbols[i + 1]) & sums_mask] += self.counts[word]
        return 0

    cdef int _find_pairs(self, const int64_t[::1] sums) except -1 nogil:
        """Notes every pair whose sum reaches the threshold as a new one, and the words where it occurs."""
        cdef int64_t word, i, end, slot, sums_mask = sums.shape[0] - 1
        cdef int32_t a, b, row
        for word in range(self.counts.shape[0]):
            end = self.starts[word + 1]
            for i in range(self.starts[word], end - 1):
                a = self.symbols[i]
                b = self.symbols[i + 1]
                if b < 0:
                    break
                if sums[self._hash(a, b) & sums_mask] < self.threshold:
                    continue
                slot = self._slot(a, b)
                if self.table[2 * slot] < 0:
                    row = self._new_pair(a, b)
                    self.table[2 * slot] = self._key(a, b)
                    self.table[2 * slot + 1] = row
                    if 2 * self.news > self.mask:
                        self._widen_table(self.new_left, self.new_right, self.news)
                else:
                    row = <int32_t>self.table[2 * slot + 1]
                self._note(row, <int32_t>word)
        return 0

    cdef inline uint64_t _hash(self, int32_t a, int32_t b) noexcept nogil:
        cdef uint64_t product = (<uint64_t>a << 32 | <uint64_t>b) * MULTIPLIER
        return product >> 32 ^ product >> 12

    cdef inline int64_t _key(self, int32_t a, int32_t b) noexcept nogil:
        return <int64_t>a << 32 | b

    cdef inline int64_t _slot(self, int32_t a, int32_t b) except -1 nogil:
        """Slot of the pair, or the empty one where it belongs."""
        cdef int64_t key = self._key(a, b), slot = <int64_t>(self._hash(a, b) & <uint64_t>self.mask)
        while self.table[2 * slot] >= 0 and self.table[2 * slot] != key:
            slot = (slot + 1) & self.mask
        return slot

    cdef int64_t _table_size(self, int64_t pairs):
        cdef int64_t size = 1 << 12
        while size < 3 * pairs:
            size *= 2
        return size

    cdef int _clear_index(self, int64_t table_size) except -1:
        self.table = np.full(2 * table_size, -1, np.int64)
        self.mask = table_size - 1
        self.pairs = self.lists_used = self.heap_size = 0
        return 0

    cdef int _widen_table(self, const int32_t[::1] left, const int32_t[::1] right, int64_t rows) except -1 with gil:
        """Twice as many slots, for the pairs (left[k], right[k]), k < rows."""
        cdef int64_t k, slot
        self.table = np.full(4 * (self.mask + 1), -1, np.int64)
        self.mask = 2 * self.mask + 1
        for k in range(rows):
            slot = self._slot(left[k], right[k])
            self.table[2 * slot] = self._key(left[k], right[k])
            self.table[2 * slot + 1] = k
        return 0

    # --- pairs that arise ---

    cdef inline int32_t _new_pair(self, int32_t a, int32_t b) except -1 nogil:
        cdef int32_t row = <int32_t>self.news
        if self.news == self.new_left.shape[0]:
            self._widen_news()
        self.new_left[row] = a
        self.new_right[row] = b
        self.new_count[row] = self.new_length[row] = 0
        self.new_last_word[row] = -1
        self.news += 1
        return row

    cdef inline int _note(self, int32_t row, int32_t word) except -1 nogil:
        """One more occurrence of a new pair, in this word."""
        self.new_count[row] += self.counts[word]
        if self.new_last_word[row] == word:
            return 0
        self.new_last_word[row] = word
        self.new_length[row] += 1
        if self.found == self.found_row.shape[0]:
            self._widen_found()
        self.found_row[self.found] = row
        self.found_word[self.found] = word
        self.found += 1
        return 0

    cdef int _file_new_pairs(self) except -1 nogil:
        """Puts the new pairs that reach the threshold into index and heap, and forgets the new pairs."""
        cdef int64_t k, at, row, slot
        for k in range(self.news):
            if self.new_count[k] < self.threshold or self._size(self.new_left[k]) + self._size(
                    self.new_right[k]) > self.max_token_length:
                self.new_last_word[k] = -1
                continue
            self._make_room(self.new_length[k])
            row = self.pairs
            self.left[row] = self.new_left[k]
            self.right[row] = self.new_right[k]
            self.count[row] = self.new_count[k]
            self.list_start[row] = self.lists_used
            self.list_length[row] = 0
            self.lists_used += self.new_length[k]
            slot = self._slot(self.left[row], self.right[row])
            self.table[2 * slot] = self._key(self.left[row], self.right[row])
            self.table[2 * slot + 1] = row
            self.new_last_word[k] = <int32_t>row  # from here on: where the pair went
            self._push(self.count[row], <int32_t>row)
            self.pairs += 1
        for k in range(self.found):
            row = self.new_last_word[self.found_row[k]]
            if row >= 0:
                at = self.list_start[row] + self.list_length[row]
                self.lists[at] = self.found_word[k]
                self.list_length[row] += 1
        self.news = self.found = 0
        return 0

    cdef inline int _make_room(self, int64_t list_length) except -1 nogil:
        if self.pairs == self.left.shape[0]:
            self._widen_pairs()
        if self.lists_used + list_length > self.lists.shape[0]:
            self._widen_lists(list_length)
        if 2 * self.pairs > self.mask:
            self._widen_table(self.left, self.right, self.pairs)
        return 0

    cdef int _widen_pairs(self) except -1 with gil:
        size = 2 * self.left.shape[0]
        self.left, self.right = grown(self.left, size), grown(self.right, size)
        self.count = grown(self.count, size)
        self.list_start = grown(self.list_start, size)
        self.list_length = grown(self.list_length, size)
        self.heap_count, self.heap_row = grown(self.heap_count, size), grown(self.heap_row, size)
        return 0

    cdef int _widen_lists(self, int64_t list_length) except -1 with gil:
        cdef int64_t old = self.lists.shape[0]
        self.lists = grown(self.lists, max(old + old // 2, self.lists_used + list_length))
        return 0

    cdef int _widen_news(self) except -1 with gil:
        size = 2 * self.new_left.shape[0]
        self.new_left, self.new_right = grown(self.new_left, size), grown(self.new_right, size)
        self.new_last_word = grown(self.new_last_word, size)
        self.new_count = grown(self.new_count, size)
        self.new_length = grown(self.new_length, size)
        return 0

    cdef int _widen_found(self) except -1 with gil:
        size = self.found_row.shape[0] + self.found_row.shape[0] // 2
        self.found_row, self.found_word = grown(self.found_row, size), grown(self.found_word, size)
        return 0

    # --- one merge ---

    cdef bint _take_best(self) except -1 nogil:
        """Brings the pair to merge next to the heap's top; false when no pair reaches the threshold."""
        cdef int64_t now
        cdef int32_t row
        while self.heap_size:
            row = self.heap_row[0]
            now = self.count[row]
            if now == self.heap_count[0]:
                return True
            if now >= self.threshold:
                self._sift_down(now, row)
            else:
                self.heap_size -= 1
                if self.heap_size:
                    self._sift_down(self.heap_count[self.heap_size], self.heap_row[self.heap_size])
        return False

    cdef int _merge_pair(self, int32_t row) except -1 nogil:
        """Merges the pair of this row everywhere."""
        cdef int32_t a = self.left[row], b = self.right[row], new = <int32_t>(FIRST_MERGED + self.merges)
        cdef int64_t k, length = self.list_length[row], start = self.list_start[row]
        self._spell(a, b, new)
        for k in range(length):
            if k + 2 * AHEAD < length:
                fastlm_prefetch(&self.starts[self.lists[start + k + 2 * AHEAD]])
                fastlm_prefetch(&self.symbols[self.starts[self.lists[start + k + AHEAD]]])
            self._merge_in_word(a, b, new, self.lists[start + k])
        self.count[row] = 0
        for k in range(self.news):
            self.row_of_left[self.new_left[k]] = self.row_of_right[self.new_right[k]] = -1
        self._file_new_pairs()
        self.merge_left[self.merges] = a
        self.merge_right[self.merges] = b
        self.merges += 1
        return 0

    cdef int _merge_in_word(self, int32_t a, int32_t b, int32_t new, int32_t word) except -1 nogil:
        cdef int64_t i = self.starts[word], j, first = i, end = self.starts[word + 1], times = self.counts[word]
        cdef int32_t symbol, after
        while i + 1 < end and not (self.symbols[i] == a and self.symbols[i + 1] == b):
            if self.symbols[i] < 0:
                return 0
            i += 1
        if i + 1 >= end:
            return 0
        j = i
        while i < end:
            symbol = self.symbols[i]
            if symbol < 0:
                break
            if symbol != a or i + 1 == end or self.symbols[i + 1] != b:
                self.symbols[j] = symbol
                i += 1
                j += 1
                continue
            if j > first:
                if self.symbols[j - 1] != new:  # else the pair between was lost as the last merge's (b, after)
                    self._lose(self.symbols[j - 1], a, times)
                self._note(self._pair_before(self.symbols[j - 1], new), word)
            after = self.symbols[i + 2] if i + 2 < end else -1
            if after >= 0:
                self._lose(b, after, times)
                if after != a or i + 3 == end or self.symbols[i + 3] != b:  # else it merges next, into (new, new)
                    self._note(self._pair_after(new, after), word)
            self.symbols[j] = new
            i += 2
            j += 1
        if j < end:
            self.symbols[j] = -1
        return 0

    cdef inline int _lose(self, int32_t a, int32_t b, int64_t times) except -1 nogil:
        """One occurrence less of a pair in a word that occurs so often; a pair below the threshold is not there."""
        cdef int64_t slot = self._slot(a, b)
        if self.table[2 * slot] >= 0:
            self.count[self.table[2 * slot + 1]] -= times
        return 0

    cdef inline int32_t _pair_before(self, int32_t symbol, int32_t new) except -1 nogil:
        if self.row_of_left[symbol] < 0:
            self.row_of_left[symbol] = self._new_pair(symbol, new)
        return self.row_of_left[symbol]

    cdef inline int32_t _pair_after(self, int32_t new, int32_t symbol) except -1 nogil:
        if self.row_of_right[symbol] < 0:
            self.row_of_right[symbol] = self._new_pair(new, symbol)
        return self.row_of_right[symbol]

    cdef inline int64_t _size(self, int32_t symbol) except -1 nogil:
        return self.bytes_start[symbol + 1] - self.bytes_start[symbol]

    cdef int _spell(self, int32_t a, int32_t b, int32_t new) except -1 nogil:
        """Records the bytes of the new symbol."""
        cdef int64_t k, at = self.bytes_start[new], size_a = self._size(a), size = size_a + self._size(b)
        cdef uint64_t prefix = 0
        if at + size > self.bytes.shape[0]:
            self._widen_bytes(size)
        for k in range(size):
            self.bytes[at + k] = self.bytes[self.bytes_start[a] + k if k < size_a else self.bytes_start[b] + k - size_a]
        for k in range(8):
            prefix = prefix << 8 | (self.bytes[at + k] if k < size else 0)
        self.prefix[new] = prefix
        self.bytes_start[new + 1] = at + size
        return 0

    cdef int _widen_bytes(self, int64_t size) except -1 with gil:
        self.bytes = grown(self.bytes, 2 * self.bytes.shape[0] + size)
        return 0

    # --- the heap ---

    cdef inline bint _before(self, int64_t count, int32_t row, int64_t other_count, int32_t other) except -1 nogil:
        """Whether (count, row) is merged before (other_count, other)."""
        cdef int order
        if count != other_count:
            return count > other_count
        if self.smallest_symbols:
            if self.left[row] != self.left[other]:
                return self.left[row] < self.left[other]
            return self.right[row] < self.right[other]
        order = self._compare(self.left[row], self.left[other])
        if order == 0:
            order = self._compare(self.right[row], self.right[other])
        return order > 0

    cdef inline int _compare(self, int32_t a, int32_t b) except -2 nogil:
        """-1, 0 or 1 as the bytes of symbol a are below, equal to or above those of b."""
        cdef int64_t size_a = self._size(a), size_b = self._size(b)
        cdef int order
        if a == b:
            return 0
        if self.prefix[a] != self.prefix[b]:
            return 1 if self.prefix[a] > self.prefix[b] else -1
        order = memcmp(&self.bytes[self.bytes_start[a]], &self.bytes[self.bytes_start[b]], min(size_a, size_b))
        if order:
            return 1 if order > 0 else -1
        return (size_a > size_b) - (size_a < size_b)

    cdef int _push(self, int64_t count, int32_t row) except -1 nogil:
        cdef int64_t hole = self.heap_size, parent
        self.heap_size += 1
        while hole:
            parent = (hole - 1) // 2
            if not self._before(count, row, self.heap_count[parent], self.heap_row[parent]):
                break
            self.heap_count[hole] = self.heap_count[parent]
            self.heap_row[hole] = self.heap_row[parent]
            hole = parent
        self.heap_count[hole] = count
        self.heap_row[hole] = row
        return 0

    cdef int _sift_down(self, int64_t count, int32_t row) except -1 nogil:
        """Puts (count, row) into the heap in place of its top."""
        cdef int64_t hole = 0, child = 1
        while child < self.heap_size:
            if child + 1 < self.heap_size and self._before(self.heap_count[child + 1], self.heap_row[child + 1],
                                                           self.heap_count[child], self.heap_row[child]):
                child += 1
            if self._before(count, row, self.heap_count[child], self.heap_row[child]):
                break
            self.heap_count[hole] = self.heap_count[child]
            self.heap_row[hole] = self.heap_row[child]
            hole = child
            child = 2 * child + 1
        self.heap_count[hole] = count
        self.heap_row[hole] = row
        return 0
