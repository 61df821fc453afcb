"""The BPE merge loop: words and counts to merges (Sennrich et al. 2016, on bytes as in GPT-2).

Four parts do the work (see fastlm/merging): the words, the bytes of the symbols, the index of pairs, and a heap that
finds the pair to merge next. Three facts make the loop fast:

- A merge (a, b) -> c creates only pairs that contain c, and all of them at once. So the list of words of a pair is
  complete when the pair arises, and its count only falls afterwards. A heap entry with an old count is an upper bound,
  corrected when it reaches the top. A list entry whose word has lost the pair is skipped.
- Each occurrence of (x, c) that a merge creates was one of (x, a), and each of (c, y) one of (b, y), but (c, c) was
  (b, a). So the counts fall by the counts of the new pairs: one subtraction for each new pair, not for each occurrence.
- A pair whose count is below a threshold can be left out of the index, since its count cannot rise. When no pair at or
  above the threshold is left, the words are read again with a lower one. Most pairs are rare, so index, heap and lists
  stay small, and the words are read a handful of times in total.

No two merges make the same bytes. The text between two places that no merge has crossed is merged as if it were alone.
So every occurrence of the bytes of a token between such places became that token when it was made.

A merge costs time in proportion to the words that hold its pair, not to the corpus. Counts are 64-bit.
"""
import numpy as np

from libc.stdint cimport INT64_MAX, int32_t, int64_t

from fastlm.merging._pair_heap cimport PairHeap
from fastlm.merging._pair_index cimport KEY, LENGTH, LIST, ROW, PairIndex
from fastlm.merging._symbols cimport Symbols
from fastlm.merging._words cimport FIRST_MERGED, HEADER, Words
from fastlm.native.common cimport fastlm_prefetch_write

from fastlm.merging._words import cells_of

cdef enum:
    # merges between two calls of progress, which also let signals in
    SLICE = 256
    # words of a list that are prefetched
    AHEAD = 12

TIE_BREAKS = ("cs336", "hf")


