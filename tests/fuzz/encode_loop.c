/* The encode loop against merging each pretoken alone: any boundaries, sizes of cache, ids and scratch. All memory has
 * exactly its size. A pretoken's ids are those of `merge`, which is a simple stand-in for the kernel. */
#include "scan_all.h"
#include "encoding/encode_loop.h"

enum { MOST_TEXTS = 4, SHORT_TOKEN = 2000, LONG_TOKEN, N_TOKENS, LONG_TOKEN_BYTES = 18, MOST_ROWS = 8 };

/* Two tokens that no merges make: "ab", and a longer one. Both are in the table twice. */
static const uint8_t token_bytes[] = "abaaaaaaaaaaaaaaaaaa";
static int64_t token_offsets[N_TOKENS + 1];
static uint32_t token_slots[8];

static fastlm_token_table tokens_of(uint64_t seed) {
    const int64_t ids[] = {SHORT_TOKEN, LONG_TOKEN, SHORT_TOKEN, LONG_TOKEN};
    fastlm_token_table table = {.token_bytes = token_bytes, .offsets = token_offsets, .n_bytes = sizeof token_bytes,
                                .slots = token_slots, .mask = 7, .seed = {seed * UINT64_C(0x9E3779B97F4A7C15), ~seed},
                                .ids = seed % 2 ? (1u << 31) - 1 : (1 << 11) - 1}; /* few hash bits: other tokens are compared */
    token_offsets[LONG_TOKEN] = 2;
    token_offsets[N_TOKENS] = 2 + LONG_TOKEN_BYTES;
    memset(token_slots, 0, sizeof token_slots);
    fastlm_add_tokens(&table, ids, 4);
    return table;
}

/* The token of the bytes, or FASTLM_NO_ID. */
static uint32_t token_of(const uint8_t *p, int64_t length) {
    if (length == 2 && !memcmp(p, token_bytes, 2)) return SHORT_TOKEN;
    if (length == LONG_TOKEN_BYTES && !memcmp(p, token_bytes + 2, LONG_TOKEN_BYTES)) return LONG_TOKEN;
    return FASTLM_NO_ID;
}

/* Each two equal bytes are one id. A long pretoken needs more scratch. All of the scratch is written. */
static int64_t merge(const fastlm_merge_tables *tables, const uint8_t *pretoken, int64_t length, uint32_t *ids,
                     uint64_t *scratch, int64_t scratch_words) {
    int64_t needed = FASTLM_SCRATCH_WORDS + (length > 8 ? 2 * length : 0), n_ids = 0;
    if (needed > scratch_words) return -needed;
    memset(scratch, 0xA5, (size_t)needed * sizeof *scratch);
    for (int64_t k = 0; k < length; k++) {
        uint32_t id = tables->byte_ids[pretoken[k]];
        if (k + 1 < length && pretoken[k + 1] == pretoken[k]) id += 1000, k++;
        ids[n_ids++] = id;
    }
    return n_ids;
}

static int64_t merge_batch(const fastlm_merge_tables *tables, const uint8_t *texts, const int64_t *lengths,
                           int64_t count, uint32_t *ids, int64_t *n_ids, uint64_t *scratch) {
    uint64_t enough[FASTLM_SCRATCH_WORDS + 2 * FASTLM_BATCH_WIDTH];
    REQUIRE(count > 0 && count <= FASTLM_BATCH);
    memset(scratch, 0xA5, FASTLM_SCRATCH_WORDS * sizeof *scratch);
    for (int64_t k = 0; k < count; k++, texts += FASTLM_BATCH_WIDTH, ids += FASTLM_BATCH_WIDTH) {
        REQUIRE(lengths[k] > 0 && lengths[k] <= FASTLM_BATCH_WIDTH);
        n_ids[k] = merge(tables, texts, lengths[k], ids, enough, sizeof enough / sizeof *enough);
    }
    return 0;
}

