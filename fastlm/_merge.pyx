"""Words and counts to merges: the BPE training loop (Sennrich et al. 2016, on bytes as in GPT-2).

All words lie in one int32 array of records: how many symbols, the count in two cells, the symbols. A word only ever
shrinks, in place, and -1 fills what it no longer uses; a word of one symbol has nothing to merge and is dropped. For a
pair of symbols the index keeps its count and the list of words (places of records) where it occurred when it arose.
Three facts carry the algorithm:

- A merge (a, b) -> c creates only pairs that contain c, and all of them at once. So a pair's list is complete when it
  arises and its count only falls afterwards: a heap entry with an old count is an upper bound, corrected when it
  reaches the top, and a list entry whose word has lost the pair is skipped.
- Each occurrence of (x, c) that a merge creates was one of (x, a), and each of (c, y) one of (b, y), but (c, c) was
  (b, a). So counts fall by what the new pairs count, once a merge for each new pair, not at each place.
- A pair whose count is below a threshold can be left out of the index altogether, since it cannot rise to it. When no
  pair at or above the threshold is left, the words are read once more with a lower one. Most pairs are rare, so table,
  heap and lists stay small and the words are read a handful of times in all.

No two merges spell the same bytes: what lies between two places that no merge has crossed is merged just as if it
stood alone, so every occurrence of a token's bytes between such places became that token when it was made.

A merge costs time in proportion to the words that hold its pair, not to the corpus. Counts are 64-bit.
"""
import os

import numpy as np

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memmove

from fastlm._arrays import grown
from fastlm.native.common cimport fastlm_prefetch_write

cdef extern from *:
    """
    #define fastlm_leading_zeros(word) __builtin_clzll(word)
    #define fastlm_trailing_zeros(word) __builtin_ctzll(word)
    """
    int fastlm_trailing_zeros(uint64_t word) nogil
    int fastlm_leading_zeros(uint64_t word) nogil

cdef enum:
    FIRST_MERGED = 256
    # merges between two looks at progress and signals
    SLICE = 256
    AHEAD = 12
    # cells of a word's record before its symbols: how many they are, and the count in two
    HEADER = 3
    # cells of a pair's row: its key (left << 32 | right), its count, where its list starts, and how long that is
    ROW = 4
    # when lists are made they hold a word for every so many cells at most: fewer readings against a larger index
    BUDGET = 3
    # pairs are first summed by hash in at most so many buckets
    MOST_BUCKETS = 1 << 20
    # thresholds considered: this many between a power of two and the next
    STEPS = 8

cdef uint64_t MULTIPLIER = int.from_bytes(os.urandom(8)) | 1
TIE_BREAKS = ("cs336", "hf")


cdef inline int _step_of(int64_t count) noexcept nogil:
    """Number of the threshold step in which a count >= 1 lies."""
    cdef int power = 63 - fastlm_leading_zeros(<uint64_t>count)
    return power * STEPS + <int>((count >> power - 3 if power >= 3 else count << 3 - power) & 7)


cdef inline int64_t _first_of_step(int64_t step) noexcept nogil:
    cdef int64_t power = step // STEPS, part = STEPS + step % STEPS
    return part << power - 3 if power >= 3 else part + (1 << 3 - power) - 1 >> 3 - power


def cells_of(const int64_t[::1] starts not None):
    """Cells that the words between these starts take; those of less than two bytes take none."""
    cdef int64_t word, cells = 0
    for word in range(starts.shape[0] - 1):
        if starts[word + 1] - starts[word] >= 2:
            cells += HEADER + starts[word + 1] - starts[word]
    return cells


