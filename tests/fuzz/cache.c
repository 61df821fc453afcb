/* The pretoken cache against a list of what was added: a search finds the last ids of a pretoken or nothing, and no
 * write leaves the arenas, which have exactly their size. */
#include "fuzz.h"
#include "encoding/pretoken_cache.h"

enum { MOST_ADDED = 64, MOST_IDS = 24 };

typedef struct {
    const uint8_t *bytes;
    int64_t length, n_ids;
    uint32_t ids[MOST_IDS];
} pretoken;

static const pretoken *find_known(const pretoken *known, int count, const uint8_t *p, int64_t length) {
    for (int k = 0; k < count; k++)
        if (known[k].length == length && !memcmp(known[k].bytes, p, (size_t)length)) return &known[k];
    return NULL;
}

static void check_entry(const fastlm_cache *cache, const fastlm_cache_entry *entry, const pretoken *expected) {
    uint32_t *out = malloc((size_t)(expected->n_ids + FASTLM_SPARE_IDS) * sizeof *out);
    REQUIRE(fastlm_copy_ids(cache, entry, out) == expected->n_ids);
    REQUIRE(!memcmp(out, expected->ids, (size_t)expected->n_ids * sizeof *out));
    free(out);
}

static fastlm_cache_key key_of(const uint8_t *p, int64_t length) {
    if (length <= FASTLM_ENTRY_BYTES) return fastlm_inline_key(p, length, length);
    return fastlm_arena_key(fastlm_hash_long(p, length, fastlm_cache_seed), length);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 4) return 0;
    uint64_t entries = (uint64_t)2 << data[0] % 5;
    fastlm_cache cache = {
        .mask = entries - 1, .full_at = (int64_t)entries * 3 / 4, .bytes_size = data[1] * 4, .ids_size = data[2]};
    cache.entries = aligned_alloc(64, entries < 2 ? 64 : entries * sizeof *cache.entries);
    memset(cache.entries, 0, entries * sizeof *cache.entries);
    cache.bytes = malloc((size_t)cache.bytes_size + 1);
    cache.ids = malloc((size_t)cache.ids_size * sizeof *cache.ids + 1);
    pretoken known[MOST_ADDED];
    int count = 0;
    for (size_t at = 3; at + 2 < size && count < MOST_ADDED;) {
        pretoken next = {.length = 1 + data[at] % 64, .n_ids = 1 + data[at + 1] % MOST_IDS};
        at += 2;
        if (next.length > (int64_t)(size - at)) next.length = (int64_t)(size - at);
        uint8_t *p = malloc((size_t)next.length); /* exactly its bytes: a read behind them is reported */
        memcpy(p, data + at, (size_t)next.length);
        at += (size_t)next.length;
        for (int64_t k = 0; k < next.length; k++) p[k] &= 0x7F; /* as text, without bytes that are not UTF-8 */
        next.bytes = p;
        for (int64_t k = 0; k < next.n_ids; k++) next.ids[k] = (uint32_t)(count * 1000 + k);
        fastlm_cache_key key = key_of(p, next.length);
        const pretoken *seen = find_known(known, count, p, next.length);
        fastlm_cache_entry *entry = fastlm_find(&cache, key, p, next.length);
        REQUIRE(!entry || seen);
        if (entry) {
            check_entry(&cache, entry, seen);
            REQUIRE(fastlm_hash_of(entry) == key.hash);
            fastlm_cache_entry *first = fastlm_first_entry(&cache, key.hash);
            if (next.length <= FASTLM_ENTRY_BYTES && entry == fastlm_entry_at(&cache, key.hash, 1)) {
                REQUIRE(fastlm_is_second(first, key.words));
                check_entry(&cache, first, seen);
            }
            free(p);
            continue;
        }
        if (seen) { /* it was replaced, or never added: it is not added with other ids */
            free(p);
            continue;
        }
        int64_t used = cache.used;
        fastlm_add(&cache, key, p, next.length, next.ids, next.n_ids);
        known[count++] = next;
        REQUIRE(cache.bytes_used <= cache.bytes_size);
        REQUIRE(!cache.ids_used || cache.ids_used + FASTLM_SPARE_IDS <= cache.ids_size);
        entry = fastlm_find(&cache, key, p, next.length);
        if (entry) {
            check_entry(&cache, entry, &next);
            REQUIRE(fastlm_hash_of(entry) == key.hash);
        } else REQUIRE(cache.used == cache.full_at || cache.used == used);
    }
    for (int k = 0; k < count; k++) free((void *)known[k].bytes);
    free(cache.entries);
    free(cache.bytes);
    free(cache.ids);
    return 0;
}