static fastlm_cache cache_of(uint64_t entries, int64_t bytes, int64_t ids) {
    fastlm_cache cache = {.mask = entries - 1, .full_at = (int64_t)entries / 2, .bytes_size = bytes,
                          .ids_size = ids + FASTLM_SPARE_IDS};
    cache.entries = aligned_alloc(64, entries * sizeof *cache.entries);
    memset(cache.entries, 0, entries * sizeof *cache.entries);
    cache.bytes = malloc((size_t)bytes + !bytes);
    cache.ids = malloc((size_t)cache.ids_size * sizeof *cache.ids);
    return cache;
}

static void free_cache(fastlm_cache cache) {
    free(cache.entries);
    free(cache.bytes);
    free(cache.ids);
}

/* Appends the ids of the pretokens ends[:count], one after the other; -1 if one has a byte without an id. */
static int64_t expect_pretokens(const fastlm_vocabulary *vocabulary, const uint8_t *text, int64_t start,
                                const int64_t *ends, int64_t count, uint32_t *ids, int64_t written) {
    uint64_t scratch[FASTLM_SCRATCH_WORDS + 2 * MOST_BYTES];
    for (int64_t k = 0; k < count; start = ends[k++]) {
        int64_t length = ends[k] - start;
        if (token_of(text + start, length) != FASTLM_NO_ID) {
            ids[written++] = token_of(text + start, length);
            continue;
        }
        for (int64_t at = start; at < ends[k]; at++)
            if (vocabulary->tables.byte_ids[text[at]] == FASTLM_NO_ID) return -1;
        written += merge(&vocabulary->tables, text + start, length, ids + written, scratch,
                         sizeof scratch / sizeof *scratch);
    }
    return written;
}

/* Appends the ids of text[start:stop]; -1 if it has a byte without an id or is not UTF-8. */
static int64_t expect(const fastlm_vocabulary *vocabulary, fastlm_scan_fn scan, const uint8_t *text, int64_t start,
                      int64_t stop, uint32_t *ids, int64_t written) {
    int64_t ends[MOST_ENDS], count = scan_all(scan, text, stop, start, ends, MOST_CAPACITY);
    return count < 0 ? -1 : expect_pretokens(vocabulary, text, start, ends, count, ids, written);
}

/* Fills `ends` with pretoken ends for bytes that no scanner splits, and makes the bytes the ones that keys treat
 * specially. Returns the number of ends. */
