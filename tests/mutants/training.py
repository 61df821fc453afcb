"""Mutants of counting pretokens and learning merges."""

from tests.mutants.mutant import Mutant, of

MUTANTS: list[Mutant] = [
    *of(
        "fastlm/_merge.pyx",
        (
            "if after != a or i + 2 == last or self.words.cells[i + 3] != b:",
            "if after != a or self.words.cells[i + 3] != b:",
        ),
        ("if after != a or i + 2 == last or self.words.cells[i + 3] != b:", "if True:"),
        ("            if j > first:\n", "            if j > first + 1:\n"),
        ("        if self.failed:", "        if False:"),
    ),
    *of(
        "fastlm/merging/_pair_index.pyx",
        ("self._lower(b, a if y == new else y,", "self._lower(b, y,"),
        ("        self.rows[ROW * row + COUNT] = 0\n", ""),
        (
            "        return self.rows[row + COUNT] >= self.threshold and (",
            "        return self.rows[row + COUNT] > self.threshold and (",
        ),
        ("<= self.max_token_length)", "< self.max_token_length)"),
        ("if self.rows[row + LENGTH] == 0 or self.lists[to - 1] != word:", "if to == 0 or self.lists[to - 1] != word:"),
        ("            self.new_of_left[x] = self.new_of_right[y] = -1\n", "            self.new_of_left[x] = -1\n"),
    ),
    *of(
        "fastlm/merging/_pair_heap.pyx",
        ("        return order > 0", "        return order < 0"),
        ("            if now == self.counts[0]:", "            if now:"),
        ("            return key < other_key", "            return key > other_key"),
        ("        if order == 0:", "        if False:"),
        (
            "        self.counts, self.rows = grown(self.counts, size), grown(self.rows, size)",
            "        self.counts, self.rows = grown(self.counts, size), grown(self.rows, size)[::1] * 0",
        ),
    ),
    *of(
        "fastlm/merging/_buckets.pyx",
        ("                    if self.side:\n                        raise_overflow()\n", ""),
    ),
    *of("fastlm/merging/_words.pyx", ("or counts[k] < 1:", "or counts[k] < 0:")),
    Mutant(
        "fastlm/merging/_words.pyx",
        "            if size > HEADER + 1:",
        "            if size > HEADER:",
        "a word of one symbol has no pair; keeping it costs memory only",
    ),
    *of(
        "fastlm/merging/_merge_list.pyx",
        ("                    self.last[k] = -1\n", ""),
        ("            if cells[i] == new or cells[i + 1] == new:", "            if cells[i] == new:"),
        ("            if self._merge_of(self.lefts[k], self.rights[k]) >= 0:", "            if False:"),
    ),
    *of(
        "fastlm/bpe_training/_count.pyx",
        ("                    if self.entries[entry + 2] > <uint64_t>INT64_MAX:", "                    if False:"),
        ("if long_bytes > self.long_capacity and self.distinct + k:", "if long_bytes > self.long_capacity and k:"),
        ("        if self.state == SORTED:", "        if False:"),
        ("        count = min(count, self.capacity - self.distinct)\n", "        count = min(count, self.capacity)\n"),
        ("            self.arena_used += length\n", ""),
    ),
    Mutant(
        "fastlm/bpe_training/_count.pyx",
        "            return low == batch.low[k]",
        "            return True",
        "two keys with the same last bytes and length share half of a random hash once in 2^32",
    ),
    *of(
        "fastlm/bpe_training/_run_files.pyx",
        ("&self.buffer[self.at], self.length) >= 0:", "&self.buffer[self.at], self.length) > 0:"),
        ("        if self.checksum != self.expected:", "        if False:"),
        ("                if reader.count > INT64_MAX - count:", "                if False:"),
        ("shift < 63:", "shift < 70:"),
        ("        if self.expected_words not in (-1, self.words):", "        if False:"),
        ("        if self.expected_cells not in (-1, self.cells):", "        if False:"),
    ),
    *of(
        "fastlm/bpe_training/sort_entries.hpp",
        ("return order ? order : (a_length > b_length) - (a_length < b_length);", "return order;"),
        (
            "if (a.high >= FASTLM_LONG_KEY || b.high >= FASTLM_LONG_KEY)",
            "if (a.high >= FASTLM_LONG_KEY && b.high >= FASTLM_LONG_KEY)",
        ),
        ("return a_low != b_low ? a_low < b_low :", "return a_low != b_low ? a.low < b.low :"),
    ),
]