cdef class MergeLearner:
    """Learns the merges of BPE training from distinct words and their counts: `add` the words, then `learn`.

    Symbols are byte_symbols[byte] for bytes and 256 + k for the result of merge k.

    Args:
        cells: Size of the words, as `cells_of` counts it.
        num_merges: Maximum number of merges, known ones included.
        byte_symbols: A permutation of 0..255, int32 (256,).
        tie_break: Which pair of equal count is merged: "cs336" takes the one whose two byte strings are
            lexicographically greatest, "hf" the one whose two symbols are smallest.
        min_count: Pairs that occur less often are not merged.
        max_token_length: Pairs that would make more bytes are not merged.
        known: A MergeList, the first of the merges; they do not depend on the counts.

    Raises:
        ValueError: An argument does not have this form.
    """
    cdef Words words
    cdef Symbols symbols
    cdef PairIndex index
    cdef PairHeap heap
    cdef object known
    cdef int32_t[::1] merge_left, merge_right
    cdef int64_t merges, num_merges, min_count
    # set while words and index change; still set after an error there
    cdef bint failed

    def __cinit__(self, int64_t cells, int64_t num_merges, const int32_t[::1] byte_symbols not None, tie_break: str, *,
                  int64_t min_count=1, max_token_length=None, known=None):
        cdef int64_t k
        if tie_break not in TIE_BREAKS:
            raise ValueError(f"tie_break must be one of {TIE_BREAKS}, got {tie_break!r}")
        if num_merges < (len(known) if known is not None else 0):
            raise ValueError(f"num_merges must be at least the number of known merges, got {num_merges}")
        if min_count < 1:
            raise ValueError(f"min_count must be at least 1, got {min_count}")
        self.num_merges, self.min_count = num_merges, min_count
        self.words = Words(cells, byte_symbols)
        self.symbols = Symbols(FIRST_MERGED + num_merges, byte_symbols)
        self.index = PairIndex(
            FIRST_MERGED + num_merges, self.symbols, INT64_MAX if max_token_length is None else max_token_length)
        self.heap = PairHeap(self.index, self.symbols, tie_break == "hf")
        self.merge_left, self.merge_right = np.empty(num_merges, np.int32), np.empty(num_merges, np.int32)
        if known is not None and len(known):
            self.known = known
            self.merges = len(known)
            np.asarray(self.merge_left)[: self.merges] = known.left
            np.asarray(self.merge_right)[: self.merges] = known.right
            for k in range(self.merges):
                self.symbols.join(self.merge_left[k], self.merge_right[k], <int32_t>(FIRST_MERGED + k))

    def add(self, text, starts, counts):
        """Adds words: text[starts[w]:starts[w + 1]] occurs counts[w] times.

        After an error none of them is added.

        Args:
            text: uint8 (total,).
            starts: Ascending from 0 to total, int64 (n + 1,).
            counts: At least 1, int64 (n,).

        Raises:
            ValueError: An argument does not have this form, or the words do not fit.
        """
        cdef int64_t first = self.words.used
        self.words.add(text, starts, counts)
        if self.known is not None:
            try:
                self.words.used = self.known.apply(self.words.cells, first, self.words.used)
            except:
                self.words.used = first
                raise

    @property
    def merged(self):
        """The merges so far, known ones included: (left, right), int32 (n,) each."""
        return np.array(self.merge_left[: self.merges]), np.array(self.merge_right[: self.merges])

    def learn(self, progress=None):
        """Learns the merges. Call it after all words were added.

        Args:
            progress: Called after every 256 merges with the number of merges so far. An exception that it raises ends
                learning.

        Returns:
            (left, right), int32 (n,) each. n is less than num_merges if no pair is left that may be merged.

        Raises:
            ValueError: The count of a pair exceeds 2^63 - 1.
            RuntimeError: An earlier call ended with an error other than one of `progress`.
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
                while self.merges < goal and self.heap.correct_top():
                    self._merge_pair(self.heap.rows[0])
            if self.merges < goal:
                more = self.index.threshold > self.min_count and self._index()
            self.failed = False
            if progress is not None:
                progress(self.merges)
        return self.merged

    cdef bint _index(self) except -1:
        """Indexes the most frequent pairs of the words; false if none may be merged."""
        self.heap.size = 0
        if not self.index.build(self.words, FIRST_MERGED + self.merges, self.num_merges - self.merges, self.min_count):
            return False
        with nogil:
            self._push_from(0)
        return True

    cdef int _push_from(self, int64_t first) except -1 nogil:
        """Pushes the pairs of the index from row `first` on."""
        cdef int64_t row
        for row in range(first, self.index.pairs):
            self.heap.push(<int32_t>row)
        return 0

    cdef int _merge_pair(self, int64_t row) except -1 nogil:
        """Merges the pair of a row of the index everywhere."""
        cdef int64_t key = self.index.rows[ROW * row + KEY], start = self.index.rows[ROW * row + LIST]
        cdef int64_t length = self.index.rows[ROW * row + LENGTH], k, ahead, first = self.index.pairs
        cdef int32_t a = <int32_t>(key >> 32), b = <int32_t>key, new = <int32_t>(FIRST_MERGED + self.merges)
        self.symbols.join(a, b, new)
        self.index.reserve_found(2 * length)
        for k in range(length):
            if k + AHEAD < length:
                ahead = self.index.lists[start + k + AHEAD]
                fastlm_prefetch_write(&self.words.cells[ahead])
                fastlm_prefetch_write(&self.words.cells[ahead] + 12)
            self._merge_in_word(a, b, new, self.index.lists[start + k])
        self.index.end_merge(row, new)
        self._push_from(first)
        self.merge_left[self.merges] = a
        self.merge_right[self.merges] = b
        self.merges += 1
        return 0

    cdef int _merge_in_word(self, int32_t a, int32_t b, int32_t new, int64_t word) except -1 nogil:
        """Merges (a, b) to `new` in a word, and notes the new pairs."""
        cdef int64_t first = word + HEADER, end = first + self.words.cells[word], last = end - 1, i = first, j, count
        cdef int32_t symbol, after
        while i < last and not (self.words.cells[i] == a and self.words.cells[i + 1] == b):
            i += 1
        if i >= last:
            return 0
        count = self.words.count(word)
        j = i
        while i < end:
            symbol = self.words.cells[i]
            if symbol != a or i == last or self.words.cells[i + 1] != b:
                self.words.cells[j] = symbol
                i += 1
                j += 1
                continue
            if j > first:
                self.index.note(self.index.pair_before(self.words.cells[j - 1], new), word, count)
            if i + 2 < end:
                after = self.words.cells[i + 2]
                if after != a or i + 2 == last or self.words.cells[i + 3] != b:  # else it merges next, into (new, new)
                    self.index.note(self.index.pair_after(new, after), word, count)
            self.words.cells[j] = new
            i += 2
            j += 1
        self.words.cells[word] = <int32_t>(j - first)
        for i in range(j, end):
            self.words.cells[i] = -1
        return 0