static int64_t split_bytes(uint8_t *text, int64_t n, const uint8_t *lengths, size_t n_lengths, int64_t *ends) {
    int64_t count = 0;
    for (int64_t k = 0; k < n; k++) text[k] = (const uint8_t[]){'a', 'b', 0xFF, 0xFE}[text[k] % 4];
    for (int64_t at = 0; at < n; ends[count++] = at) {
        at += 1 + lengths[(size_t)count % n_lengths] % 20;
        if (at > n) at = n;
    }
    return count;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 8) return 0;
    uint32_t byte_ids[256], expected[2 * MOST_BYTES];
    for (int byte = 0; byte < 256; byte++) byte_ids[byte] = (uint32_t)byte + 1;
    fastlm_token_table tokens = tokens_of(data[3]);
    fastlm_vocabulary vocabulary = {
        .merge = merge, .merge_batch = merge_batch, .tables = {.byte_ids = byte_ids}, .tokens = &tokens};
    if (data[0] % 8 == 7) vocabulary.lacks_bytes = 1, byte_ids['/'] = FASTLM_NO_ID;
    fastlm_scan_fn scan = fastlm_scanner(data[1] % FAMILIES, fastlm_best_isa());
    fastlm_cache cache = cache_of((uint64_t)4 << data[2] % 4, data[3] % 64, data[4] % 64);
    if (data[2] % 2) fastlm_cache_tokens(&cache, &tokens, (const int64_t[]){SHORT_TOKEN, LONG_TOKEN, SHORT_TOKEN}, 3);
    int64_t n, ids_size = 1 + data[5], scratch_words = FASTLM_SCRATCH_WORDS + data[6] % 32;
    int64_t n_ends = data[6] % 2 ? FASTLM_LEAST_ENDS : FASTLM_MOST_GAPS + data[6] % 4;
    uint8_t *text = text_of(data + 7, size - 7, &n);
    int64_t split[MOST_BYTES];
    if (data[0] % 8 == 5) {
        scan = NULL;
        n_ends = split_bytes(text, n, data, size, split);
    }
    int64_t *ends = malloc((size_t)(n_ends ? n_ends : 1) * sizeof *ends);
    if (!scan) memcpy(ends, split, (size_t)n_ends * sizeof *ends);

    /* rows between characters, of any length, with and without an id */
    int64_t rows[3 * MOST_ROWS], ids_before[MOST_ROWS], n_rows = 0, written = 0, before[MOST_ROWS], at = 0;
    for (int64_t k = 0; scan && k < n && n_rows < MOST_ROWS; k++) {
        if (data[k % 7] % 5 || fastlm_is_continuation(text[k])) continue;
        int64_t stop = k + data[(k + 1) % 7] % 4;
        while (stop < n && fastlm_is_continuation(text[stop])) stop++;
        if (k < at || stop > n) continue;
        written = written < 0 ? -1 : expect(&vocabulary, scan, text, at, k, expected, written);
        if (written >= 0) before[n_rows] = written;
        int64_t id = data[0] % 3 ? 80000 + k : -1;
        if (written >= 0 && id >= 0) expected[written++] = (uint32_t)id;
        rows[3 * n_rows] = k, rows[3 * n_rows + 1] = at = stop, rows[3 * n_rows + 2] = id;
        n_rows++;
    }
    if (!scan) written = expect_pretokens(&vocabulary, text, 0, ends, n_ends, expected, 0);
    else written = written < 0 ? -1 : expect(&vocabulary, scan, text, at, n, expected, written);

    uint32_t found[2 * MOST_BYTES], *ids = malloc((size_t)ids_size * sizeof *ids);
    int64_t kept = 0;
    fastlm_encode_state s = {.text = text, .n = n, .boundaries = rows, .n_boundaries = n_rows, .ids_before = ids_before,
                             .scan = scan, .ends = ends, .n_ends = n_ends, .ids = ids, .ids_size = ids_size,
                             .scratch_words = scratch_words, .scratch = malloc((size_t)scratch_words * 8),
                             .waiting = malloc(sizeof *s.waiting)};
    memset(s.waiting, 0xA5, sizeof *s.waiting);
    s.waiting->count = s.waiting->n_gaps = 0;
    for (;;) {
        fastlm_status status = fastlm_encode(&vocabulary, &cache, &s);
        REQUIRE(s.written <= s.ids_size && kept + s.written <= 2 * MOST_BYTES);
        if (status == FASTLM_DONE || status == FASTLM_INVALID_UTF8 || status == FASTLM_UNKNOWN_BYTE) {
            REQUIRE((status == FASTLM_DONE) == (written >= 0));
            break;
        }
        if (status == FASTLM_IDS_FULL) { /* the ids so far are taken away, and there is room for the next ones */
            memcpy(found + kept, s.ids, (size_t)s.written * sizeof *found);
            kept = s.taken += s.written;
            s.written = 0;
            free(ids);
            s.ids_size = s.needed > ids_size ? s.needed : ids_size;
            s.ids = ids = malloc((size_t)s.ids_size * sizeof *ids);
        } else if (status == FASTLM_SCRATCH_FULL) {
            REQUIRE(s.needed > s.scratch_words);
            free(s.scratch);
            s.scratch = malloc((size_t)s.needed * 8);
            s.scratch_words = s.needed;
        } else {
            REQUIRE(status == FASTLM_CACHE_FULL);
            memset(cache.entries, 0, (cache.mask + 1) * sizeof *cache.entries);
            cache.used = cache.bytes_used = cache.ids_used = 0;
        }
    }
    if (written >= 0) {
        memcpy(found + kept, s.ids, (size_t)s.written * sizeof *found);
        REQUIRE(kept + s.written == written && !memcmp(found, expected, (size_t)written * sizeof *found));
        REQUIRE(s.boundary == n_rows && !memcmp(ids_before, before, (size_t)n_rows * sizeof *before));
    }
    free(ids);
    free(ends);
    free(s.scratch);
    free(s.waiting);
    free(text);
    free_cache(cache);
    return 0;
}
