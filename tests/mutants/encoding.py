"""Mutants of encoding, decoding, normalization and the search for added tokens."""

from tests.mutants.mutant import Mutant, of

MUTANTS: list[Mutant] = [
    *of(
        "fastlm/encoding/encode_loop.h",
        ("s->ends[count - 1] - s->position + FASTLM_SPARE_IDS;", "s->ends[count - 1] - s->position;"),
        ("careful ? n - start : FASTLM_ENTRY_BYTES", "FASTLM_ENTRY_BYTES"),
        ("= s->scan ? n - FASTLM_ENTRY_BYTES : -1;", "= n - FASTLM_ENTRY_BYTES;"),
        ("                s->written = ids - s->ids;\n", ""),
        ("= s->taken + s->written;", "= s->written;"),
        ("s->position = row[1];", "s->position = row[0];"),
        ("if (row[2] >= 0)", "if (row[2] != -2)"),
        ("        s->needed = -*n_ids;", "        s->needed = -*n_ids / 2;"),
        ("        count += tokens[k] == FASTLM_NO_ID;", "        count++;"),
        (
            "        s->needed = 1;\n        if (s->written + s->needed > s->ids_size)",
            "        if (0)",
        ),
    ),
    *of(
        "fastlm/encoding/pretoken_cache.h",
        (
            "cache->ids_used + arena_ids + FASTLM_SPARE_IDS > cache->ids_size",
            "cache->ids_used + arena_ids > cache->ids_size",
        ),
        (
            "cache->bytes_used + arena_bytes > cache->bytes_size",
            "cache->bytes_used + arena_bytes > cache->bytes_size + 1",
        ),
        ("if (FASTLM_UNLIKELY(readable < FASTLM_ENTRY_BYTES)) {", "if (FASTLM_UNLIKELY(readable < 8)) {"),
        ("if (entry->key[1] >> 56 == 1)", "if (entry->key[1] >> 56 == 2)"),
        ("    fastlm_promote(first, second);\n", ""),
        ("n_ids > FASTLM_ENTRY_IDS ? n_ids : 0;", "n_ids > FASTLM_ENTRY_IDS + 1 ? n_ids : 0;"),
        ("cache->bytes_used += length;", "cache->bytes_used += length - 1;"),
        (" && p[length - 1] < FASTLM_FIRST_NON_UTF8;", ";"),
    ),
    *of(
        "fastlm/encoding/token_table.h",
        ("return length > table->longest ?", "return length >= table->longest ?"),
        ("            if (length > table->longest)", "            if (!table->longest)"),
        ("table->offsets[id + 1] - start == length && ", ""),
        (" && !memcmp(table->token_bytes + start, p, (size_t)length);", ";"),
        ("    return fastlm_is_key(own, inverted);", "    return 1;"),
        (
            "            if (length > FASTLM_ENTRY_BYTES || !fastlm_is_cacheable(table->token_bytes + start, length))",
            "            if (0)",
        ),
        ("            if (!fastlm_find(cache, keys[k], NULL, FASTLM_ENTRY_BYTES))\n", ""),
    ),
    Mutant(
        "fastlm/encoding/pretoken_cache.h",
        "entry = fastlm_entry_at(cache, key.hash, 1 + (int)(key.hash >> 62));",
        "entry = fastlm_entry_at(cache, key.hash, 1);",
        "any entry of a full search may be replaced",
    ),
    *of(
        "fastlm/encoding/_state.pyx",
        ("                self.state.taken += self.state.written\n", ""),
        ("            elif not self.tables.drops_unknown:", "            elif False:"),
        (
            'does not keep."""\n        self.state.written = 0\n',
            'does not keep."""\n',
        ),
        ("(self.used + n) * (2 if self.is_narrow else 4)", "self.used + n * (2 if self.is_narrow else 4)"),
        ("            if n_boundaries == FEW_BOUNDARIES:", "            if n_boundaries > FEW_BOUNDARIES:"),
        ("        array[: self.used] = self.array[: self.used]\n", ""),
        ("            self.tables.check_boundaries(boundaries, n_boundaries, n)", "            pass"),
    ),
    *of(
        "fastlm/encoding/_merge_table.pyx",
        ("to_ranks[first << 8 | second] = <uint32_t>rank", "to_ranks[second << 8 | first] = <uint32_t>rank"),
        ("            if self.ids[slot] == token_id:", "            if True:"),
        ("        if n > MAX_MERGES:", "        if n > 4 * MAX_MERGES:"),
        (
            'raise ValueError(\n                            f"merge {row - 1} repeats',
            'print(\n                            f"merge {row - 1} repeats',
        ),
    ),
    *of(
        "fastlm/encoding/_pretoken_cache.pyx",
        ("other.table.ids_used * sizeof(uint32_t))", "other.table.ids_used)"),
        (
            "        self.table.used = self.table.bytes_used = self.table.ids_used = 0\n",
            "        self.table.used = 0\n",
        ),
    ),
    *of(
        "fastlm/encoding/_batch.pyx",
        ("self.offsets[k + 1] += total - self.done[chunk, START]", "self.offsets[k + 1] += total"),
        ("        if chunk < self.first_failed:", "        if chunk >= 0:"),
        (" and self.done[chunk, START] == total:", ":"),
        ("                source = &self.stolen[start - self.ids_kept]", "                source = &self.stolen[0]"),
    ),
    *of(
        "fastlm/text/token_trie.h",
        ("if (at + 1 < n || trie->root[text[at]]) {", "if (at + 1 < n) {"),
        ("        if (at == n)\n            return id;\n", ""),
        ("trie->edge_byte[middle] < text[at]", "trie->edge_byte[middle] <= text[at]"),
        ("            *end = at;\n", "            if (id < 0) *end = at;\n"),
    ),
    *of(
        "fastlm/text/_utf8.pyx",
        ("if not 0 <= start <= end <= n:", "if not 0 <= start <= end:"),
        ("AS_STRING(encoded), PyBytes_GET_SIZE(encoded)", "AS_STRING(encoded), len(encoded)"),
    ),
    *of(
        "fastlm/text/normalize.h",
        ("last_class < next.combining_class", "last_class <= next.combining_class"),
    ),
    Mutant(
        "fastlm/text/normalize.h",
        "!segment[k].combining_class || s->form == FASTLM_LOWERCASE)",
        "!segment[k].combining_class)",
        "no lowercase of a character begins with a mark or has two, so that there are no marks to sort",
    ),
    *of(
        "fastlm/text/normalize.h",
        ("first_active[] = {0xCC, 0xC3,", "first_active[] = {0xCC, 0xC4,"),
        ("segment[starter].change += next.change - 1;", "segment[starter].change += next.change;"),
        ("        for (start--; start > s->position && (s->text[start] & 0xC0) == 0x80; start--) {}\n", "        ;\n"),
        ("inert + 4 * size ||", "inert + size ||"),
        (
            "if (size + FASTLM_LONGEST_DECOMPOSITION > s->segment_size) return -1;",
            "if (size > s->segment_size) return -1;",
        ),
        ("        if (next.combining_class == 0) starter = size;\n", "        starter = size;\n"),
    ),
    *of(
        "fastlm/decoding/_decoder.pyx",
        ("            if length >= SLOT:", "            if length > SLOT:"),
        ("if array.dtype == np.uint64 and array.max() > np.iinfo(np.int64).max:", "if False:"),
        ("if any(isinstance(item, np.bool_) for item in ids):", "if False:"),
    ),
    *of("fastlm/decoding/integers.h", ("    return !overflow;", "    return 1;")),
    *of(
        "fastlm/kernels/bpe.py",
        ("            if 4 * window > scratch_words:", "            if 3 * window > scratch_words:"),
        ("    return k == n\n", "    return k + 1 >= n\n"),
        ("            if found >= NO_RANK:", "            if found > NO_RANK:"),
        ("        if heap[parent] <= item:", "        if heap[parent] >= item:"),
        ("        if rank == NONE or np.uint64(rank) != entry >> U32:", "        if rank == NONE:"),
        ("        if tables.slots[bucket * EIGHT + SEVEN] == np.uint32(0):", "        if True:"),
    ),
    Mutant(
        "fastlm/kernels/bpe.py",
        "            if same and end - step == next_start(following[1:], at - step, next_size):",
        "            if same:",
        "tokens of one id that begin at one place end at one place",
    ),
    Mutant(
        "fastlm/kernels/bpe.py",
        "        while done <= at:",
        "        while done < at:",
        "the next window begins with the common token",
    ),
    Mutant(
        "fastlm/kernels/bpe.py",
        "    if length <= 16:",
        "    if length <= 17:",
        "sixteen lanes hold the pairs of seventeen bytes",
    ),
]