cdef class MergeLearner:
    """Learns the merges of BPE training from distinct words and their counts, which `add` takes before `learn`.

    cells: room for the words, as `cells_of` counts it. Symbols are byte_symbols[byte] (a permutation of 0..255), and
    256 + k for what merge k makes. Of pairs of equal count, tie_break "cs336" takes the one whose two byte strings are
    lexicographically greatest, "hf" the one whose two symbols are smallest. Pairs that occur less than min_count times
    are not merged, nor those that would make more than max_token_length bytes. known (KnownMerges):
    the first of the num_merges merges, made whatever the counts. Raises ValueError for arguments that are not of this form.
    """
    # the words
    cdef int32_t[::1] cells
    cdef int64_t cells_used
    # what each symbol stands for: its bytes, and their first eight as one big-endian number
    cdef uint8_t[::1] bytes
    cdef int64_t[::1] bytes_start
    cdef uint64_t[::1] prefix
    # the index: rows of pairs, then rows of those that arise in the present step, whose last two cells are the last
    # word noted and the number of words; slots of a hash table, each a row or -1; lists of words
    cdef int64_t[::1] rows
    cdef int64_t pairs, news
    cdef int32_t[::1] slots
    cdef int64_t mask
    # buckets of pairs that reach the threshold together, one bit each; a bucket is left * side + right, or a hash
    cdef uint64_t[::1] frequent
    cdef int64_t bucket_side, bucket_mask
    cdef uint32_t[::1] lists
    cdef int64_t lists_used, threshold
    # the heap of (count, row); the greatest comes first
    cdef int64_t[::1] heap_count
    cdef int32_t[::1] heap_row
    cdef int64_t heap_size
    # (number of the new pair << 32 | word) wherever one arose in a word, and the row each new pair was given or -1
    cdef uint64_t[::1] found
    cdef int64_t found_size
    cdef int32_t[::1] given
    # number of the new pair (x, new) and (new, x), or -1
    cdef int32_t[::1] new_of_left, new_of_right
    # what came of it
    cdef int32_t[::1] merge_left, merge_right
    cdef int64_t merges, num_merges, min_count, max_token_length
    cdef bint smallest_symbols
    cdef const int32_t[::1] byte_symbols
    cdef object known
    # set while the words and the index change: true after an error there
    cdef bint failed

    def __cinit__(self, int64_t cells, int64_t num_merges, const int32_t[::1] byte_symbols not None, tie_break: str, *,
                  int64_t min_count=1, max_token_length=None, known=None):
        cdef int64_t k, vocabulary = FIRST_MERGED + num_merges
        if tie_break not in TIE_BREAKS:
            raise ValueError(f"tie_break must be one of {TIE_BREAKS}, not {tie_break!r}")
        if sorted(byte_symbols) != list(range(256)):
            raise ValueError("byte_symbols must be a permutation of 0..255")
        if num_merges < (len(known) if known is not None else 0):
            raise ValueError(f"num_merges must not be negative, nor less than the known ones, but is {num_merges}")
        if min_count < 1:
            raise ValueError(f"min_count must be at least 1, but is {min_count}")
        if not 0 <= cells <= <int64_t>np.iinfo(np.uint32).max:
            raise ValueError(f"the distinct words take {cells} cells, more than 2^32")
        self.num_merges, self.min_count = num_merges, min_count
        self.max_token_length = np.iinfo(np.int64).max if max_token_length is None else max_token_length
        self.smallest_symbols = tie_break == "hf"
        self.threshold = np.iinfo(np.int64).max
        self.cells = np.empty(cells, np.int32)
        self.byte_symbols = byte_symbols.copy()
        self.bytes = np.empty(FIRST_MERGED, np.uint8)
        self.bytes_start = np.arange(vocabulary + 1)
        self.prefix = np.empty(vocabulary, np.uint64)
        for k in range(256):
            self.bytes[byte_symbols[k]] = k
            self.prefix[byte_symbols[k]] = <uint64_t>k << 56
        self.rows, self.slots = np.empty(ROW << 10, np.int64), np.empty(0, np.int32)
        self.lists, self.frequent = np.empty(0, np.uint32), np.empty(0, np.uint64)
        self.heap_count, self.heap_row = np.empty(1 << 10, np.int64), np.empty(1 << 10, np.int32)
        self.found, self.given = np.empty(1 << 10, np.uint64), np.empty(1 << 10, np.int32)
        self.new_of_left, self.new_of_right = np.full(vocabulary, -1, np.int32), np.full(vocabulary, -1, np.int32)
        self.merge_left, self.merge_right = np.empty(num_merges, np.int32), np.empty(num_merges, np.int32)
        if known is not None and len(known):
            self.known = known
            self.merges = len(known)
            np.asarray(self.merge_left)[: self.merges] = known.left
            np.asarray(self.merge_right)[: self.merges] = known.right
            for k in range(self.merges):
                self._spell(self.merge_left[k], self.merge_right[k], <int32_t>(FIRST_MERGED + k))

    def add(self, const uint8_t[::1] text not None, const int64_t[::1] starts not None,
            const int64_t[::1] counts not None):
        """Takes words: text[starts[w]:starts[w + 1]] occurs counts[w] >= 1 times.

        Raises ValueError where they are not of this form or there is no room for them. After a MemoryError no word of
        the call is in the learner.
        """
        cdef int64_t k, first = self.cells_used
        if starts.shape[0] != counts.shape[0] + 1 or starts[0] != 0 or starts[counts.shape[0]] != text.shape[0]:
            raise ValueError("starts must begin with 0, end with len(text) and have one entry more than counts")
        for k in range(counts.shape[0]):
            if starts[k + 1] < starts[k] or counts[k] < 1:
                raise ValueError("starts must ascend and counts be at least 1")
        if cells_of(starts) > self.cells.shape[0] - self.cells_used:
            raise ValueError(f"there is room for {self.cells.shape[0]} cells only")
        with nogil:
            self._take_words(text, starts, counts)
        if self.known is not None:
            try:
                self.cells_used = self.known.make(self.cells, first, self.cells_used, HEADER)
            except:
                self.cells_used = first
                raise

    @property
    def merged(self):
        """The merges so far, known ones included: (left, right), int32 (n,) each."""
        return np.array(self.merge_left[: self.merges]), np.array(self.merge_right[: self.merges])

    def learn(self, progress=None):
        """The merges as (left, right), int32 (n,) each with n <= num_merges; to be called once, after all words came.

        There are fewer merges than asked for when no pair is left that may be merged. `progress(k)` is called now and
        then with the number of merges done; what it raises ends the work. After a MemoryError the learner raises RuntimeError.
        """
        cdef int64_t goal
        cdef bint more
        if self.failed:
            raise RuntimeError("an earlier error left the learner unusable; make a new one")
        self.failed = True
        more = self.num_merges > self.merges and self._index()
        self.failed = False
        while more and self.merges < self.num_merges:
            goal = min(self.merges + SLICE, self.num_merges)
            self.failed = True
            with nogil:
                while self.merges < goal and self._take_best():
                    self._merge_pair(self.heap_row[0])
            if self.merges < goal:
                more = self.threshold > self.min_count and self._index()
            self.failed = False
            if progress is not None:
                progress(self.merges)
        return self.merged

    # --- the words ---

    cdef int _take_words(self, const uint8_t[::1] text, const int64_t[::1] starts,
                         const int64_t[::1] counts) except -1 nogil:
        cdef int64_t word, k, at = self.cells_used
        for word in range(counts.shape[0]):
            if starts[word + 1] - starts[word] < 2:
                continue
            self.cells[at] = <int32_t>(starts[word + 1] - starts[word])
            memcpy(&self.cells[at + 1], &counts[word], sizeof(int64_t))
            at += HEADER
            for k in range(starts[word], starts[word + 1]):
                self.cells[at] = self.byte_symbols[text[k]]
                at += 1
        self.cells_used = at
        return 0

    cdef inline int64_t _times(self, int64_t word) except -1 nogil:
        """How often the word occurs."""
        cdef int64_t count
        memcpy(&count, &self.cells[word + 1], sizeof(int64_t))
        return count

    cdef inline int64_t _next_word(self, int64_t word) except -1 nogil:
        word += HEADER + self.cells[word]
        while word < self.cells_used and self.cells[word] < 0:
            word += 1
        return word

    cdef int _close_gaps(self) except -1 nogil:
        """Moves the words together and drops those of one symbol. Lists of words are void afterwards."""
        cdef int64_t word = 0, after, at = 0, size
        while word < self.cells_used:
            after = self._next_word(word)
            size = HEADER + self.cells[word]
            if size > HEADER + 1:
                if at < word:
                    memmove(&self.cells[at], &self.cells[word], size * sizeof(int32_t))
                at += size
            word = after
        self.cells_used = at
        return 0

    # --- the index ---

    cdef bint _index(self) except -1:
        """Indexes the most frequent pairs; false when none may be merged.

        Sums by bucket come first: only pairs whose bucket reaches the threshold are counted one by one. While there are
        few symbols each pair has a bucket of its own, and its sum is its count.
        """
        cdef int64_t top = 0, k, symbols = FIRST_MERGED + self.merges, buckets = symbols * symbols
        self.bucket_side = symbols if buckets <= MOST_BUCKETS else 0
        if not self.bucket_side:
            buckets = 1 << 12
            while buckets < self.cells_used // 8 and buckets < MOST_BUCKETS:
                buckets *= 2
            self.bucket_mask = buckets - 1
        self.lists = np.empty(0, np.uint32)
        self.pairs = self.news = self.lists_used = self.heap_size = 0
        cdef int64_t[::1] sums = np.zeros(2 * buckets, np.int64)
        with nogil:
            self._close_gaps()
            self._sum_pairs(sums)
            for k in range(0, sums.shape[0], 2):
                top = max(top, sums[k])
        if top < self.min_count:
            return False
        self.threshold = self._lower_threshold(sums, top)
        self.frequent = np.zeros(buckets // 64 + 1, np.uint64)
        with nogil:
            for k in range(buckets):
                if sums[2 * k] >= self.threshold:
                    self.frequent[k >> 6] |= <uint64_t>1 << (k & 63)
                    if self.bucket_side:
                        self._new_pair(self._key(<int32_t>(k // symbols), <int32_t>(k % symbols)))
                        self.rows[ROW * self.news - 3] = sums[2 * k]
                        self.rows[ROW * self.news - 1] = sums[2 * k + 1]
        sums = None
        if not self.bucket_side:
            self._clear_slots(1 << 12)
            with nogil:
                self._find_pairs()
        self._clear_slots(self.news)
        with nogil:
            self._file_new_pairs()
            self.frequent[:] = 0
            for k in range(self.pairs):
                top = self._bucket(self.rows[ROW * k])
                self.frequent[top >> 6] |= <uint64_t>1 << (top & 63)
            self._fill_lists()
        return True

    cdef int64_t _lower_threshold(self, const int64_t[::1] sums, int64_t top) except -1:
        """The lowest threshold at which lists hold a part of all places only, and below the last one.

        Nor lower than what the merges still to be done may need: about as many as there are pairs above it.
        """
        cdef int64_t k, step, threshold = top, places = self.cells_used // BUDGET, buckets = 0
        cdef int64_t[:, ::1] of_step = np.zeros((64 * STEPS, 2), np.int64)
        for k in range(0, sums.shape[0], 2):
            if sums[k]:
                step = _step_of(sums[k])
                of_step[step, 0] += sums[k + 1]
                of_step[step, 1] += 1
        step = _step_of(top)
        while step >= 0 and of_step[step, 0] <= places and buckets < 2 * (self.num_merges - self.merges):
            places -= of_step[step, 0]
            buckets += of_step[step, 1]
            threshold = _first_of_step(step)
            step -= 1
        return max(min(threshold, self.threshold // 2), self.min_count)

    cdef int _sum_pairs(self, int64_t[::1] sums) except -1 nogil:
        """Adds up, for each bucket, the counts of its pairs and the places where they stand."""
        cdef int64_t word = 0, i, end, times, bucket
        while word < self.cells_used:
            end = word + HEADER + self.cells[word]
            times = self._times(word)
            for i in range(word + HEADER, end - 1):
                bucket = self._bucket(self._key_at(i))
                sums[2 * bucket] += times
                sums[2 * bucket + 1] += 1
            word = end
        return 0

    cdef int _find_pairs(self) except -1 nogil:
        """Notes every pair of a frequent bucket as a new one."""
        cdef int64_t word = 0, at, end, times, key, slot
        cdef uint64_t places
        while word < self.cells_used:
            at, end = word + HEADER, word + HEADER + self.cells[word]
            times = self._times(word)
            while at + 1 < end:
                places = self._frequent_places(at, end)
                while places:
                    key = self._key_at(at + fastlm_trailing_zeros(places))
                    places &= places - 1
                    slot = self._slot(key)
                    if self.slots[slot] < 0:
                        self.slots[slot] = self._new_pair(key)
                        if 2 * self.news > self.mask:
                            self._widen_slots(self.news)
                            slot = self._slot(key)
                    self._count_new(self.slots[slot], word, times)
                at += 64
            word = end
        return 0

    cdef int _fill_lists(self) except -1 nogil:
        """Lists the words of every pair of the index."""
        cdef int64_t word = 0, at, end, row, to
        cdef int32_t found
        cdef uint64_t places
        while word < self.cells_used:
            at, end = word + HEADER, word + HEADER + self.cells[word]
            while at + 1 < end:
                places = self._frequent_places(at, end)
                while places:
                    found = self.slots[self._slot(self._key_at(at + fastlm_trailing_zeros(places)))]
                    places &= places - 1
                    if found < 0:
                        continue
                    row = ROW * found
                    to = self.rows[row + 2] + self.rows[row + 3]
                    if self.rows[row + 3] == 0 or self.lists[to - 1] != word:
                        self.lists[to] = <uint32_t>word
                        self.rows[row + 3] += 1
                at += 64
            word = end
        return 0

    cdef inline uint64_t _frequent_places(self, int64_t at, int64_t end) except? 0 nogil:
        """A bit for each of 64 cells from `at` on, of those before `end`, that begins a pair of a frequent bucket."""
        cdef int64_t k, bucket
        cdef uint64_t places = 0
        for k in range(min(end - 1 - at, <int64_t>64)):  # without a branch that nothing could predict
            bucket = self._bucket(self._key_at(at + k))
            places |= (self.frequent[bucket >> 6] >> (bucket & 63) & 1) << k
        return places

    cdef inline int64_t _bucket(self, int64_t key) noexcept nogil:
        if self.bucket_side:
            return (key >> 32) * self.bucket_side + <uint32_t>key
        return <int64_t>(self._hash(key) & <uint64_t>self.bucket_mask)

    cdef inline int64_t _key_at(self, int64_t cell) except -1 nogil:
        return self._key(self.cells[cell], self.cells[cell + 1])

    cdef inline uint64_t _hash(self, int64_t key) noexcept nogil:
        cdef uint64_t product = <uint64_t>key * MULTIPLIER
        return product >> 32 ^ product >> 12

    cdef inline int64_t _key(self, int32_t a, int32_t b) noexcept nogil:
        return <int64_t>a << 32 | b

    cdef inline int64_t _slot(self, int64_t key) except -1 nogil:
        """Slot of the pair, or the empty one where it belongs."""
        cdef int64_t slot = <int64_t>(self._hash(key) & <uint64_t>self.mask)
        while self.slots[slot] >= 0 and self.rows[ROW * self.slots[slot]] != key:
            slot = (slot + 1) & self.mask
        return slot

    cdef int _clear_slots(self, int64_t pairs) except -1:
        cdef int64_t size = 1 << 12
        while size < 3 * pairs:
            size *= 2
        self.slots = np.full(size, -1, np.int32)
        self.mask = size - 1
        return 0

    cdef int _widen_slots(self, int64_t rows) except -1 with gil:
        """More slots, for the first so many rows."""
        cdef int64_t k
        self._clear_slots(rows)
        for k in range(rows):
            self.slots[self._slot(self.rows[ROW * k])] = <int32_t>k
        return 0

    # --- pairs that arise ---

    cdef inline int32_t _new_pair(self, int64_t key) except -1 nogil:
        cdef int64_t number = self.news, row = ROW * (self.pairs + number)
        if row == self.rows.shape[0]:
            self._widen_rows()
        self.rows[row] = key
        self.rows[row + 1] = self.rows[row + 3] = 0
        self.rows[row + 2] = -1
        self.news += 1
        return <int32_t>number

    cdef inline bint _count_new(self, int64_t number, int64_t word, int64_t times) except -1 nogil:
        """Counts one more occurrence of a new pair, in this word; whether it is the word's first."""
        cdef int64_t row = ROW * (self.pairs + number)
        self.rows[row + 1] += times
        if self.rows[row + 2] == word:
            return False
        self.rows[row + 2] = word
        self.rows[row + 3] += 1
        return True

    cdef inline int _note(self, int64_t number, int64_t word, int64_t times) except -1 nogil:
        """The same, and keeps the word for the pair's list."""
        if self._count_new(number, word, times):
            if self.found_size == self.found.shape[0]:
                self._widen_found()
            self.found[self.found_size] = <uint64_t>number << 32 | <uint64_t>word
            self.found_size += 1
        return 0

    cdef int _file_new_pairs(self) except -1 nogil:
        """Gives the new pairs that may be merged a row and room for their lists; forgets the others."""
        cdef int64_t k, row, at, needed = 0, first = self.pairs, news = self.news
        if news > self.given.shape[0]:
            self._widen_given()
        for k in range(news):
            row = ROW * (first + k)
            self.given[k] = self._may_be_merged(row) - 1
            if self.given[k] >= 0:
                needed += self.rows[row + 3]
        if self.lists_used + needed > self.lists.shape[0]:
            self._make_room_in_lists(needed)
        for k in range(news):
            if self.given[k] < 0:
                continue
            row, at = ROW * (first + k), ROW * self.pairs
            self.given[k] = <int32_t>self.pairs
            self.rows[at] = self.rows[row]
            self.rows[at + 1] = self.rows[row + 1]
            self.rows[at + 2] = self.lists_used
            self.lists_used += self.rows[row + 3]
            self.rows[at + 3] = 0
            if 2 * self.pairs > self.mask:
                self._widen_slots(self.pairs)
            self.slots[self._slot(self.rows[at])] = <int32_t>self.pairs
            self.pairs += 1
            self._push(self.rows[at + 1], <int32_t>(self.pairs - 1))
        self.news = 0
        return 0

    cdef inline bint _may_be_merged(self, int64_t row) except -1 nogil:
        cdef int64_t key = self.rows[row]
        return self.rows[row + 1] >= self.threshold and (
            self._size(<int32_t>(key >> 32)) + self._size(<int32_t>key) <= self.max_token_length)

    cdef int _make_room_in_lists(self, int64_t needed) except -1 with gil:
        """Moves the lists of pairs that may still be merged together, and widens where that is not enough."""
        cdef int64_t k, row, length, at = 0
        for k in range(self.pairs):
            row = ROW * k
            length = self.rows[row + 3] if self.rows[row + 1] >= self.threshold else 0
            if length:
                memmove(&self.lists[at], &self.lists[self.rows[row + 2]], length * sizeof(uint32_t))
            self.rows[row + 2] = at
            self.rows[row + 3] = length
            at += length
        self.lists_used = at
        if 8 * (at + needed) > 7 * self.lists.shape[0]:
            self.lists = grown(self.lists[:at], (at + needed) + (at + needed) // 4)
        return 0

    cdef int _widen_rows(self) except -1 with gil:
        self.rows = grown(self.rows, self.rows.shape[0] + self.rows.shape[0] // 2 // ROW * ROW)
        return 0

    cdef int _renew_found(self, int64_t size) except -1 with gil:
        """An empty one, of which only what is used takes memory: one that had to grow would lie there twice."""
        self.found = np.empty(size, np.uint64)
        return 0

    cdef int _widen_found(self) except -1 with gil:
        self.found = grown(self.found, self.found.shape[0] + self.found.shape[0] // 2)
        return 0

    cdef int _widen_given(self) except -1 with gil:
        self.given = np.empty(self.news + self.news // 2, np.int32)
        return 0

    cdef int _widen_heap(self) except -1 with gil:
        size = self.heap_size + self.heap_size // 2
        self.heap_count, self.heap_row = grown(self.heap_count, size), grown(self.heap_row, size)
        return 0

    # --- one merge ---

    cdef bint _take_best(self) except -1 nogil:
        """Brings the pair to merge next to the heap's top; false when no pair reaches the threshold."""
        cdef int64_t now
        cdef int32_t row
        while self.heap_size:
            row = self.heap_row[0]
            now = self.rows[ROW * row + 1]
            if now == self.heap_count[0]:
                return True
            if now >= self.threshold:
                self._sift_down(now, row)
            else:
                self.heap_size -= 1
                if self.heap_size:
                    self._sift_down(self.heap_count[self.heap_size], self.heap_row[self.heap_size])
        return False

    cdef int _merge_pair(self, int64_t row) except -1 nogil:
        """Merges the pair of this row everywhere."""
        cdef int64_t key = self.rows[ROW * row], start = self.rows[ROW * row + 2], length = self.rows[ROW * row + 3]
        cdef int64_t k, at
        cdef int32_t a = <int32_t>(key >> 32), b = <int32_t>key, new = <int32_t>(FIRST_MERGED + self.merges), x, y
        self._spell(a, b, new)
        if 2 * length > self.found.shape[0]:
            self._renew_found(2 * length)
        for k in range(length):
            if k + AHEAD < length:
                at = self.lists[start + k + AHEAD]
                fastlm_prefetch_write(&self.cells[at])
                fastlm_prefetch_write(&self.cells[at] + 12)
            self._merge_in_word(a, b, new, self.lists[start + k])
        for k in range(self.news):
            at = ROW * (self.pairs + k)
            x, y = <int32_t>(self.rows[at] >> 32), <int32_t>self.rows[at]
            if x == new:
                self._lose(b, a if y == new else y, self.rows[at + 1])
            else:
                self._lose(x, a, self.rows[at + 1])
            self.new_of_left[x] = self.new_of_right[y] = -1
        self.rows[ROW * row + 1] = 0
        self._file_new_pairs()
        for k in range(self.found_size):
            if self.given[self.found[k] >> 32] >= 0:
                at = ROW * <int64_t>self.given[self.found[k] >> 32]
                self.lists[self.rows[at + 2] + self.rows[at + 3]] = <uint32_t>self.found[k]
                self.rows[at + 3] += 1
        self.found_size = 0
        self.merge_left[self.merges] = a
        self.merge_right[self.merges] = b
        self.merges += 1
        return 0

    cdef int _merge_in_word(self, int32_t a, int32_t b, int32_t new, int64_t word) except -1 nogil:
        cdef int64_t first = word + HEADER, end = first + self.cells[word], last = end - 1, i = first, j, times
        cdef int32_t symbol, after
        while i < last and not (self.cells[i] == a and self.cells[i + 1] == b):
            i += 1
        if i >= last:
            return 0
        times = self._times(word)
        j = i
        while i < end:
            symbol = self.cells[i]
            if symbol != a or i == last or self.cells[i + 1] != b:
                self.cells[j] = symbol
                i += 1
                j += 1
                continue
            if j > first:
                self._note(self._pair_before(self.cells[j - 1], new), word, times)
            if i + 2 < end:
                after = self.cells[i + 2]
                if after != a or i + 2 == last or self.cells[i + 3] != b:  # else it merges next, into (new, new)
                    self._note(self._pair_after(new, after), word, times)
            self.cells[j] = new
            i += 2
            j += 1
        self.cells[word] = <int32_t>(j - first)
        for i in range(j, end):
            self.cells[i] = -1
        return 0

    cdef inline int _lose(self, int32_t a, int32_t b, int64_t count) except -1 nogil:
        """So many occurrences less of a pair; one that is not in the index is below the threshold."""
        cdef int32_t row = self.slots[self._slot(self._key(a, b))]
        if row >= 0:
            self.rows[ROW * row + 1] -= count
        return 0

    cdef inline int32_t _pair_before(self, int32_t symbol, int32_t new) except -1 nogil:
        if self.new_of_left[symbol] < 0:
            self.new_of_left[symbol] = self._new_pair(self._key(symbol, new))
        return self.new_of_left[symbol]

    cdef inline int32_t _pair_after(self, int32_t new, int32_t symbol) except -1 nogil:
        if self.new_of_right[symbol] < 0:
            self.new_of_right[symbol] = self._new_pair(self._key(new, symbol))
        return self.new_of_right[symbol]

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
        cdef int64_t key, other_key
        if count != other_count:
            return count > other_count
        key, other_key = self.rows[ROW * row], self.rows[ROW * other]
        if self.smallest_symbols:
            return key < other_key
        order = self._compare(<int32_t>(key >> 32), <int32_t>(other_key >> 32))
        if order == 0:
            order = self._compare(<int32_t>key, <int32_t>other_key)
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
        if hole == self.heap_row.shape[0]:
            self._widen_heap()
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
